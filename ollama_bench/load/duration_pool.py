"""Pools durations of a level; takes nanoseconds, answers in seconds."""

from __future__ import annotations

from ollama_bench.statistics.percentile_pool import PercentilePool
from ollama_bench.statistics.percentiles import MIN_VALUES_FOR_P99

NS_PER_S = 1e9


class DurationPool(PercentilePool):
    """A pool of nanoseconds."""

    def percentile_s(
        self, percent: int, min_values: int = 1
    ) -> float | None:
        """Return a percentile in seconds; None below so many values."""
        if self.count < min_values:
            return None
        return self.percentile(percent) / NS_PER_S

    def p99_or_max_s(self) -> float | None:
        """Return p99 in seconds, the maximum where p99 needs more values; None without any."""
        return self.percentile_s(
            99 if self.count >= MIN_VALUES_FOR_P99 else 100
        )

    def mean_s(self) -> float | None:
        """Return the mean in seconds; None without any value."""
        return self.total / self.count / NS_PER_S if self.count else None

    def max_s(self) -> float | None:
        """Return the maximum in seconds; None without any value."""
        return self.largest / NS_PER_S if self.count else None
