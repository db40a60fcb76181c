"""Welch's t interval for the ratio of two means, computed from logarithms.

Sources: Welch 1947, The Generalization of 'Student's' Problem; Satterthwaite 1946 for the degrees
of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import variance
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_quantile

MOST_LOG = 700.0  # exp() of more overflows


class VariancePart(NamedTuple):
    """One part of the variance of an estimate, with its degrees of freedom."""

    variance: float
    freedom: int


def log_mean_variance(values: Sequence[float]) -> VariancePart:
    """Return the variance of the mean of the logarithms of at least two positive values."""
    logs = [math.log(value) for value in values]
    return VariancePart(variance(logs) / len(logs), len(logs) - 1)


def ratio_interval(
    log_ratio: float, parts: Sequence[VariancePart], alpha: float
) -> tuple[float, float]:
    """Return the 1 - alpha interval of a change, as a ratio less 1.

    log_ratio is the difference of two means of logarithms, parts the variances that add up to its
    own.
    """
    whole = sum(part.variance for part in parts)
    if whole == 0:
        return math.expm1(log_ratio), math.expm1(log_ratio)
    freedom = whole**2 / sum(
        part.variance**2 / part.freedom for part in parts
    )
    half = t_quantile(1 - alpha / 2, freedom) * math.sqrt(whole)
    return math.expm1(log_ratio - half), math.expm1(
        min(log_ratio + half, MOST_LOG)
    )
