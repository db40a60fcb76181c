"""Which levels a quick run measures: simulated machines whose throughput is known."""

import pytest

from ollama_bench.run import quick
from ollama_bench.run.quick import Probe


def play(throughput, good=lambda level: 1.0, budget_s=60.0, tokens=100):
    """Return the probes of a run on a machine of this throughput, in tokens/s by level."""
    probes = []
    while level := quick.choose_next(probes, budget_s, 256):
        rate = throughput(level)
        probes.append(
            Probe(level, level * tokens / rate, rate, good(level))
        )
    return probes


def levels(probes):
    return [probe.concurrency for probe in probes]


def seconds(probes):
    return sum(probe.seconds for probe in probes)


def saturating(slots, each=50.0):
    return lambda level: each * min(level, slots)


def test_the_time_left_is_rounded_for_it_is_shown():
    assert quick.choose_deadline(60.0, 49.5605) == 20.4


def test_it_doubles_until_throughput_no_longer_rises_then_repeats_the_knee():
    probes = play(saturating(4), lambda level: float(level < 16))
    found = levels(probes)
    assert found[:4] == [1, 2, 4, 8]
    # the knee, the level above it and the one below
    assert found[4:7] == [4, 8, 2]


def test_then_it_looks_for_the_first_level_that_is_served_badly():
    probes = play(saturating(4), lambda level: float(level < 16))
    found = levels(probes)
    assert found[7] == 16 and max(found) == 16
    # and what is left goes to where the answer is now
    assert set(found[8:]) <= {4, 8, 16} and found.count(1) == 1


def test_it_stops_climbing_where_the_objectives_fail():
    probes = play(
        lambda level: 50.0 * level, lambda level: float(level < 8)
    )
    found = levels(probes)
    assert max(found) == 8 and found[:4] == [1, 2, 4, 8]
    assert set(found[4:]) <= {2, 4, 8} and found.count(4) > 1


def test_a_machine_that_serves_nobody_well_still_shows_two_levels():
    probes = play(lambda level: 2.0 * level, lambda level: 0.0, tokens=16)
    assert levels(probes)[:2] == [1, 2] and set(levels(probes)) == {1, 2}


@pytest.mark.parametrize("budget_s", [10.0, 60.0])
@pytest.mark.parametrize("slots", [1, 4, 64])
def test_the_budget_holds(slots, budget_s):
    probes = play(saturating(slots), budget_s=budget_s)
    assert seconds(probes) <= budget_s * (1 + quick.SLACK)
    assert len(probes) > 2


def test_a_slow_machine_measures_a_second_level_if_it_may_fit():
    probes = play(lambda level: 2.5 * level, budget_s=60.0, tokens=64)
    assert levels(probes) == [1, 2]


def test_no_level_is_measured_more_often_than_makes_it_surer():
    probes = play(saturating(4, each=5000.0), lambda level: level < 16)
    found = levels(probes)
    assert seconds(probes) < 10
    assert max(found.count(one) for one in found) == quick.MOST_REPEATS


def test_it_ends_where_nothing_is_answered():
    dead = Probe(1, 0.01, None, 0.0)
    assert quick.choose_next([dead], 60.0, 256) is None
    before = [Probe(1, 2.0, 50.0, 1.0), Probe(2, 2.0, 90.0, 1.0)]
    assert (
        quick.choose_next([*before, Probe(4, 0, None, 0)], 60, 256) is None
    )


def test_a_repeat_that_shows_a_rise_goes_on_climbing():
    probes = [
        Probe(1, 2.0, 50.0, 1.0),
        Probe(2, 4.0, 50.0, 1.0),  # disturbed
    ]
    assert quick.choose_next(probes, 60.0, 256) == 1
    probes += [Probe(1, 2.0, 50.0, 1.0), Probe(2, 2.0, 100.0, 1.0)]
    assert quick.choose_next(probes, 60.0, 256) == 4


def test_a_repeat_begins_only_where_it_may_take_twice_as_long():
    """A hiccup of the machine would have it cut, and fail its level."""
    probes = [Probe(1, 1.0, 50.0, 1.0), Probe(2, 2.0, 50.0, 1.0)]
    assert quick.choose_next(probes, 5.1, 256) == 1
    assert quick.choose_next(probes, 4.9, 256) is None


def test_it_never_goes_above_the_highest():
    probes = [Probe(1, 1.0, 50.0, 1.0), Probe(2, 1.0, 100.0, 1.0)]
    assert quick.choose_next(probes, 60.0, highest=3) in (1, 2)
    many = [Probe(level, 1.0, 50.0, 1.0) for level in (1, 1, 2, 2)]
    assert quick.choose_next(many, 60.0, highest=3) in (1, 2)
    assert quick.choose_next(many, 60.0, highest=4) == 4


@pytest.mark.parametrize(
    ("tokens_per_s", "budget_s", "ceiling"),
    [
        (500.0, 60.0, 256),
        (53.0, 60.0, 128),
        (20.0, 60.0, 32),
        (10.0, 60.0, 16),
        (0.5, 60.0, 16),
        (53.0, 15.0, 32),
        (None, 60.0, 64),
    ],
)
def test_the_ceiling_leaves_room_for_many_levels(
    tokens_per_s, budget_s, ceiling
):
    assert quick.choose_ceiling(tokens_per_s, budget_s) == ceiling


def made(*figures):
    return [Probe(level, 1.0, rate, good) for level, rate, good in figures]


@pytest.mark.parametrize(
    ("probes", "suggested"),
    [
        # all served: go on
        (made((1, 50, 1.0), (2, 90, 1.0), (4, 91, 1.0)), "x2:8"),
        # between the last that was served and the first that was not
        (made((1, 50, 1.0), (2, 90, 0.0)), "1,2"),
        (made((1, 50, 1.0), (2, 90, 1.0), (4, 91, 0.5)), "1,2,3,4"),
        (
            made(
                (1, 9, 1.0),
                (2, 18, 1),
                (4, 36, 1),
                (8, 72, 1),
                (16, 80, 0),
            ),
            "1,8,10,12,14,16",
        ),
        # not even one
        (made((1, 5, 0.0), (2, 6, 0.0)), "1,2"),
        (made((1, 5, 0.0)), "1,2"),
        (made((256, 5, 1.0)), "x2:256"),
        # nothing can be said of what was cut
        (made((1, 5, 1.0), (2, 6, None)), "x2:4"),
    ],
)
def test_the_next_levels_are_where_the_answer_is_open(probes, suggested):
    assert quick.suggest_levels(probes, 256) == suggested
