"""The difference of two means of logarithms, whose variance is a sum of parts, by Student's t.

Sources: Welch 1947, The Generalization of 'Student's' Problem; Satterthwaite 1946 for the degrees
of freedom of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_probability, t_quantile

MOST_LOG = 700.0  # exp() of more overflows


class VariancePart(NamedTuple):
    """One part of the variance of an estimate, with its degrees of freedom."""

    variance: float
    freedom: float  # math.inf: known, not estimated


def pool_variance(groups: Iterable[Sequence[float]]) -> VariancePart:
    """Return the variance within groups; 0 with 0 degrees of freedom if none has two values."""
    squares, freedom = 0.0, 0
    for group in groups:
        if len(group) > 1:
            mean = math.fsum(group) / len(group)
            squares += math.fsum((value - mean) ** 2 for value in group)
            freedom += len(group) - 1
    return VariancePart(squares / freedom if freedom else 0.0, freedom)


def sum_parts(parts: Sequence[VariancePart]) -> VariancePart:
    """Return the sum of parts, with Satterthwaite's degrees of freedom."""
    whole = math.fsum(part.variance for part in parts)
    below = math.fsum(part.variance**2 / part.freedom for part in parts)
    return VariancePart(whole, whole**2 / below if below else math.inf)


def ratio_interval(
    log_ratio: float,
    parts: Sequence[VariancePart],
    below: float,
    above: float,
) -> tuple[float, float]:
    """Return the interval of a change, as a ratio less 1.

    The truth is under it with probability `below` and over it with probability `above`, at most.
    """
    whole = sum_parts(parts)
    error = math.sqrt(whole.variance)
    low, high = log_ratio, log_ratio
    if error:
        low -= t_quantile(1 - below, whole.freedom) * error
        high += t_quantile(1 - above, whole.freedom) * error
    return math.expm1(low), math.expm1(min(high, MOST_LOG))


def two_sided_p(log_ratio: float, parts: Sequence[VariancePart]) -> float:
    """Return how probable so large a difference is if there is none."""
    whole = sum_parts(parts)
    if not whole.variance:
        return 0.0 if log_ratio else 1.0
    t = -abs(log_ratio) / math.sqrt(whole.variance)
    return 2 * t_probability(t, whole.freedom)


def least_seen(
    parts: Sequence[VariancePart], alpha: float, power: float
) -> float:
    """Return the logarithm of the least change that is found with a probability of `power`.

    alpha is the probability of a false alarm in its direction.
    """
    whole = sum_parts(parts)
    if not whole.variance:
        return 0.0
    quantiles = t_quantile(1 - alpha, whole.freedom) + t_quantile(
        power, whole.freedom
    )
    return min(quantiles * math.sqrt(whole.variance), MOST_LOG)
