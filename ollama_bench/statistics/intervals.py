"""Confidence intervals of a mean that hold for few values and for skewed ones.

Sources: Student 1908, The Probable Error of a Mean; for a log-normal law Cox's method in its form
for small samples, Olsson 2005, Confidence Intervals for the Mean of a Log-Normal Distribution,
https://doi.org/10.1080/10691898.2005.11910638; batch means: Law 2015, Simulation Modeling and
Analysis, section 9.5.3. How often they cover the truth: benchmarks/bench_statistics.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_quantile

UPPER = 0.975  # quantile of a 95 % interval
# a range that ends so many times higher than the mean tells nothing
MOST_TIMES_MEAN = 100.0
# an interval of fewer values does not hold for skewed ones ...
LEAST_VALUES = 4
# ... but these hold where each is the mean of LEAST_VALUES or more
LEAST_MEANS = 3
# more are shorter, and then share more; with fewer their means tell little
MOST_BATCHES = 10
LEAST_BATCHES = 5


class Interval(NamedTuple):
    """The bounds of a 95 % confidence interval."""

    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of the mean of independent values.

    It is Student's, and of positive values the wider of that and of Cox's for a log-normal law:
    Student's alone is too narrow for skewed values. None (unknown) below two values, or where the
    range tells nothing.
    """
    count = len(values)
    if count < 2:
        return None
    # here and not above: a command line is parsed without them
    import numpy

    found = numpy.asarray(values, dtype=float)
    mean, t = found.mean(), t_quantile(UPPER, count - 1)
    half = t * found.std(ddof=1) / count**0.5
    low, high = mean - half, mean + half
    if found.min() > 0:
        logs = numpy.log(found)
        variance = logs.var(ddof=1)
        middle = logs.mean() + variance / 2
        half = t * numpy.sqrt(
            variance / count + variance**2 / 2 / (count - 1)
        )
        if middle + half > numpy.log(MOST_TIMES_MEAN * mean):
            return None
        low = max(0.0, min(low, numpy.exp(middle - half)))
        high = max(high, numpy.exp(middle + half))
    return Interval(float(low), float(high))


def batch_means(values: Sequence[float], least: int) -> list[float]:
    """Return the means of consecutive batches, each of at least so many values if there are enough.

    Neighbours of a load that goes on share the server's state; batches of them share little. Of
    too few values the LEAST_BATCHES are shorter; the list is empty where one would be a single
    value. Values left over are dropped from the start, where the load fills.
    """
    longest = len(values) // LEAST_BATCHES
    length = min(max(least, len(values) // MOST_BATCHES), longest)
    if length < 2:
        return []
    first = len(values) % length
    return [
        sum(values[start : start + length]) / length
        for start in range(first, len(values), length)
    ]


def ratio_interval(
    parts: Sequence[tuple[float, float]],
) -> tuple[float, Interval | None] | None:
    """Return the sum of the firsts / that of the seconds, with its 95 % interval.

    The parts are independent of each other, what is summed in one is not. By linearization:
    Cochran 1977, Sampling Techniques, section 6.4, with Student's t. No interval of fewer than
    LEAST_VALUES parts; None where the seconds sum up to nothing.
    """
    whole = sum(second for _, second in parts)
    if whole <= 0:
        return None
    ratio = sum(first for first, _ in parts) / whole
    if len(parts) < LEAST_VALUES:
        return ratio, None
    mean = whole / len(parts)
    values = [
        ratio + (first - ratio * second) / mean for first, second in parts
    ]
    found = mean_interval(values)
    if found is None:
        return ratio, None
    return ratio, Interval(max(0.0, found.low), found.high)
