"""Confidence intervals by resampling.

Efron, "Bootstrap Methods: Another Look at the Jackknife", The Annals of Statistics 7 (1), 1979,
https://doi.org/10.1214/aos/1176344552; the percentile interval as in Efron and Tibshirani,
An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

RESAMPLES = 1000
MANY_VALUES = 500  # from here on a tenth of the resamples will do
RESAMPLES_OF_MANY = 100


class Interval(NamedTuple):
    """The bounds of a confidence interval."""

    low: float
    high: float


def bootstrap_mean(values: Sequence[float], seed: int) -> Interval | None:
    """Return the 95 % percentile interval of the mean; None (unknown) below two values."""
    size = len(values)
    if size < 2:
        return None
    resamples = RESAMPLES if size < MANY_VALUES else RESAMPLES_OF_MANY
    choices = random.Random(seed).choices
    means = sorted(
        sum(choices(values, k=size)) / size for _ in range(resamples)
    )
    return Interval(
        means[resamples * 25 // 1000], means[resamples * 975 // 1000]
    )
