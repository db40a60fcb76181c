"""The Universal Scalability Law against exact data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
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
def test_the_law_is_found_again_in_exact_data(alone, contention, crosstalk):
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


def test_no_law_where_the_data_cannot_carry_one():
    assert fit_law(points(40, 0.05, 0.002, (1, 2, 4))) is None
    assert (
        fit_law([(1, 40.0), (2, 5.0), (4, 300.0), (8, 1.0), (16, 500.0)])
        is None
    )
    assert fit_law([(1, 0.0), (2, 0.0), (4, 0.0), (8, 0.0)]) is None


def test_parameters_are_never_negative():
    # faster than linear
    law = fit_law([(n, 40.0 * n**1.05) for n in LEVELS])
    assert law is None or (law.contention >= 0 and law.crosstalk >= 0)
