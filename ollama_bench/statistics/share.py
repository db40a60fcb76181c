"""The share of good requests of a load, with an interval that holds though neighbours are alike.

Requests near each other share the server's state, so that n of them are worth fewer independent
ones: n over the integrated autocorrelation time, by Geyer's initial monotone sequence (1992,
Practical Markov Chain Monte Carlo, Statistical Science 7(4), section 3.3), taken longer by 1.5
of its standard errors (Sokal 1997, Monte Carlo Methods in Statistical Mechanics, section 3). Good
and bad alone do not show it: a queue whose bad hour has not come yet is all good. Which requests
came nearest to their bound shows it before: the same time of the fifth of them that did, as the
effective sample size of a quantile is found (Vehtari et al. 2021, Rank-Normalization, Folding, and
Localization, Bayesian Analysis 16(2), section 4.3); where what all differ by is small beside the
way to their bound, it says nothing of misses. The interval is Wilson's at that many requests
(1927, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22), with
Student's t; where all are good or none, the exact one-sided one (Clopper and Pearson 1934,
Biometrika 26). How often it holds the truth: benchmarks/bench_statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple

from ollama_bench.statistics.student_t import t_quantile

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

# of a bound; a drift of less brings no request near to it
FINENESS = 0.02
# of the requests: those that came nearest to their bound
NEAREST = 0.2
# times the span from the best to the worst: what drifts so far from its bound misses none
FAR = 1.5
# standard errors by which an autocorrelation time is taken longer
ERRORS = 1.5


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
    """Return the share of good requests of a load that goes on, in the order of asking.

    strain: how near to its bound each came (value / bound; infinite where it failed); without
    it the interval is too short for a server near its capacity. None (unknown) without requests.
    """
    if not good:
        return None
    count = len(good)
    independent = max(1.0, count / measure_design_effect(good, strain))
    return share_interval(
        sum(good), count, independent, independent - 1, alpha
    )


def estimate_burst_share(
    bursts: Sequence[Sequence[bool]],
    alpha: float = 0.05,
    strains: Sequence[Sequence[float]] | None = None,
) -> ShareEstimate | None:
    """Return the share of good requests of bursts, each of which shares a state of the server.

    strains: as in estimate_share, by burst. Of a single burst the interval takes its requests as
    independent, and speaks of that burst alone. None (unknown) without requests.
    """
    count = sum(map(len, bursts))
    if not count:
        return None
    likeness = measure_likeness(bursts)
    if strains is not None:
        likeness = max(
            likeness, measure_likeness([*map(coarsen, strains)])
        )
    freedom = (len(bursts) if len(bursts) > 1 else count) - 1
    if likeness > 1:
        likeness *= 1 + math.sqrt(2 / freedom)
    return share_interval(
        sum(map(sum, bursts)),
        count,
        max(1.0, count / likeness),
        freedom,
        alpha,
    )


def coarsen(strain: Sequence[float]) -> list[float]:
    """Return strains in steps of FINENESS."""
    return [one if math.isinf(one) else one // FINENESS for one in strain]


def share_interval(
    good: float,
    count: int,
    independent: float,
    freedom: float = math.inf,
    alpha: float = 0.05,
) -> ShareEstimate:
    """Return the interval of good of count requests that are worth so many independent ones.

    freedom: degrees of freedom of what that worth is known by.
    """
    share, n = good / count, independent
    if good in (0, count):
        # the other end is known
        bound = alpha ** (1 / n)
        low, high = (bound, 1.0) if good else (0.0, 1 - bound)
        return ShareEstimate(share, low, high, n)
    t = t_quantile(1 - alpha / 2, max(1.0, freedom))
    middle = (share + t * t / (2 * n)) / (1 + t * t / n)
    root = math.sqrt(share * (1 - share) / n + t * t / (4 * n * n))
    half = t * root / (1 + t * t / n)
    return ShareEstimate(
        share, max(0.0, middle - half), min(1.0, middle + half), n
    )


def measure_design_effect(
    good: Sequence[int], strain: Sequence[float] | None = None
) -> float:
    """Return how many requests of a load that goes on tell as much as one independent request."""
    time = autocorrelation_time(good)
    if strain is not None and not is_far(strain):
        time = max(time, autocorrelation_time(find_nearest(strain)))
    if time > 1:
        time *= 1 + ERRORS * math.sqrt(2 * (2 * time + 1) / len(good))
    return time


def is_far(strain: Sequence[float]) -> bool:
    """Tell whether the bound is further from all than FAR times what they differ by, as ratios."""
    best, worst = min(strain), max(strain)
    return best > 0 and worst < 1 and worst * (worst / best) ** FAR <= 1


def find_nearest(strain: Sequence[float]) -> NDArray[numpy.bool_]:
    """Tell which requests came nearest to their bound, or beyond it."""
    import numpy

    steps = numpy.floor(numpy.asarray(strain, dtype=float) / FINENESS)
    # not interpolated: beside an infinite one that is no number
    bound = numpy.quantile(steps, 1 - NEAREST, method="lower")
    nearest: NDArray[numpy.bool_] = steps >= bound
    # of steps that are all alike none is
    return nearest if bound > steps.min() else steps > bound


def autocorrelation_time(
    values: Sequence[float] | NDArray[numpy.bool_],
) -> float:
    """Return over how many neighbours they are alike: 1 where they are independent."""
    import numpy

    parts = numpy.asarray(values, dtype=float)
    parts -= parts.mean()
    count = len(parts)
    if parts @ parts < 1e-9 * count:
        return 1.0
    # a power of two is transformed fastest
    size = 1 << (2 * count).bit_length()
    spectrum = numpy.fft.rfft(parts, size)
    powers = (spectrum * spectrum.conj()).real
    covariances = numpy.fft.irfft(powers, size)[: count - count % 2]
    pairs = covariances.reshape(-1, 2).sum(axis=1) / covariances[0]
    (negative,) = numpy.nonzero(pairs <= 0)
    if len(negative):
        pairs = pairs[: negative[0]]
    falling = numpy.minimum.accumulate(pairs)
    return max(1.0, float(2 * falling.sum() - 1))


def measure_likeness(bursts: Sequence[Sequence[float]]) -> float:
    """Return how many times the burst means vary more than those of independent requests would.

    A request is held against those of the same place in the other bursts: that later places wait
    longer says nothing of how bursts differ.
    """
    import numpy

    least = min(map(len, bursts))
    if len(bursts) < 2 or not least:
        return 1.0
    # what has fewer was cut at its end
    found = numpy.asarray(rank_values([*chain.from_iterable(bursts)]))
    starts = [0, *accumulate(map(len, bursts))]
    ranks = numpy.array(
        [found[start : start + least] for start in starts[:-1]]
    )
    ranks -= ranks.mean(axis=0)
    variance = (ranks**2).sum() / (len(bursts) - 1) / least
    if not variance:
        return 1.0
    between = least * (ranks.mean(axis=1) ** 2).sum() / (len(bursts) - 1)
    return max(1.0, float(between / variance))


def rank_values(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, of equal ones the mean: a huge one hides no other."""
    import numpy

    _, place, counts = numpy.unique(
        numpy.asarray(values, dtype=float),
        return_inverse=True,
        return_counts=True,
    )
    last = numpy.cumsum(counts)
    ranks: list[float] = (last - (counts - 1) / 2)[place].tolist()
    return ranks
