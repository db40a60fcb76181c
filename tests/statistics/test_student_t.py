"""Student's t against its tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from ollama_bench.statistics.student_t import t_probability, t_quantile


@pytest.mark.parametrize(
    "p, freedom, t",
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 4, 2.77645),
        (0.995, 10, 3.16927),
        (0.975, 100, 1.98397),
        (0.975, float("inf"), 1.95996),
    ],
)
def test_students_t_is_that_of_the_tables(p, freedom, t):
    assert t_quantile(p, freedom) == pytest.approx(t, rel=1e-5)
    assert t_probability(t, freedom) == pytest.approx(p, abs=1e-6)


@given(st.floats(1e-9, 1 - 1e-9), st.floats(0.5, 1e6))
def test_a_quantile_is_that_of_scipy(p, freedom):
    expected = float(special.stdtrit(freedom, p))
    assert t_quantile(p, freedom) == pytest.approx(
        expected, rel=1e-7, abs=1e-7
    )


@given(st.floats(-50, 50), st.floats(0.5, 1e6))
def test_a_probability_is_that_of_scipy(t, freedom):
    expected = float(special.stdtr(freedom, t))
    assert t_probability(t, freedom) == pytest.approx(
        expected, rel=1e-6, abs=1e-300
    )


def test_the_ends_are_endless():
    assert t_quantile(0, 3) == -math.inf and t_quantile(1, 3) == math.inf
    assert t_probability(math.inf, 3) == 1
    assert t_quantile(0.5, 3) == 0
