"""A settings file is a command line in TOML, and the command line overrides it."""

import os

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.inputs.objectives import parse


def parse_file(tmp_path, text, *argv):
    path = tmp_path / "bench.toml"
    path.write_text(text)
    return command_line.parse(["--config", str(path), *argv])


def test_the_command_line_overrides_the_file(tmp_path):
    text = """
levels = [1, 2]
model = ["a", "b"]
cooldown = 3
no_monitor = true
slo = "ttft=2"
host = "h"
[option]
num_ctx = 4096
"""
    found = parse_file(tmp_path, text)
    assert (found.load.levels, found.request.models) == (
        (1, 2),
        ("a", "b"),
    )
    assert (found.load.cooldown_s, found.monitor.enabled) == (3.0, False)
    assert found.request.model_options == {"num_ctx": 4096}
    assert (
        found.judging.objectives == parse("ttft=2")
        and found.request.named_by == "--config"
    )
    found = parse_file(
        tmp_path,
        text,
        "7",
        "--model",
        "c",
        "--cooldown",
        "0",
        "--host",
        "x",
    )
    assert (found.load.levels, found.request.models) == ((7,), ("c",))
    assert (found.load.cooldown_s, found.request.named_by) == (
        0.0,
        "--host",
    )


def test_levels_and_a_budget_override_each_other(tmp_path):
    found = parse_file(tmp_path, "budget = 20", "1,2").load
    assert (found.levels, found.budget_s) == ((1, 2), None)
    found = parse_file(tmp_path, "levels = [1, 2]", "--budget", "20").load
    assert (found.levels[-1], found.budget_s) == (256, 20.0)
    with pytest.raises(SystemExit):
        parse_file(tmp_path, "levels = [1, 2]\nbudget = 20")


@pytest.mark.parametrize(
    "argv",
    [
        ["--model=c", "--option=seed=1", "--fail-if=ttft>9"],
        ["--model", "c", "--option", "seed=1", "--fail-if", "ttft>9"],
    ],
)
def test_a_list_of_the_file_is_replaced_however_the_option_is_typed(
    tmp_path, argv
):
    text = 'levels = 4\nmodel = "a"\nfail_if = ["ttft>1", "e2e>1"]\noption = {num_ctx = 1}\n'
    found = parse_file(tmp_path, text, *argv)
    assert found.request.models == (
        "c",
    ) and found.request.model_options == {"seed": 1}
    assert found.judging.fail_if == ("ttft>9",)


@pytest.mark.parametrize(
    ("text", "part", "name", "value"),
    [
        ("levels = 4", "load", "levels", (4,)),
        ('levels = "1-3"', "load", "levels", (1, 2, 3)),
        ('levels = [1, "4-5"]', "load", "levels", (1, 4, 5)),
        (
            "[slo]\nttft = 2\ntokens_per_s = 15",
            "judging",
            "objectives",
            parse("ttft=2,tokens_per_s=15"),
        ),
        (
            '[slo]\nttft = "2@99"\ntpot = 0.1',
            "judging",
            "objectives",
            parse("ttft=2@99,tpot=0.1"),
        ),
        (
            'slo = ["ttft=2", "e2e=9"]',
            "judging",
            "objectives",
            parse("ttft=2,e2e=9"),
        ),
        ("think = true", "request", "think", True),
        ("think = false", "request", "think", False),
        ('think = "on"', "request", "think", True),
        ('prompt = "-hello"', "request", "prompt", "-hello"),
        ('prompt = "--demo"', "request", "prompt", "--demo"),
        ("plain = true", "output", "plain", True),
        ("plain = false", "output", "plain", False),
        ("prompt-tokens = 7", "request", "prompt_tokens", (7,)),
        ('tokens = "7"', "request", "tokens", 7),
        ("rate = 0.5\nrequests = 3", "load", "rate_per_s", 0.5),
        (
            'option = ["seed=1", "stop=x"]',
            "request",
            "model_options",
            {"seed": 1, "stop": "x"},
        ),
        (
            '[option]\nstop = ["a", "b"]\nseed = "4"\nuse_mmap = true',
            "request",
            "model_options",
            {"stop": ["a", "b"], "seed": "4", "use_mmap": True},
        ),
        ('api = "openai"', "request", "protocols", ("openai",)),
    ],
)
def test_what_a_file_says(tmp_path, text, part, name, value):
    found = parse_file(
        tmp_path, text, *([] if "levels" in text else ["1"])
    )
    assert getattr(getattr(found, part), name) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("levels = [", "bench.toml"),
        ("nonsense = 1", "unknown option 'nonsense'"),
        ("levels = [0]", "levels: invalid level '0'"),
        ("levels = true", "levels: expected a level, got true"),
        ("levels = 1.5", "levels: expected a level"),
        ("levels = []", "levels: "),
        (
            "[option]\nwhen = 2025-01-01",
            "option: expected values that JSON can hold",
        ),
        ("[option]\nx = nan", "option: expected values that JSON"),
        ("plain = 1", "plain: expected true or false, got 1"),
        ("model = true", "model: expected text, got true"),
        ("tokens = [1, 2]", "tokens: expected a number, got [1, 2]"),
        ("tokens = true", "tokens: expected a number"),
        (
            "tokens = 0",
            "tokens: invalid --tokens '0': expected an integer from 1",
        ),
        ('config = "x"', "unknown option 'config'"),
        (
            'think = "maybe"',
            "think: invalid --think 'maybe': expected one of on, off",
        ),
        ("help = true", "unknown option 'help'"),
        ('slo = "speed=3"', "slo: invalid objective 'speed=3'"),
        ("[slo]\nttft = true", "slo: "),
        ('host = "ftp://x"', "host: "),
        ('prompt = ""', "prompt: the value is empty"),
        ("label = 2025-01-01", "label: expected text"),
        ("cooldown = inf", "cooldown: invalid --cooldown 'inf'"),
        ('db = ["a"]', "db: expected text"),
        ("prompt-tokens = 1\nprompt_tokens = 2", "set twice"),
        ('"a\\nb" = 1', "unknown option"),
        ("a = " + "[" * 5000, "bench.toml"),
        ("model = {a = 1}", "model: expected text"),
    ],
)
def test_a_wrong_file_names_itself_and_the_key(
    tmp_path, text, words, capsys
):
    with pytest.raises(SystemExit) as caught:
        parse_file(tmp_path, text)
    said = capsys.readouterr().err
    assert (
        caught.value.code == 2 and words in said and "bench.toml: " in said
    )
    assert len(said.splitlines()) == 1


@pytest.mark.skipif(
    not os.path.exists("/dev/zero"), reason="no endless file here"
)
def test_an_endless_file_ends(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["1", "--config", "/dev/zero"])
    assert "larger than" in capsys.readouterr().err
