"""Which levels a run consists of."""

from __future__ import annotations

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.run.plan import missing_levels, plan_levels, titles


def planned(*words):
    return plan_levels(command_line.parse(["--model", "m", *words]))


def test_levels_in_the_order_typed_end_with_a_control():
    assert [
        (level.concurrency, level.is_control)
        for level in planned("4,1,8", "--model", "n")
    ] == [(4, 0), (1, 0), (8, 0), (4, 1)] * 2


@pytest.mark.parametrize(
    "words",
    [
        ("4",),
        ("1,4", "--repeat", "2"),
        ("1,4", "--deadline", "60"),
        ("1,4", "--requests", "8"),
        ("1,4", "--duration", "5"),
        ("1,4", "--rate", "2", "--requests", "8"),
        ("1,4", "--find-capacity"),
    ],
)
def test_no_control_where_nothing_needs_or_allows_one(words):
    assert not any(level.is_control for level in planned(*words))


def test_a_control_that_was_measured_is_not_missing():
    settings = command_line.parse(["1,4", "--model", "m"])
    assert missing_levels(settings, set(plan_levels(settings))) == []


def test_a_control_is_fired_again_after_a_level_that_was_missing():
    settings = command_line.parse(["1,4", "--model", "m"])
    first, second, control = plan_levels(settings)
    assert missing_levels(settings, {first, control}) == [second, control]


def test_the_control_is_no_level_of_so_many():
    assert [title for title, _ in titles(planned("1,4"))] == [
        "level 1 of 2",
        "level 2 of 2",
        "control",
    ]


def test_levels_of_each_length_follow_one_another():
    words = ("1,4", "--prompt-tokens", "500,9", "--mix", "9*3,500*1")
    levels = planned(*words)
    assert [
        (level.concurrency, level.prompts, level.is_control)
        for level in levels
    ] == [
        (1, "prompts of 500 tokens", 0),
        (4, "prompts of 500 tokens", 0),
        (1, "prompts of 9 tokens", 0),
        (4, "prompts of 9 tokens", 0),
        (1, "mix 9*3,500*1", 0),
        (4, "mix 9*3,500*1", 0),
        (1, "prompts of 500 tokens", 1),
    ]


def test_one_level_of_two_lengths_has_a_control():
    levels = planned("4", "--prompt-tokens", "500,9")
    assert [level.is_control for level in levels] == [0, 0, 1]
