"""The command of a run, without what is private."""

from __future__ import annotations

import shlex

import pytest

from ollama_bench.report.shared_command import describe_command


@pytest.mark.parametrize(
    "typed, shown",
    [
        (
            "python /home/eva/bench.py 1,2,4 --model m --db /home/eva/r.db",
            "1,2,4 --model m",
        ),
        ("bench.py x2:256 --host http://eva:1 --tokens=9", None),
        ("bench.py 1-8 --label 'Eva and Max' --seed 4", None),
        ("bench.py 1 --prompt 'who is Eva?'", "1 --prompt TEXT --model m"),
        ("bench.py 1 --prompts=/home/eva/p", "1 --prompts FILE --model m"),
        (
            "bench.py 8 --host eva:1 --host=eva:2 --balance random",
            "8 --host URL --host URL --balance random --model m",
        ),
        (
            "bench.py 1 --option stop='a b' --fleet tls://eva:1",
            "1 --option K=V --fleet WHERE --model m",
        ),
        ("bench.py --trace eva.csv", "--trace FILE --model m"),
        ("bench.py --demo --plain", "--demo"),
        ("bench.py 1 --unknown secret", "1 --model m"),
        ("bench.py '1", "--model m"),
        (None, "--model m"),
    ],
)
def test_only_what_is_nobodys_secret_is_shown(typed, shown):
    found = describe_command(typed, "m")
    assert "eva" not in found.lower() and "/" not in found
    if shown is not None:
        assert found == f"ollama-bench {shown}"


def test_what_was_measured_is_shown():
    typed = "bench.py x2:256 --duration=60 --slo ttft=2 --repeat 3 --self-check"
    assert describe_command(typed, "a b") == (
        "ollama-bench x2:256 --duration 60 --slo ttft=2 --repeat 3 --self-check "
        "--model 'a b'"
    )


def test_a_command_can_be_pasted_into_a_shell():
    typed = [
        "4",
        *("--slo", "ttft=2@99"),
        *("--mix", "500*9,4000*1"),
        *("--fail-if", "ttft>2"),
    ]
    shown = describe_command(shlex.join(["bench.py", *typed]), "m")
    assert shlex.split(shown) == ["ollama-bench", *typed, "--model", "m"]
    assert "'ttft>2'" in shown and "'500*9,4000*1'" in shown
