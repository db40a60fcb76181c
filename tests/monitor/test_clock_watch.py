"""A sleep of the machine, and a clock that was set."""

from __future__ import annotations

import time

import pytest

from ollama_bench.platforms import sleep_clock
from tests.monitor.support import (
    Counter,
)


def test_a_sleep_between_two_readings_has_no_energy(watch, monkeypatch):
    watched = watch([Counter()], interval_s=0.1)
    watched.samples(1)
    wall, going, slept = (
        time.time,
        sleep_clock.continuous_ns,
        sleep_clock.slept_ns,
    )
    monkeypatch.setattr(time, "time", lambda: wall() + 600)
    monkeypatch.setattr(
        sleep_clock, "continuous_ns", lambda: going() + 600 * 10**9
    )
    monkeypatch.setattr(
        sleep_clock, "slept_ns", lambda: slept() + 600 * 10**9
    )
    watched.until(lambda: watched.rows("event", kind="sleep"))
    watched.until(
        lambda: [
            row
            for row in watched.rows("power_sample")
            if row["energy_j"] is None
        ]
    )
    assert [
        row["detail"] for row in watched.rows("event", kind="sleep")
    ] == ["the machine slept for 600.0 s"]
    assert not watched.rows("event", kind="clock_set")


@pytest.mark.parametrize(
    "moved_s, word", [(600, "+600 s"), (-600, "-600 s")]
)
def test_a_clock_that_was_set_is_no_sleep(
    watch, monkeypatch, moved_s, word
):
    """Its energy is as good as before."""
    watched = watch([Counter()], interval_s=0.1)
    watched.samples(1)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + moved_s)
    watched.until(lambda: watched.rows("event", kind="clock_set"))
    samples = len(watched.rows("power_sample"))
    watched.until(lambda: len(watched.rows("power_sample")) > samples + 2)
    assert [
        row["detail"] for row in watched.rows("event", kind="clock_set")
    ] == [f"the clock was set by {word}"]
    assert not watched.rows("event", kind="sleep") and None not in [
        row["energy_j"] for row in watched.rows("power_sample")
    ]


def test_where_no_clock_tells_a_sleep_from_a_set_clock_both_are_named(
    watch, monkeypatch
):
    monkeypatch.setattr(sleep_clock, "slept_ns", lambda: None)
    watched = watch([Counter()], interval_s=0.1)
    watched.samples(1)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 600)
    watched.until(lambda: watched.rows("event", kind="sleep"))
    assert [
        row["detail"] for row in watched.rows("event", kind="sleep")
    ] == ["the machine slept, or its clock was set, by 600 s"]
