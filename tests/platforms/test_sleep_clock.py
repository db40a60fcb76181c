"""How long the machine slept, by two of its clocks."""

from __future__ import annotations

import ctypes
import sys
import time
import types

import pytest

from ollama_bench.platforms import sleep_clock
from ollama_bench.platforms.sleep_clock import ClockPair


def test_this_machine_knows_how_long_it_slept():
    before = sleep_clock.slept_ns()
    if sys.platform in ("linux", "darwin", "win32"):
        assert sleep_clock.slept_s(before, sleep_clock.slept_ns()) == 0.0
    assert sleep_clock.continuous_ns() <= sleep_clock.continuous_ns()


@pytest.mark.parametrize(
    "platform, going, still",
    [
        ("linux", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
        ("darwin", "CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"),
    ],
)
def test_a_sleep_is_the_difference_of_two_clocks(
    monkeypatch, platform, going, still
):
    now = {1001: 500, 1002: 100}
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, going, 1001, raising=False)
    monkeypatch.setattr(time, still, 1002, raising=False)
    monkeypatch.setattr(
        time,
        "clock_gettime_ns",
        lambda number: now[number] * 10**9,
        raising=False,
    )
    before = sleep_clock.slept_ns()
    now[1001] += 60 + 5
    now[1002] += 5
    assert (
        sleep_clock.slept_s(before, sleep_clock.slept_ns()) == 60.0
        and sleep_clock.continuous_ns() == 565 * 10**9
    )


def test_windows_sleeps_by_its_two_counters(monkeypatch):
    now = {"ticks": 5_000, "unbiased": 40_000_000}  # ms, 100 ns

    def unbiased(reference):
        reference._obj.value = now["unbiased"]
        return 1

    def ticks():
        return now["ticks"]

    kernel = types.SimpleNamespace(
        GetTickCount64=ticks, QueryUnbiasedInterruptTime=unbiased
    )
    monkeypatch.setattr(
        ctypes,
        "windll",
        types.SimpleNamespace(kernel32=kernel),
        raising=False,
    )
    monkeypatch.setattr(sys, "platform", "win32")
    before = sleep_clock.slept_ns()
    now["ticks"] += 30_000 + 16
    assert before == 10**9 and sleep_clock.slept_s(
        before, sleep_clock.slept_ns()
    ) == pytest.approx(30.016)
    now["unbiased"] += 300_000_000
    assert (
        sleep_clock.slept_s(before, sleep_clock.slept_ns()) == 0.0
    )  # 16 ms are a step of the clock


def test_clocks_that_are_missing_or_fail_are_unknown(monkeypatch):
    def fails(number):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(time, "clock_gettime_ns", fails, raising=False)
    assert (
        sleep_clock.slept_ns() is None and sleep_clock.continuous_ns() > 0
    )
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert (
        sleep_clock.slept_ns() is None
        and sleep_clock.slept_s(None, 5) is None
        and sleep_clock.slept_s(5, None) is None
    )


def test_a_thread_that_is_stopped_between_two_clocks_is_no_sleep():
    stops = iter(
        [0, 7 * 10**9, 0, 0, 0, 0, 0, 0, 0, 0]
    )  # before the second reading of the first round
    now = [0]

    def clock():
        now[0] += next(stops) + 1000
        return now[0]

    assert (
        sleep_clock.measure_lead_ns(ClockPair(clock, clock))
        < sleep_clock.LEAST_S * 1e9
    )
