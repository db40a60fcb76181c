"""Think times have their mean, and those under way at a random instant theirs."""

import random
from statistics import fmean

import pytest

from ollama_bench.statistics.think_time import LAWS, ThinkTime

# (E X^2) / 2 (E X), what is left at a random instant, for a mean of 30 s
LEFT_S = {"lognormal": 30.0, "exponential": 30.0, "fixed": 15.0}


@pytest.mark.parametrize("law", LAWS)
def test_each_law_has_its_mean_and_what_is_left_at_a_random_instant(law):
    think_time, draw = ThinkTime(30.0, law), random.Random(1)
    drawn = [think_time.draw(draw) for _ in range(40_000)]
    assert fmean(drawn) == pytest.approx(30.0, rel=0.02)
    pairs = [think_time.draw_under_way(draw) for _ in range(40_000)]
    left = fmean(left for left, _ in pairs)
    assert left == pytest.approx(LEFT_S[law], rel=0.03)
    # it is drawn in proportion to its length: twice what is left
    whole = fmean(whole for _, whole in pairs)
    assert whole == pytest.approx(2 * LEFT_S[law], rel=0.03)
    assert all(0 <= left <= whole for left, whole in pairs)


def test_what_is_left_has_the_law_of_a_renewal_process():
    """Looked at at random instants of a long life of thinking, it is the same."""
    think_time, draw = ThinkTime(1.0), random.Random(2)
    ends, end = [], 0.0
    while end < 40_000:
        end += think_time.draw(draw)
        ends.append(end)
    seen, place = [], 0
    for second in range(40_000):
        while ends[place] < second:
            place += 1
        seen.append(ends[place] - second)
    drawn = [think_time.draw_under_way(draw)[0] for _ in range(40_000)]
    for share in (0.1, 0.5, 0.9):
        at = int(share * 40_000)
        assert sorted(drawn)[at] == pytest.approx(
            sorted(seen)[at], rel=0.08
        )
