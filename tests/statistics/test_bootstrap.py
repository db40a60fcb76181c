import random
import statistics

import pytest

from ollama_bench.statistics.bootstrap import Interval, bootstrap_mean


@pytest.mark.parametrize("values", [[], [1.0]])
def test_interval_of_fewer_than_two_values_is_unknown(values):
    assert bootstrap_mean(values, seed=1) is None


def test_equal_values_have_an_interval_without_width():
    assert bootstrap_mean([2.0, 2.0, 2.0], seed=1) == Interval(2.0, 2.0)


@pytest.mark.parametrize("size", [100, 1000])
def test_interval_is_about_two_standard_errors_to_each_side(size):
    draw = random.Random(7)
    values = [draw.gauss(10, 2) for _ in range(size)]
    interval = bootstrap_mean(values, seed=1)
    mean, error = (
        statistics.fmean(values),
        statistics.stdev(values) / size**0.5,
    )
    assert mean - interval.low == pytest.approx(1.96 * error, rel=0.3)
    assert interval.high - mean == pytest.approx(1.96 * error, rel=0.3)


def test_seed_decides_the_interval():
    draw = random.Random(7)
    values = [draw.random() for _ in range(50)]
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)
