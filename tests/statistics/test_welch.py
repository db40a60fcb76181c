"""Welch's interval, worked out by hand."""

from __future__ import annotations

import math

import pytest

from ollama_bench.statistics.welch import log_mean_variance, ratio_interval


def test_the_interval_is_welchs():
    """Worked out by hand: both variances are 1, of 3 values.

    So there are 4 degrees of freedom, t = 2.776 and a half width of 2.776 * sqrt(2/3).
    """
    old, new = (
        [math.exp(x) for x in (0, 1, 2)],
        [math.exp(x) for x in (1, 2, 3)],
    )
    low, high = ratio_interval(
        1.0, (log_mean_variance(old), log_mean_variance(new)), 0.05
    )
    half = 2.776445 * (2 / 3) ** 0.5
    assert low == pytest.approx(
        math.exp(1 - half) - 1, rel=1e-5
    ) and high == pytest.approx(math.exp(1 + half) - 1, rel=1e-5)
