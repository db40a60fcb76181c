"""Two shares of counts: is the difference more than chance, and how large may it be?

Sources: Fisher's exact test, by SciPy; Newcombe 1998, Interval Estimation for the Difference
between Independent Proportions, method 10 (of two Wilson intervals).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_quantile


class Share(NamedTuple):
    """So many of so many."""

    hits: int
    of: int

    @property
    def ratio(self) -> float:
        return self.hits / self.of


def fisher_p(before: Share, after: Share) -> float:
    """Return how probable so unlike shares are if both sides have the same (two-sided)."""
    if before.ratio == after.ratio:
        return 1.0
    import numpy
    from scipy import stats

    table = [[side.hits, side.of - side.hits] for side in (before, after)]
    return float(stats.fisher_exact(numpy.array(table))[1])


def one_sided_p(before: Share, after: Share) -> float:
    """Return how probable a difference so large, in its direction, is by chance (Fisher)."""
    import numpy
    from scipy import stats

    # SciPy's one side is that of the first share
    ordered = sorted((before, after), key=lambda side: side.ratio)
    table = [[side.hits, side.of - side.hits] for side in ordered]
    return float(
        stats.fisher_exact(numpy.array(table), alternative="less")[1]
    )


def least_shown(before: Share, of: int, alpha: float) -> int | None:
    """Return the fewest hits of so many that are a rise by Fisher's test; None: not even all."""
    start = int(before.ratio * of) + 1
    return next(
        (
            hits
            for hits in range(start, of + 1)
            if fisher_p(before, Share(hits, of)) < alpha
        ),
        None,
    )


def difference_interval(
    before: Share, after: Share, alpha: float = 0.05
) -> tuple[float, float]:
    """Return Newcombe's 1 - alpha interval of after's ratio less before's."""
    old_low, old_high = wilson_interval(before, alpha)
    new_low, new_high = wilson_interval(after, alpha)
    gap = after.ratio - before.ratio
    down = math.hypot(after.ratio - new_low, old_high - before.ratio)
    up = math.hypot(new_high - after.ratio, before.ratio - old_low)
    return gap - down, gap + up


def wilson_interval(share: Share, alpha: float) -> tuple[float, float]:
    z = t_quantile(1 - alpha / 2, math.inf)
    n, p = share.of, share.ratio
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = (
        z
        * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        / (1 + z * z / n)
    )
    return max(0.0, middle - half), min(1.0, middle + half)
