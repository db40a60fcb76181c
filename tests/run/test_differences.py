"""What a run was asked and what is asked now, in words of the command line."""

import json

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.run.differences import describe_changed_options
from ollama_bench.run.opening import stored_arguments


def difference(before, now):
    typed = (
        json.dumps(stored_arguments(command_line.parse(words)))
        for words in (before, now)
    )
    return describe_changed_options(*typed)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (["1"], ["1"], ""),
        (["1", "--label", "a"], ["1", "--plain"], ""),
        (["1,2"], ["1,2,4"], "with LEVELS 1,2; now with LEVELS 1,2,4"),
        (
            ["1", "--tokens", "9"],
            ["1"],
            "with --tokens 9; now without --tokens",
        ),
        (
            ["1", "--think", "off"],
            ["1", "--think", "on"],
            "with --think off; now with --think on",
        ),
        (
            ["1", "--warmup", "0", "--model", "a", "--model", "b"],
            ["1", "--model", "a"],
            "with --model a --model b --warmup 0; now with --model a --warmup 1",
        ),
        (
            ["1", "--option", "num_ctx=9", "--duration", "5"],
            ["1", "--requests", "8"],
            "with --option num_ctx=9 --duration 5 and without --requests;"
            " now with --requests 8 and without --option --duration",
        ),
        (
            ["1", "--slo", "ttft=2"],
            ["1", "--slo", "ttft=2.5,tpot=1"],
            "with --slo ttft=2.0; now with --slo ttft=2.5,tpot=1.0",
        ),
    ],
)
def test_options_that_differ_are_named_as_they_are_typed(
    before, now, words, monkeypatch
):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert difference(before, now) == words


@pytest.mark.parametrize("before", ["{}", "[1]", "not JSON", ""])
def test_arguments_that_cannot_be_read_differ_in_nothing(before):
    assert describe_changed_options(before, '{"tokens": 9}') == ""


def test_a_trace_that_was_edited_is_named(tmp_path):
    path = tmp_path / "t.csv"
    typed = []
    for prompt_tokens in (9, 10):
        path.write_text(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            f"2024-05-12 00:00:00+00:00,{prompt_tokens},3\n"
        )
        settings = command_line.parse(["--trace", str(path)])
        typed.append(json.dumps(stored_arguments(settings)))
    words = describe_changed_options(*typed)
    assert words == f"with other requests in {path}"
