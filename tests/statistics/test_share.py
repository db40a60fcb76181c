"""How sure a share of good requests is."""

import math
import random

import pytest

from ollama_bench.statistics.share import (
    estimate_burst_share,
    estimate_share,
    measure_design_effect,
)


def test_all_good_prove_a_share_by_their_number():
    eight = estimate_share([True] * 8)
    assert eight is not None
    assert (eight.share, eight.high, eight.independent) == (1, 1, 8)
    assert eight.low == pytest.approx(0.05 ** (1 / 8))
    assert estimate_share([True] * 58).low < 0.95
    assert estimate_share([True] * 59).low > 0.95


def test_none_good_is_the_mirror_of_it():
    none = estimate_share([False] * 8)
    assert (none.share, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.05 ** (1 / 8))


def test_a_share_of_nothing_is_unknown():
    assert estimate_share([]) is None


def test_independent_requests_count_whole():
    draw = random.Random(1)
    found = estimate_share([draw.random() < 0.9 for _ in range(2000)])
    assert found.independent > 1400
    assert found.low < 0.9 < found.high
    assert found.high - found.low < 0.04


def test_clusters_of_bad_ones_are_worth_fewer():
    # ten in a row fare alike
    draw = random.Random(1)
    good = [
        good for _ in range(100) for good in [draw.random() < 0.8] * 10
    ]
    found = estimate_share(good)
    assert 50 < found.independent < 200
    assert found.high - found.low > 0.12


def test_strain_shows_what_good_alone_hides():
    # the wait rises and falls slowly, and never reaches its bound
    strain = [0.5 + 0.4 * math.sin(place / 30) for place in range(400)]
    good = [True] * 400
    assert estimate_share(good).low > 0.99
    found = estimate_share(good, strain=strain)
    assert found.independent < 20
    assert found.low < 0.9


def test_a_request_that_failed_is_infinitely_strained():
    draw = random.Random(1)
    strain = [draw.random() for _ in range(200)]
    strain[100] = math.inf
    assert measure_design_effect([True] * 200, strain) < 2


def test_alternating_ones_are_not_worth_more_than_they_are():
    assert estimate_share([True, False] * 20).independent == 40


def test_a_single_burst_speaks_of_itself():
    found = estimate_burst_share([[True] * 8])
    assert (found.independent, found.low) == (
        8,
        pytest.approx(0.05**0.125),
    )


def test_bursts_that_differ_are_worth_little():
    alike = estimate_burst_share([[True] * 7 + [False]] * 10)
    unlike = estimate_burst_share([[True] * 8] * 9 + [[False] * 8])
    assert alike.independent == 80
    assert unlike.independent < 10
    assert unlike.high - unlike.low > 2 * (alike.high - alike.low)


def test_bursts_of_unlike_strain_are_worth_little_though_all_are_good():
    same = [[0.1, 0.2, 0.3, 0.4]] * 4
    moving = [[0.1] * 4, [0.2] * 4, [0.3] * 4, [0.4] * 4]
    good = [[True] * 4] * 4
    assert estimate_burst_share(good, strains=same).independent == 16
    assert estimate_burst_share(good, strains=moving).independent < 4


def test_a_drift_that_stays_far_from_the_bound_makes_nobody_alike():
    def measure(scale: float) -> float:
        # speeds that wander by a third, as a real server's do
        strain = [
            scale * (1 + 0.15 * math.sin(place / 10))
            for place in range(72)
        ]
        return measure_design_effect([True] * 72, strain)

    assert measure(0.3) == 1
    assert measure(0.8) > 10
    # from nearly nothing on, it may rise on
    assert (
        measure_design_effect([True] * 40, [0.001 * n for n in range(40)])
        > 5
    )


def test_a_drift_far_from_the_bound_makes_nobody_alike():
    strain = [0.1001 + place * 1e-6 for place in range(100)]
    assert estimate_share([True] * 100, strain=strain).independent == 100
