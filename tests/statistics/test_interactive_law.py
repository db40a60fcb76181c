"""N = X (R + Z) within its interval, and not where somebody is missing."""

import random

import pytest

from ollama_bench.statistics.interactive_law import check_law
from ollama_bench.statistics.think_time import ThinkTime

WINDOW_S = (100.0, 500.0)
REPLY_S = 5.0


def live(people, seed, law="lognormal", missing=0):
    """Return the cycles that end in the window, and what passed at its edges.

    People think 30 s and read 5 s.
    """
    think_time, draw = ThinkTime(30.0, law), random.Random(seed)
    cycles, before, since = [], 0.0, []
    for _ in range(people - missing):
        left_s, think_s = think_time.draw_under_way(draw)
        last, end, begun = None, 0.0, think_s - left_s
        while end < WINDOW_S[1]:
            cycle = think_s + draw.expovariate(1 / REPLY_S)
            end += cycle - begun
            if WINDOW_S[0] < end <= WINDOW_S[1]:
                last = end
                cycles.append(cycle)
                before += max(0.0, cycle - (end - WINDOW_S[0]))
            think_s, begun = think_time.draw(draw), 0.0
        if last is not None:
            since.append(WINDOW_S[1] - last)
    return cycles, before, since


@pytest.mark.parametrize("people", [1, 4, 19])
@pytest.mark.parametrize("law", ["lognormal", "exponential"])
def test_the_interval_holds_1_for_95_of_100(people, law):
    held = 0
    for seed in range(400):
        found = check_law(people, 400.0, *live(people, seed, law))
        # unknown: nobody is told anything wrong
        held += found is None or found.low <= 1 <= found.high
    assert held / 400 >= 0.95


def test_two_of_twenty_people_who_are_missing_are_noticed():
    noticed = 0
    for seed in range(100):
        found = check_law(20, 400.0, *live(20, seed, missing=2))
        noticed += found.low > 1
    assert noticed >= 80


def test_a_time_of_less_than_two_cycles_tells_nothing():
    assert check_law(4, 400.0, [], 0.0, []) is None
    assert check_law(4, 60.0, [35.0, 35.0, 35.0], 0.0, []) is None
    found = check_law(4, 70.0, [35.0] * 8, 4 * 17.5, [17.5] * 4)
    assert found.ratio == pytest.approx(1.0)
    assert found.low < 1 < found.high
