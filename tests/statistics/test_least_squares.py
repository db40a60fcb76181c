"""Least squares with no coefficient below 0, against SciPy's."""

from __future__ import annotations

import random

import numpy
import pytest
from scipy.optimize import nnls

from ollama_bench.statistics.least_squares import solve_nonnegative


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_coefficients_are_those_of_scipy(seed, count):
    chance = random.Random(seed)
    columns = [
        [chance.gauss(1, 2) * 10 ** (2 * place) for _ in range(7)]
        for place in range(count)
    ]
    target = [chance.gauss(1, 1) for _ in range(7)]
    expected, _ = nnls(numpy.array(columns).T, numpy.array(target))
    found = solve_nonnegative(columns, target)
    assert found == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-12)


def test_columns_that_depend_on_each_other_have_one_coefficient():
    columns = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    found = solve_nonnegative(columns, [2.0, 4.0, 6.0])
    assert found in ([2.0, 0.0], pytest.approx([0.0, 1.0]))


def test_what_no_column_is_near_has_none():
    assert solve_nonnegative([[1.0, 1.0]], [-1.0, -2.0]) == [0.0]
    # too large to be squared
    assert solve_nonnegative([[1e200, 1e200]], [1.0, 1.0]) == [0.0]
