"""The command of a run, without what is private."""

from __future__ import annotations

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
        ("bench.py 1 --option stop='a b'", "1 --model m"),
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
