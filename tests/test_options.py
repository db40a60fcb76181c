"""options.py: what a command line means, and the one line that a wrong one gets."""
import json

import pytest

import options


@pytest.mark.parametrize("text, expected, dropped", [
    ("1,2,4,19", [1, 2, 4, 19], []), (" 4 , 2 ", [4, 2], []), ("1 2 3", [1, 2, 3], []), ("2,1,2,1", [2, 1], [1, 2]),
    ("1-4", [1, 2, 3, 4], []), ("x2:20", [1, 2, 4, 8, 16], []), ("x2:256", [1, 2, 4, 8, 16, 32, 64, 128, 256], []),
    ("1,3-5,x2:4", [1, 3, 4, 5, 2], [1, 4]), ("4096", [4096], []), (",1,", [1], []),
])
def test_levels(text, expected, dropped):
    assert options.levels(text) == (expected, dropped)


@pytest.mark.parametrize("text", ["0", "-1", "abc", "1.5", "4097", "", ",", "1e3", "5-1", "1-", "x2:", "x2:0", "x3:8", "٣", "1" * 5000, "--1"])
def test_levels_that_are_none(text):
    with pytest.raises(ValueError) as caught:
        options.levels(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argv, words", [
    ([], "LEVELS is missing"), (["0"], "no level"), (["1", "--host", "ftp://x"], "http"), (["1", "--option", "x"], "KEY=VALUE"),
    (["1", "--tokens", "0"], "from 1"), (["1", "--cooldown", "-1"], "seconds"), (["1", "--cooldown", "nan"], "seconds"),
    (["1", "--model", " "], "empty"), (["1", "--cache", "hot"], "invalid choice"), (["1", "--rate", "5"], "needs an end"), (["1", "--rate", "0", "--requests", "3"], "above 0"),
    (["1", "--prompts", "no-such-file"], "No such file"), (["1", "--slo", "speed=3"], "no objective"), (["1", "--slo", "ttft=x"], "no objective"),
    (["1", "--duration", "0"], "above 0"), (["1", "--requests", "1000000"], "more than"), (["1", "--config", "no-such.toml"], "No such file"),
    (["1", "--host", "a", "--host", "b", "--host", "c", "--api", "ollama", "--api", "openai"], "once for each"), (["1", "--no-such"], "unrecognized"),
])
def test_usage_errors_exit_with_2_and_name_the_value(argv, words, capsys):
    with pytest.raises(SystemExit) as caught:
        options.parse(argv)
    said = capsys.readouterr()
    assert caught.value.code == 2 and words in said.err and said.out == ""
    assert len(said.err.strip().splitlines()) == 1


def test_defaults_are_the_studys(monkeypatch):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    found = options.parse(["1,2"])
    assert (found.model, found.host, found.cooldown, found.repeat) == (["deepseek-r1:7b"], ["http://127.0.0.1:11434"], 10.0, 1)
    assert found.prompt == "What is the philosophical definition of time?" and found.cache == "cold"
    json.dumps({name: value for name, value in vars(found).items()})  # all of it can be stored


def test_ollamas_own_variable_is_obeyed_and_host_goes_first(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:9999")
    assert options.parse(["1"]).host == ["http://127.0.0.1:9999"]
    assert options.parse(["1", "--host", "10.0.0.7"]).host == ["http://10.0.0.7:11434"]
    assert options.parse(["1", "--api", "openai"]).host == ["http://127.0.0.1:11434"]


def test_options_have_json_values():
    found = options.parse(["1", "--option", "num_ctx=4096", "--option", "temperature=0.5", "--option", "stop=END", "--option", "mmap=true"])
    assert found.option == {"num_ctx": 4096, "temperature": 0.5, "stop": "END", "mmap": True}


def test_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit) as caught:
        options.parse(["--help"])
    said = capsys.readouterr().out
    assert caught.value.code == 0 and max(map(len, said.splitlines())) <= 110 and len(said.splitlines()) < 60


def test_a_config_file_is_a_command_line_and_the_command_line_goes_first(tmp_path):
    path = tmp_path / "bench.toml"
    path.write_text('levels = [1, 2]\nmodel = ["a", "b"]\ncooldown = 3\nno_monitor = true\nslo = "ttft=2"\n[option]\nnum_ctx = 4096\n')
    found = options.parse(["--config", str(path)])
    assert (found.levels, found.model, found.cooldown, found.no_monitor) == ([1, 2], ["a", "b"], 3.0, True)
    assert found.option == {"num_ctx": 4096} and found.slo == {"ttft": 2.0}
    found = options.parse(["7", "--config", str(path), "--model", "c", "--cooldown", "0"])
    assert (found.levels, found.model, found.cooldown) == ([7], ["c"], 0.0)


@pytest.mark.parametrize("text, words", [("levels = [", "bench.toml"), ("nonsense = 1", "unrecognized"), ("levels = [0]", "no level")])
def test_a_wrong_config_file(tmp_path, text, words, capsys):
    (tmp_path / "bench.toml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        options.parse(["--config", str(tmp_path / "bench.toml")])
    assert caught.value.code == 2 and words in capsys.readouterr().err


def test_which_load_is_meant():
    assert options.parse(["1"]).load == "burst" and options.parse(["1", "--requests", "9"]).load == "closed"
    assert options.parse(["1", "--rate", "2", "--duration", "5"]).load == "open"
    assert options.parse(["--find-capacity"]).levels == [256]
