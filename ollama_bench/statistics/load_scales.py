"""The loads that a search for the capacity chooses from: counts, or rates."""

from __future__ import annotations

import math
from typing import Protocol

STEP = 0.05  # of a load, between two that are told apart
# of one alone so many requests take long, and tell little
FIRST_COUNT = 4.0
LEAST_RATE_RATIO = 1 / 256  # of the first rate: the lowest that is tried


class Scale(Protocol):
    """The loads that a search chooses from."""

    @property
    def first(self) -> float:
        """The load to try first."""

    def double(self, size: float) -> float:
        """Return the load to try after one that was served; the same: there is no higher one."""

    def halve(self, size: float) -> float | None:
        """Return a load below the lowest tried, which was missed; None: there is none."""

    def split(self, low: float, high: float) -> float | None:
        """Return a load between two; None: they are as near as they need be."""

    def round_down(self, size: float) -> float:
        """Return the highest load there is up to a size."""


class CountScale:
    """People, or requests at once: from 1 to the highest, in steps of 1.

    step: of larger counts, as a part of them.
    """

    def __init__(self, highest: int, step: float = 0.0) -> None:
        self.highest = float(highest)
        self.first = min(FIRST_COUNT, self.highest)
        self._step = step

    def double(self, size: float) -> float:
        return min(2 * size, self.highest)

    def halve(self, size: float) -> float | None:
        return self.split(0.0, size)

    def split(self, low: float, high: float) -> float | None:
        is_near = high - low <= max(1.0, self._step * low)
        return None if is_near else (low + high) // 2

    def round_down(self, size: float) -> float:
        return size // 1


class RateScale:
    """Requests per second, in steps of 5 %."""

    def __init__(self, first: float) -> None:
        self.first = round_rate(first)

    def double(self, size: float) -> float:
        return round_rate(2 * size)

    def halve(self, size: float) -> float | None:
        half = round_rate(size / 2)
        return half if half >= self.first * LEAST_RATE_RATIO else None

    def split(self, low: float, high: float) -> float | None:
        if high <= low * (1 + STEP) * (1 + 1e-9):
            return None
        return round_rate(math.sqrt(low * high))

    def round_down(self, size: float) -> float:
        return size


def round_rate(rate: float) -> float:
    """Return a rate with three significant digits."""
    return float(f"{rate:.3g}")
