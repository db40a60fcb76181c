"""MSER-5 cuts a warm-up and leaves a steady series alone."""

import random
from statistics import fmean, median

from ollama_bench.statistics.warm_up import count_warm_up


def make_series(seed, warm_up, count=500, phi=0.5):
    """An autocorrelated series around 10 that first climbs from 0."""
    draw, deviation, values = random.Random(seed), 0.0, []
    for place in range(count):
        deviation = phi * deviation + draw.gauss(0, 1)
        start = -10 * (1 - place / warm_up) if place < warm_up else 0.0
        values.append(10 + start + deviation)
    return values


def test_a_warm_up_is_cut_and_its_bias_with_it():
    cuts = [count_warm_up(make_series(seed, 100)) for seed in range(40)]
    assert 60 <= median(cuts) <= 130
    means = [
        fmean(make_series(seed, 100)[cut:])
        for seed, cut in enumerate(cuts)
    ]
    assert abs(fmean(means) - 10) < 0.15
    assert abs(fmean(make_series(0, 100)) - 10) > 0.7


def test_a_steady_series_is_kept_for_the_most_part():
    cuts = [count_warm_up(make_series(seed, 0)) for seed in range(40)]
    assert median(cuts) <= 60


def test_a_constant_series_is_kept_whole():
    assert count_warm_up([3.1] * 500) == 0
    assert count_warm_up([0.0] * 100 + [3.1] * 400) == 100


def test_too_few_values_tell_nothing():
    assert count_warm_up([1.0] * 49) is None
    assert count_warm_up([1.0] * 50) == 0
