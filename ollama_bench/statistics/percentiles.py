"""Percentiles by nearest rank.

The percentile p of n values is the value at rank ceil(p/100 * n): the smallest value such that at
least p percent of all values are at or below it. It is always a value that was measured.
Definition 1 in Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American
Statistician 50 (4), 1996, https://doi.org/10.2307/2684934.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

# The number of values below which a percentile is only the maximum: one value is beyond it.
MIN_VALUES_FOR_P95 = 20
MIN_VALUES_FOR_P99 = 100


class Ordered(Protocol):
    """A value that can be sorted."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Ordered)


def nearest_rank(sorted_values: Sequence[T], percent: int) -> T:
    """Return the percentile of sorted values. Raises IndexError if there are none."""
    return sorted_values[rank_of(percent, len(sorted_values)) - 1]


def rank_of(percent: int, count: int) -> int:
    """Return the rank of a percentile among so many values, from 1 on."""
    return (percent * count + 99) // 100
