"""How figures are written."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.wording import (
    count,
    describe_objectives,
    digits,
    interval,
    name_run,
    percent,
    seconds,
    span,
)
from ollama_bench.inputs.objectives import parse
from ollama_bench.terminal.figures import format_duration


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (0, "0"),
        (53.14, "53.1"),
        (1234.5, "1,234"),
        (0.0004567, "0.00046"),
        (100.4, "100"),
        (7.0, "7"),
    ],
)
def test_digits(value, text):
    assert digits(value) == text


def test_durations_are_written_as_in_the_table():
    assert seconds(0.0042) == format_duration(0.0042) == "4.2 ms"


@pytest.mark.parametrize(
    "values, written, text",
    [
        ([0.825, 1.0], percent, "82 to 100 %"),
        ([0.0911, 0.0922], seconds, "91 to 92 ms"),
        ([0.3101, 0.3102], seconds, "310 ms"),
        ([0.729, 3.97], seconds, "729 ms to 3.97 s"),
        ([84.1, 1535.0], seconds, "1:24 to 25:35"),
        ([53.14, 55.0], digits, "53.1 to 55"),
    ],
)
def test_a_span_has_its_unit_once(values, written, text):
    assert span(values, written) == text


@pytest.mark.parametrize(
    "number, noun, text",
    [
        (0, "request", "0 requests"),
        (1, "request", "1 request"),
        (1, "reply", "1 reply"),
        (1234, "reply", "1,234 replies"),
    ],
)
def test_one_thing_is_no_plural(number, noun, text):
    assert count(number, noun) == text


def test_objectives_are_what_each_gets_speed_first():
    assert describe_objectives(parse("ttft=2,e2e=60")) == (
        "the first token within 2 s and the whole reply within 60 s"
    )
    assert describe_objectives(parse("ttft=10,tokens_per_s=10")) == (
        "at least 10 tokens/s and the first token within 10 s"
    )


def test_an_interval_whose_ends_are_written_alike_is_left_out():
    assert interval(12.41, 12.74, digits) == "95 %: 12.4 to 12.7"
    assert interval(12.91, 12.92, digits) == ""
    assert interval(None, 12.9, digits) == ""


def test_a_run_has_the_name_that_it_was_given():
    run = {"run_id": 6, "source": "bench"}
    assert name_run(run | {"label": "bench 6"}) == "6"
    assert name_run(run | {"label": "before"}) == "6 (before)"
    assert name_run(run | {"label": "bench 5"}) == "6 (bench 5)"
