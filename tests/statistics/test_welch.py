"""Intervals of a change, worked out by hand."""

from __future__ import annotations

import math

import pytest

from ollama_bench.statistics.welch import (
    VariancePart,
    least_seen,
    pool_variance,
    ratio_interval,
    sum_parts,
    two_sided_p,
)

PARTS = (VariancePart(1 / 3, 2), VariancePart(1 / 3, 2))


def test_the_interval_is_welchs():
    """Two variances of 1, of 3 values: 4 degrees of freedom, t = 2.776, half 2.776 * sqrt(2/3)."""
    low, high = ratio_interval(1.0, PARTS, 0.025, 0.025)
    half = 2.776445 * (2 / 3) ** 0.5
    assert low == pytest.approx(math.exp(1 - half) - 1, rel=1e-5)
    assert high == pytest.approx(math.exp(1 + half) - 1, rel=1e-5)
    edge = 2.776445 * (2 / 3) ** 0.5
    assert two_sided_p(edge, PARTS) == pytest.approx(0.05, rel=1e-5)


def test_an_interval_may_be_safer_on_one_side():
    low, high = ratio_interval(
        0.0, (VariancePart(1, math.inf),), 0.005, 0.025
    )
    assert math.log1p(low) == pytest.approx(-2.575829, rel=1e-5)
    assert math.log1p(high) == pytest.approx(1.959964, rel=1e-5)


def test_a_known_part_takes_no_freedom():
    found = sum_parts([VariancePart(3, math.inf), VariancePart(1, 2)])
    assert found == (4, 32)


def test_variances_are_pooled_within_groups():
    assert pool_variance([[0, 2], [5], [10, 11, 12]]) == (4 / 3, 3)
    assert pool_variance([[0], [5]]) == (0, 0)


def test_the_least_change_seen_is_both_quantiles():
    found = least_seen((VariancePart(0.01, math.inf),), 0.025, 0.8)
    assert found == pytest.approx(0.1 * (1.959964 + 0.841621), rel=1e-5)
