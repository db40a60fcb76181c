"""options.py: what a command line means, and the one line that a wrong one gets."""
import argparse
import json
import os
import re

import pytest

from ollama_bench.inputs import options


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
    (["1", "--model", " "], "empty"), ([""], "LEVELS is empty"), ([" "], "LEVELS is empty"), (["--demo", ""], "LEVELS is empty"), (["1", "--db", ""], "--db is empty"),
    (["1", "--host", ""], "--host is empty"), (["1", "--prompts="], "--prompts is empty"), (["1", "--config", ""], "--config is empty"), (["1", "--slo", ""], "--slo is empty"),
    (["1", "--api-key", "sk-1"], "OPENAI_API_KEY"), (["1", "--steady"], "--steady needs"), (["1", "--no-such\nforged"], "unrecognized"),
    (["1", "--host", "a", "--host", "a", "--api", "ollama", "--api", "openai"], "needs two names"), (["1", "--api", "ollama", "--api", "openai"], "once for each"),
    (["--find-capacity", "--repeat", "3"], "--repeat 3"), (["--find-capacity", "--cache", "both"], "one cache"), (["1", "--cache", "hot"], "invalid choice"), (["1", "--rate", "5"], "needs an end"), (["1", "--rate", "0", "--requests", "3"], "above 0"),
    (["1", "--prompts", "no-such-file"], "No such file"), (["1", "--slo", "speed=3"], "no objective"), (["1", "--slo", "ttft=x"], "no objective"),
    (["1", "--no-monitor", "--pid", "7"], "--pid has no effect"), (["1", "--no-monitor", "--idle", "5"], "--idle has no effect"),
    (["1", "--duration", "0"], "above 0"), (["1", "--requests", "1000000"], "more than"), (["1", "--config", "no-such.toml"], "No such file"),
    (["1", "--prompt", "hi", "--prompt-tokens", "9"], "--prompt and --prompt-tokens exclude"), (["--demo", "--host", "a"], "exclude each other"), (["1,8", "--requests", "7"], "never makes 8 at once"), (["--find-capacity", "--requests", "100"], "256 at once"),
    (["1", "--host", "a", "--host", "b", "--host", "c", "--api", "ollama", "--api", "openai"], "once for each"), (["1", "--no-such"], "unrecognized"),
])
def test_usage_errors_exit_with_2_and_name_the_value(argv, words, capsys):
    with pytest.raises(SystemExit) as caught:
        options.parse(argv)
    said = capsys.readouterr()
    assert caught.value.code == 2 and words in said.err and said.out == ""
    assert len(said.err.strip().splitlines()) == 1 and "sk-1" not in said.err


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


@pytest.mark.parametrize("hosts, apis, servers", [
    ("a a b", "ollama", "http://a:11434 http://b:11434 ollama"), ("a b", "ollama openai", "http://a:11434 http://b:11434 ollama openai"),
    ("a a b", "ollama ollama openai", "http://a:11434 http://b:11434 ollama openai"), ("127.0.0.1 localhost", "ollama openai", "http://127.0.0.1:11434 http://localhost:11434 ollama openai"),
])
def test_each_server_is_asked_once_by_its_protocol(hosts, apis, servers):
    found = options.parse(["1", *(f"--host={host}" for host in hosts.split()), *(f"--api={name}" for name in apis.split())])
    assert found.host + found.api == servers.split()


def test_options_have_json_values():
    found = options.parse(["1", "--option", "num_ctx=4096", "--option", "temperature=0.5", "--option", "stop=END", "--option", "mmap=true"])
    assert found.option == {"num_ctx": 4096, "temperature": 0.5, "stop": "END", "mmap": True}


def test_help_fits_a_screen_and_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        options.parse(["--help"])
    said = capsys.readouterr().out
    assert caught.value.code == 0 and max(map(len, said.splitlines())) <= 80 and len(said.splitlines()) <= 45
    there = {flag for action in options.make_parser()._actions if action.help != argparse.SUPPRESS for flag in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said)) == there and "LEVELS" in said


def from_file(tmp_path, text, *argv):
    path = tmp_path / "bench.toml"
    path.write_text(text)
    return options.parse(["--config", str(path), *argv])


def test_a_config_file_is_a_command_line_and_the_command_line_goes_first(tmp_path):
    text = 'levels = [1, 2]\nmodel = ["a", "b"]\ncooldown = 3\nno_monitor = true\nslo = "ttft=2"\n[option]\nnum_ctx = 4096\n'
    found = from_file(tmp_path, text)
    assert (found.levels, found.model, found.cooldown, found.no_monitor) == ([1, 2], ["a", "b"], 3.0, True)
    assert found.option == {"num_ctx": 4096} and found.slo == {"ttft": 2.0}
    found = from_file(tmp_path, text, "7", "--model", "c", "--cooldown", "0")
    assert (found.levels, found.model, found.cooldown) == ([7], ["c"], 0.0)


@pytest.mark.parametrize("argv", [["--model=c", "--option=seed=1", "--fail-if=ttft>9"], ["--model", "c", "--option", "seed=1", "--fail-if", "ttft>9"]])
def test_however_the_command_line_is_written_it_goes_first(tmp_path, argv):
    found = from_file(tmp_path, 'levels = 4\nmodel = "a"\nfail_if = ["ttft>1", "e2e>1"]\noption = {num_ctx = 1}\n', *argv)
    assert (found.model, found.option, found.fail_if) == (["c"], {"seed": 1}, ["ttft>9"])


@pytest.mark.parametrize("text, name, value", [
    ("levels = 4", "levels", [4]), ('levels = "1-3"', "levels", [1, 2, 3]), ('levels = [1, "4-5"]', "levels", [1, 4, 5]),
    ("[slo]\nttft = 2\ntokens_per_s = 15", "slo", {"ttft": 2.0, "tokens_per_s": 15.0}), ('slo = ["ttft=2", "e2e=9"]', "slo", {"ttft": 2.0, "e2e": 9.0}),
    ("think = true", "think", True), ("think = false", "think", False), ('think = "on"', "think", True),
    ('prompt = "-hello"', "prompt", "-hello"), ('prompt = "--demo"', "prompt", "--demo"), ("plain = true", "plain", True), ("plain = false", "plain", False),
    ("prompt-tokens = 7", "prompt_tokens", 7), ('tokens = "7"', "tokens", 7), ("rate = 0.5\nrequests = 3", "rate", 0.5), ('option = ["a=1", "b=x"]', "option", {"a": 1, "b": "x"}),
    ('[option]\nstop = ["a", "b"]\nn = "4"\nmmap = true', "option", {"stop": ["a", "b"], "n": "4", "mmap": True}), ('api = "openai"', "api", ["openai"]),
])
def test_what_a_config_file_says(tmp_path, text, name, value):
    found = from_file(tmp_path, text, *([] if "levels" in text else ["1"]))
    assert getattr(found, name) == value


@pytest.mark.parametrize("text, words", [
    ("levels = [", "bench.toml"), ("nonsense = 1", "'nonsense' is no option"), ("levels = [0]", "levels: '0' is no level"), ("levels = true", "levels: a level is meant, not true"),
    ("levels = 1.5", "levels: a level is meant"), ("levels = []", "levels: "), ("[option]\nwhen = 2025-01-01", "option: what JSON can hold"), ("[option]\nx = nan", "option: what JSON"),
    ("plain = 1", "plain: true or false is meant, not 1"), ("model = true", "model: a text is meant, not true"), ("tokens = [1, 2]", "tokens: a number is meant, not [1, 2]"),
    ("tokens = true", "tokens: a number"), ("tokens = 0", "tokens: '0': a whole number from 1"), ('config = "x"', "'config' is no option"), ('think = "maybe"', "think: one of on, off"),
    ("help = true", "'help' is no option"), ('slo = "speed=3"', "slo: 'speed=3' is no objective"), ("[slo]\nttft = true", "slo: "), ('host = "ftp://x"', "host: 'ftp://x'"),
    ('prompt = ""', "prompt: it is empty"), ("label = 2025-01-01", "label: a text"), ("cooldown = inf", "cooldown: 'inf'"), ('db = ["a"]', "db: a text"),
    ('prompt-tokens = 1\nprompt_tokens = 2', "set twice"), ('"a\\nb" = 1', "is no option"), ("a = " + "[" * 5000, "bench.toml"), ("model = {a = 1}", "model: a text"),
])
def test_a_wrong_config_file_names_itself_and_the_key(tmp_path, text, words, capsys):
    with pytest.raises(SystemExit) as caught:
        from_file(tmp_path, text)
    said = capsys.readouterr().err
    assert caught.value.code == 2 and words in said and "bench.toml: " in said and len(said.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no endless file here")
def test_an_endless_config_file_ends(capsys):
    with pytest.raises(SystemExit):
        options.parse(["1", "--config", "/dev/zero"])
    assert "larger than" in capsys.readouterr().err


def test_which_load_is_meant():
    assert options.parse(["1"]).load == "burst" and options.parse(["9", "--requests", "9"]).load == "closed"
    assert options.parse(["1", "--rate", "2", "--duration", "5"]).load == "open"
    assert options.parse(["--find-capacity"]).levels == [256]
