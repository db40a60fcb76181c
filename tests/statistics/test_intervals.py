"""Intervals of a mean: known values, and what tells nothing."""

import pytest

from ollama_bench.statistics.intervals import (
    Interval,
    batch_means,
    mean_interval,
)


@pytest.mark.parametrize("values", [[], [1.0], [0.001, 1.0, 1000.0]])
def test_an_interval_that_tells_nothing_is_unknown(values):
    assert mean_interval(values) is None


def test_equal_values_have_an_interval_without_width():
    assert mean_interval([2.0, 2.0, 2.0]) == pytest.approx(
        Interval(2.0, 2.0)
    )


def test_values_of_any_sign_have_students_interval():
    """The mean is 1, its standard error 1, and t of two degrees of freedom 4.303."""
    found = mean_interval([1.0 - 3**0.5, 1.0, 1.0 + 3**0.5])
    assert found == pytest.approx((-3.3027, 5.3027), abs=1e-4)


def test_skewed_values_have_the_wider_interval():
    """Student's ends at 15.1; Cox's: logs of mean 1.04, variance 1.363, t 3.182."""
    found = mean_interval([1.0, 1.5, 3.0, 14.2])
    assert found.low == 0.0
    assert found.high == pytest.approx(72.83, rel=1e-3)


def test_batches_are_as_long_as_the_load_is_wide():
    values = [float(number) for number in range(23)]
    assert batch_means(values, 4) == [4.5, 8.5, 12.5, 16.5, 20.5]
    assert len(batch_means(values * 100, 4)) == 10


def test_of_too_few_values_the_batches_are_shorter():
    """Single requests would share the server's state, and seem surer than they are."""
    values = [float(number) for number in range(23)]
    assert batch_means(values, 64) == [4.5, 8.5, 12.5, 16.5, 20.5]
    assert batch_means(values[:10], 4) == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert batch_means(values[:9], 4) == []
