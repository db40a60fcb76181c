"""Gunther's Universal Scalability Law, fitted by least squares with bounds.

    law = fit_law([(1, 53.0), (2, 61.0), (4, 72.0), (8, 90.0), (16, 99.0), (32, 97.0)])
    law.at(16), law.peak, law.contention_range

Sources: Gunther 2007, Guerrilla Capacity Planning; the jackknife as in Efron and Tibshirani 1993,
An Introduction to the Bootstrap, chapter 11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_bench.statistics.intervals import UPPER, Interval
from ollama_bench.statistics.student_t import t_quantile

# three parameters, and as many loads again for their ranges: with fewer most curves fit
FEWEST_LOADS = 6
# a fit with a larger error has parameters that mean little
MOST_ERROR_RATIO = 0.1
# a range of the contention that is wider tells nothing
WIDEST_RANGE = 0.25
# less costs nothing that could be measured
LEAST_CONTENTION, LEAST_CROSSTALK = 1e-4, 1e-7

Point = tuple[float, float]  # load and throughput


@dataclass(frozen=True)
class Law:
    """X(N) = alone * N / (1 + contention (N-1) + crosstalk N (N-1)), and how well it fits."""

    alone: float  # throughput of one
    contention: float  # share of the work that waits for its turn, 0 to 1
    crosstalk: float  # cost of each pair that must agree
    error: float  # root mean square of the relative errors
    # 95 % ranges: what leaving out one load after another changes
    contention_range: Interval
    crosstalk_range: Interval

    def at(self, n: float) -> float:
        """Return the throughput at load n."""
        return law_at((self.alone, self.contention, self.crosstalk), n)

    @property
    def peak(self) -> float | None:
        """The load with the highest throughput; None if that is not known to exist."""
        if self.crosstalk_range.low <= 0 or self.contention >= 1:
            return None
        return math.sqrt((1 - self.contention) / self.crosstalk)


def law_at(parameters: Sequence[float], n: float) -> float:
    alone, contention, crosstalk = parameters
    return alone * n / (1 + contention * (n - 1) + crosstalk * n * (n - 1))


def fit_law(points: Sequence[Point]) -> Law | None:
    """Fit the law by least squares of the relative error; contention is between 0 and 1.

    None where the fit says nothing: with fewer than FEWEST_LOADS loads, an error above
    MOST_ERROR_RATIO, a range of the contention wider than WIDEST_RANGE, neither contention nor
    crosstalk apart from 0, or where a cap, as of slots, fits as well.
    """
    known = [(n, x) for n, x in points if x and x > 0]
    if len({n for n, _ in known}) < FEWEST_LOADS:
        return None
    fitted = fit(known)
    if math.isinf(fitted[0]):
        return None
    error = error_ratio([law_at(fitted, n) for n, _ in known], known)
    if error > MOST_ERROR_RATIO or is_capped(known, error):
        return None
    ranges = jackknife(known, fitted)
    contention, crosstalk = (
        Interval(max(0.0, low), high) for low, high in ranges[1:]
    )
    law = Law(
        fitted[0],
        fitted[1],
        fitted[2],
        error,
        Interval(contention.low, min(1.0, contention.high)),
        crosstalk,
    )
    is_wide = contention.high - contention.low > WIDEST_RANGE
    is_nothing = (
        contention.low <= LEAST_CONTENTION
        and crosstalk.low <= LEAST_CROSSTALK
    )
    return None if is_wide or is_nothing else law


def is_capped(points: Sequence[Point], error: float) -> bool:
    """Tell whether a rise by contention alone to a cap fits as well as a law of that error.

    Both have three parameters; a cap is of two levels or more.
    """
    rising = sorted(points)
    for place in range(2, len(rising) - 1):
        low, high = rising[:place], rising[place:]
        alone, contention, _ = fit(low, has_crosstalk=False)
        cap = sum(x for _, x in high) / len(high)
        capped = [
            min(law_at((alone, contention, 0.0), n), cap)
            for n, _ in rising
        ]
        if error_ratio(capped, rising) <= error:
            return True
    return False


def error_ratio(fitted: Sequence[float], points: Sequence[Point]) -> float:
    """Return the root mean square of the relative errors."""
    squares = [
        (value / x - 1) ** 2
        for value, (_, x) in zip(fitted, points, strict=True)
    ]
    return math.sqrt(sum(squares) / len(squares))


def fit(
    points: Sequence[Point], has_crosstalk: bool = True
) -> tuple[float, float, float]:
    """Return the parameters of the law.

    N / X is a (1 + contention (N-1) + crosstalk N (N-1)) with a = 1 / alone, which is linear in
    a (1 - contention), a contention N and a crosstalk N (N-1): none of these is negative just
    where contention is between 0 and 1.
    """
    # here and not above: a command line is parsed without them
    import numpy
    from scipy.optimize import nnls

    loads, found = (
        numpy.array(column, dtype=float)
        for column in zip(*points, strict=True)
    )
    terms = [numpy.ones_like(loads), loads]
    if has_crosstalk:
        terms.append(loads * (loads - 1))
    rows = numpy.stack(terms, axis=1) * (found / loads)[:, None]
    scale = rows.max(axis=0)
    solved, _ = nnls(rows / scale, numpy.ones_like(found))
    rest, contended, *crossed = (solved / scale).tolist()
    whole = rest + contended
    # nothing but crosstalk: as far from the law as can be
    if whole <= 0:
        return math.inf, 0.0, math.inf
    return (
        1 / whole,
        contended / whole,
        crossed[0] / whole if crossed else 0.0,
    )


def jackknife(
    points: Sequence[Point], fitted: Sequence[float]
) -> list[tuple[float, float]]:
    """Return a 95 % range of each parameter by leaving out one load after another."""
    import numpy

    loads = sorted({n for n, _ in points})
    parts = numpy.array(
        [fit([point for point in points if point[0] != n]) for n in loads]
    )
    count = len(loads)
    spread = numpy.sqrt((count - 1) * parts.var(axis=0))
    half = spread * t_quantile(UPPER, count - len(fitted))
    return [
        (value - width, value + width)
        for value, width in zip(fitted, half.tolist(), strict=True)
    ]
