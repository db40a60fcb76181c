"""Percentiles of any number of integers in bounded memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable

from ollama_bench.statistics.percentiles import nearest_rank, rank_of

MAX_EXACT_VALUES = 1 << 18  # 2 MB; beyond, values are counted in bins
# significant bits that a bin keeps: its middle is within 1/4096 of each value
BIN_BITS = 12


class PercentilePool:
    """Pools non-negative integers: exact while they are few, then in bins.

    The width of a bin grows with its values, as in HdrHistogram
    (https://github.com/HdrHistogram/HdrHistogram), so that the relative error is bounded.
    """

    def __init__(self, values: Iterable[int] = ()) -> None:
        self.count = 0
        self.total = 0
        self.largest = 0
        self._values = array("q")
        # middle of the bin -> values in it
        self._bins: Counter[int] = Counter()
        self.extend(values)

    def extend(self, values: Iterable[int]) -> None:
        """Add values."""
        added = array("q", values)
        if not added:
            return
        self.count += len(added)
        self.total += sum(added)
        self.largest = max(self.largest, max(added))
        self._values += added
        if len(self._values) > MAX_EXACT_VALUES or self._bins:
            self._bins.update(map(bin_middle, self._values))
            self._values = array("q")

    def percentile(self, percent: int) -> int:
        """Return the percentile by nearest rank. Raises IndexError if there are no values."""
        if not self._bins:
            return nearest_rank(sorted(self._values), percent)
        rank = rank_of(percent, self.count)
        for middle in sorted(self._bins):
            rank -= self._bins[middle]
            if rank <= 0:
                break
        return min(middle, self.largest)


def bin_middle(value: int) -> int:
    """Return the middle of the bin that holds the value."""
    dropped_bits = max(0, value.bit_length() - BIN_BITS)
    half_width = (1 << dropped_bits) >> 1
    return (value >> dropped_bits << dropped_bits) + half_width
