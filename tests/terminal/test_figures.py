"""How durations are written."""

import pytest

from ollama_bench.terminal.figures import (
    format_about,
    format_duration,
    format_trace,
    name_lengths,
)


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (0, "0 ms"),
        (0.00423, "4.2 ms"),
        (0.0121, "12 ms"),
        (0.9994, "999 ms"),
        (3.414, "3.41 s"),
        (0.9996, "1 s"),
        (59.9, "59.9 s"),
        (59.96, "1:00"),
        (84.05, "1:24"),
        (725, "12:05"),
        (3725, "1:02:05"),
    ],
)
def test_short_times(value, text):
    assert format_duration(value) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.2, "1 s"),
        (9.4, "9 s"),
        (13, "15 s"),
        (87, "85 s"),
        (100, "2 min"),
        (3500, "58 min"),
        (3590, "1 h"),
        (5100, "1 h 25 min"),
    ],
)
def test_an_estimate_has_few_digits(seconds, text):
    assert format_about(seconds) == text


def test_lengths_of_prompts_have_names():
    assert name_lengths(4000, None) == "prompts of 4,000 tokens"
    assert name_lengths(None, "5*1,8*1") == "mix 5*1,8*1"
    assert name_lengths(None, None) == ""


@pytest.mark.parametrize(
    ("rate_per_s", "speed", "written"),
    [
        (2.5, 1, "t.csv (Azure, 2.5 a second on average)"),
        (0.2, 1, "t.csv (Azure, 12 a minute on average)"),
        (
            0.01,
            0.5,
            "t.csv (Azure, 36 an hour on average, at 0.5 x speed)",
        ),
        (None, 4, "t.csv (Azure, at 4 x speed)"),
    ],
)
def test_a_trace_is_named_with_its_pace(rate_per_s, speed, written):
    assert format_trace("t.csv", "Azure", rate_per_s, speed) == written
