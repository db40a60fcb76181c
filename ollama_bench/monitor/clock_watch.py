"""clock_watch.py - notices that the machine slept, or that its clock was set."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ollama_bench.monitor.journal import Journal
from ollama_bench.platforms import sleep_clock


@dataclass(frozen=True)
class ClockReading:
    wall_s: float
    continuous_ns: int  # does not follow the wall clock
    slept_ns: int | None  # increases by the time asleep; None: unknown


def read_clocks() -> ClockReading:
    return ClockReading(
        time.time(), sleep_clock.continuous_ns(), sleep_clock.slept_ns()
    )


class ClockWatch:
    """Compares the clocks from look to look."""

    def __init__(self, journal: Journal, tolerance_s: float) -> None:
        """tolerance_s: a smaller step of the wall clock is not reported."""
        self._journal = journal
        self._tolerance_s = tolerance_s
        self._last = read_clocks()

    def check(self) -> bool:
        """Return whether the machine slept since the last time; note sleeps and set clocks."""
        before, now = self._last, read_clocks()
        self._last = now
        slept_s = sleep_clock.slept_s(before.slept_ns, now.slept_ns)
        passed_s = (now.continuous_ns - before.continuous_ns) / 1e9
        moved_s = now.wall_s - before.wall_s - passed_s
        if slept_s:
            self._journal.note(
                "sleep", f"the machine slept for {slept_s:.1f} s"
            )
        if abs(moved_s) <= self._tolerance_s:
            return bool(slept_s)
        if (
            slept_s is None
        ):  # this system has no two clocks that would tell
            detail = f"the machine slept, or its clock was set, by {moved_s:.0f} s"
            self._journal.note("sleep", detail)
            return True
        self._journal.note(
            "clock_set", f"the clock was set by {moved_s:+.0f} s"
        )
        return bool(slept_s)
