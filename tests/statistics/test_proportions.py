"""Fisher's test and Newcombe's interval against published examples."""

from __future__ import annotations

import pytest

from ollama_bench.statistics.proportions import (
    Share,
    difference_interval,
    fisher_p,
)


def test_fishers_test_is_that_of_the_tea():
    """Fisher 1935: 3 of 4 cups against 1 of 4 have p = 34/70."""
    assert fisher_p(Share(1, 4), Share(3, 4)) == pytest.approx(34 / 70)
    assert fisher_p(Share(0, 9), Share(0, 4)) == 1.0


def test_the_interval_is_newcombes():
    """Newcombe 1998, table II, case (a): 56/70 less 48/80."""
    low, high = difference_interval(Share(48, 80), Share(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
