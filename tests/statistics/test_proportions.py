"""Fisher's test and Newcombe's interval against published examples."""

from __future__ import annotations

import pytest

from ollama_bench.statistics.proportions import (
    Share,
    difference_interval,
    fisher_p,
    least_shown,
    one_sided_p,
)


def test_fishers_test_is_that_of_the_tea():
    """Fisher 1935: 3 of 4 cups against 1 of 4 have p = 34/70."""
    assert fisher_p(Share(1, 4), Share(3, 4)) == pytest.approx(34 / 70)
    assert fisher_p(Share(0, 9), Share(0, 4)) == 1.0


def test_one_side_of_fishers_test_is_that_of_the_difference():
    """The tea of one who is right or wrong: 17 of 70 tables are as good, or as bad."""
    right, wrong = Share(3, 4), Share(1, 4)
    assert one_sided_p(wrong, right) == pytest.approx(17 / 70)
    assert one_sided_p(right, wrong) == pytest.approx(17 / 70)


def test_the_least_rise_that_is_shown_is_the_first_below_the_level():
    before = Share(0, 20)
    assert least_shown(before, 20, 0.05) == 5
    assert (
        fisher_p(before, Share(4, 20))
        > 0.05
        > fisher_p(before, Share(5, 20))
    )
    assert least_shown(Share(0, 2), 2, 0.05) is None


def test_the_interval_is_newcombes():
    """Newcombe 1998, table II, case (a): 56/70 less 48/80."""
    low, high = difference_interval(Share(48, 80), Share(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
