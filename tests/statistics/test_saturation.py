"""Whether a queue grows, and by how much."""

import bisect
import heapq
import itertools
import random

import pytest

from ollama_bench.load.arrivals import gamma
from ollama_bench.statistics import saturation
from ollama_bench.statistics.saturation import is_growing, measure_slope

SLOTS = 4


def watch(load, count, seed=1, even=False):
    """Return instants with the requests come and ended: 4 slots, a second each on average."""
    draw = random.Random(seed)
    rate = load * SLOTS
    due_s = [
        *itertools.islice(gamma(rate, 0.0 if even else 1.0, seed), count)
    ]
    free = [0.0] * SLOTS
    ended_s = []
    for due in due_s:
        took = 1.0 if even else draw.expovariate(1.0)
        ended_s.append(max(due, heapq.heappop(free)) + took)
        heapq.heappush(free, ended_s[-1])
    ended_s.sort()
    seconds = [0.25 * n for n in range(20, int(4 * due_s[-1]))]
    arrived = [bisect.bisect(due_s, at) for at in seconds]
    ended = [bisect.bisect(ended_s, at) for at in seconds]
    return seconds, arrived, ended


def test_a_queue_that_grows_is_seen_and_its_slope_holds_the_truth():
    found = watch(1.5, 600)
    assert is_growing(*found)
    slope = measure_slope(*found)
    assert slope.low < 2.0 < slope.high  # 6 come and 4 are answered
    assert slope.low < slope.value < slope.high


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
def test_a_server_that_keeps_up_has_no_queue_that_grows(load):
    found = watch(load, 1500)
    assert not is_growing(*found)
    slope = measure_slope(*found)
    assert (
        slope.low <= 0.0 <= slope.high or slope.value < 0.02 * load * SLOTS
    )


def test_without_any_chance_growth_is_certain():
    seconds = [float(n) for n in range(201)]
    arrived, ended = [2 * n for n in range(201)], list(range(201))
    assert is_growing(seconds, arrived, ended)
    assert measure_slope(seconds, arrived, ended) == (1, 1, 1)
    assert not is_growing(seconds, arrived, arrived)


def test_of_few_requests_or_looks_nothing_is_known():
    few = saturation.LEAST_ARRIVALS - 1
    seconds = [float(n) for n in range(few + 1)]
    arrived = [*range(few + 1)]
    assert measure_slope(seconds, arrived, [0] * (few + 1)) is None
    assert not is_growing(seconds, arrived, [0] * (few + 1))
    looks = saturation.BATCHES
    assert (
        measure_slope(
            seconds[:looks], [9 * n for n in range(looks)], [0] * looks
        )
        is None
    )


def test_what_is_called_growing_has_an_interval_above_zero(monkeypatch):
    monkeypatch.setattr(saturation, "ENOUGH", 0.0)
    for seed in range(20):
        found = watch(1.05, 400, seed)
        if is_growing(*found):
            assert measure_slope(*found).low > 0
