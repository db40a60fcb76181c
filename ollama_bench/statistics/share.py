"""The share of good requests of a load that goes on, with an interval that holds.

Neighbours share the server's state, so that n of them are worth fewer independent ones: n over the
integrated autocorrelation time, by Geyer's initial monotone sequence (1992, Practical Markov Chain
Monte Carlo, Statistical Science 7(4), section 3.3). Good and bad alone do not show it: a queue
whose bad hours have not come yet is all good. How near to its bound each request came shows it
before. The interval is Wilson's at that many requests (1927, Probable Inference, the Law of
Succession, and Statistical Inference, JASA 22), with Student's t; where all are good or none, the
exact one-sided one (Clopper and Pearson 1934, Biometrika 26). How often it holds the truth:
benchmarks/bench_statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_quantile


class ShareEstimate(NamedTuple):
    """A share of good requests, from 0 to 1, with its interval."""

    share: float
    low: float
    high: float
    # so many independent requests the sample is worth
    independent: float


def estimate_share(
    good: Sequence[bool],
    alpha: float = 0.05,
    strain: Sequence[float] | None = None,
) -> ShareEstimate | None:
    """Return the share of good requests, in the order in which they were asked.

    strain: how near to its bound each came (value / bound; infinite where it failed); without
    it the interval is too short for a server near its capacity. None (unknown) without requests.
    """
    if not good:
        return None
    time = autocorrelation_time(good)
    if strain is not None:
        time = max(time, autocorrelation_time(strain))
    return share_interval(sum(good), len(good), len(good) / time, alpha)


def share_interval(
    good: int, count: int, independent: float, alpha: float = 0.05
) -> ShareEstimate:
    """Return the interval of good of count requests that are worth so many independent ones."""
    share, n = good / count, independent
    if good in (0, count):
        # the other end is known
        bound = alpha ** (1 / n)
        low, high = (bound, 1.0) if good else (0.0, 1 - bound)
        return ShareEstimate(share, low, high, n)
    t = t_quantile(1 - alpha / 2, max(1.0, n - 1))
    middle = (share + t * t / (2 * n)) / (1 + t * t / n)
    root = math.sqrt(share * (1 - share) / n + t * t / (4 * n * n))
    half = t * root / (1 + t * t / n)
    return ShareEstimate(
        share, max(0.0, middle - half), min(1.0, middle + half), n
    )


def autocorrelation_time(values: Sequence[float]) -> float:
    """Return over how many neighbours their ranks are alike: 1 where they are independent.

    Ranks, since a single huge value would hide the rest.
    """
    import numpy
    from scipy import stats

    ranks = stats.rankdata(numpy.asarray(values, dtype=float))
    ranks -= ranks.mean()
    count = len(ranks)
    spectrum = numpy.fft.rfft(ranks, 2 * count)
    covariances = numpy.fft.irfft(spectrum * spectrum.conj(), 2 * count)[
        : count - count % 2
    ]
    if not len(covariances) or covariances[0] < 1e-9 * count:
        return 1.0
    pairs = covariances.reshape(-1, 2).sum(axis=1) / covariances[0]
    (negative,) = numpy.nonzero(pairs <= 0)
    if len(negative):
        pairs = pairs[: negative[0]]
    falling = numpy.minimum.accumulate(pairs)
    return max(1.0, float(2 * falling.sum() - 1))
