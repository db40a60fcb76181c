"""The Universal Scalability Law against exact data."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ollama_bench.statistics.scaling_law import fit_law

LEVELS = (1, 2, 4, 8, 16, 32, 64)


def points(alone, contention, crosstalk, levels=LEVELS):
    return [
        (
            n,
            alone
            * n
            / (1 + contention * (n - 1) + crosstalk * n * (n - 1)),
        )
        for n in levels
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(st.floats(1, 1000), st.floats(0, 0.9), st.floats(0, 0.01))
def test_the_law_is_found_again_in_exact_data(
    alone, contention, crosstalk
):
    assume(contention > 1e-3 or crosstalk > 1e-5)
    law = fit_law(points(alone, contention, crosstalk))
    assert (law.alone, law.contention, law.crosstalk) == (
        pytest.approx(alone, rel=1e-4),
        pytest.approx(contention, abs=1e-4),
        pytest.approx(crosstalk, abs=1e-5),
    )
    assert law.error < 1e-4


def test_the_peak_is_where_the_law_says():
    law = fit_law(points(40, 0.05, 0.002))
    assert law.peak == pytest.approx((0.95 / 0.002) ** 0.5)
    assert law.at(round(law.peak)) >= max(
        law.at(round(law.peak) - 5), law.at(round(law.peak) + 5)
    )
    assert fit_law(points(40, 0.1, 0)).peak is None


def test_a_cap_of_slots_is_not_read_as_crosstalk():
    capped = [
        (n, min(40.0 * n / (1 + 0.05 * (n - 1)), 150)) for n in LEVELS
    ]
    assert fit_law(capped) is None


def test_contention_is_a_share_and_has_a_range():
    """Noise of 2 %, always the same."""
    noise = (1.02, 0.98, 1.01, 0.99, 1.02, 0.98, 1.0)
    law = fit_law(
        [
            (n, x * factor)
            for (n, x), factor in zip(
                points(40, 0.05, 0.002), noise, strict=True
            )
        ]
    )
    low, high = law.contention_range
    assert 0 <= low <= 0.05 <= high <= 1 and low < law.contention < high
    # falls faster than any contention can explain
    falling = fit_law([(n, 40.0 / n) for n in LEVELS])
    assert falling is None or falling.contention <= 1


def test_no_law_where_the_data_cannot_carry_one():
    assert fit_law(points(40, 0.05, 0.002, LEVELS[:5])) is None
    assert (
        fit_law(
            zip(LEVELS, (40.0, 5.0, 300.0, 1.0, 500.0, 3.0), strict=False)
        )
        is None
    )
    assert fit_law([(n, 0.0) for n in LEVELS]) is None
    # in proportion: neither contention nor crosstalk
    assert fit_law([(n, 40.0 * n) for n in LEVELS]) is None


def test_faster_than_in_proportion_has_no_law():
    assert fit_law([(n, 40.0 * n**1.05) for n in LEVELS]) is None
