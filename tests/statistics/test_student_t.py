"""Student's t against its tables."""

from __future__ import annotations

import pytest

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
