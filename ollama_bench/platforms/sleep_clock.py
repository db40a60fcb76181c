"""sleep_clock.py - tells how long the machine slept: what one of its clocks counts, another not.

    before = sleep_clock.slept_ns()
    sleep_clock.slept_s(before, sleep_clock.slept_ns())     # seconds asleep; None: unknown

Setting the wall clock moves neither of the two. Nothing here raises.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from ollama_bench.platforms import windows

# the first continues in a sleep, the second stops; both are unslewed
CLOCK_NAMES = {
    "linux": ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
    "darwin": ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW"),
}
READINGS = 5  # of both clocks at most, until two are ...
CLOSE_NS = 1_000_000  # ... so close to each other
LEAST_S = 0.1  # less is no sleep: Windows' clocks step by 16 ms
TICK_NS = 1_000_000  # of GetTickCount64
INTERRUPT_TIME_NS = 100  # of QueryUnbiasedInterruptTime
FAILURES = (OSError, AttributeError, ValueError)

Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True)
class ClockPair:
    continuous: Clock  # continues while the machine sleeps
    awake: Clock  # stops while the machine sleeps


def slept_s(before_ns: int | None, after_ns: int | None) -> float | None:
    """Return the seconds asleep between two values of slept_ns(); 0.0: none, None: unknown."""
    if before_ns is None or after_ns is None:
        return None
    seconds = (after_ns - before_ns) / 1e9
    return seconds if seconds >= LEAST_S else 0.0


def slept_ns() -> int | None:
    """Return how far one clock is ahead of the other, which grows by the time asleep.

    None where it is unknown.
    """
    try:
        pair = find_clocks()
        return None if pair is None else measure_lead_ns(pair)
    except FAILURES:
        return None


def measure_lead_ns(pair: ClockPair) -> int:
    """Return the difference of the readings that were closest.

    The thread may be stopped between the two clocks.
    """
    readings = []
    for _ in range(READINGS):
        before, now, after = pair.awake(), pair.continuous(), pair.awake()
        readings.append((after - before, now - after))
        if after - before <= CLOSE_NS:
            break
    return min(readings)[1]


def continuous_ns() -> int:
    """Return a monotonic clock that continues in a sleep, where the system has one."""
    try:
        pair = find_clocks()
        return pair.continuous() if pair else time.monotonic_ns()
    except FAILURES:
        return time.monotonic_ns()


def find_clocks() -> ClockPair | None:
    """Return the two clocks of this system, None where it lacks one."""
    if sys.platform == "win32":
        return find_windows_clocks()
    names = CLOCK_NAMES.get(sys.platform)
    if names is None or not all(hasattr(time, name) for name in names):
        return None
    read = time.clock_gettime_ns
    continuous, awake = (
        functools.partial(read, getattr(time, name)) for name in names
    )
    return ClockPair(continuous, awake)


def find_windows_clocks() -> ClockPair:
    kernel = windows.kernel32()
    count_ticks = kernel.GetTickCount64
    count_ticks.restype = ctypes.c_uint64
    query_unbiased = kernel.QueryUnbiasedInterruptTime

    def continuous() -> int:
        return int(count_ticks()) * TICK_NS

    def awake() -> int:
        value = ctypes.c_uint64()
        if not query_unbiased(ctypes.byref(value)):
            raise OSError("QueryUnbiasedInterruptTime failed")
        return value.value * INTERRUPT_TIME_NS

    return ClockPair(continuous, awake)
