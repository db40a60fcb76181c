"""A load is ended as soon as it is decided, and not before."""

from __future__ import annotations

import random

from ollama_bench.statistics.capacity_search import SearchStep
from ollama_bench.statistics.probe import ProbePlan, ShareProbe

LONG = ProbePlan(left_s=4000.0)


def feed(probe: ShareProbe, share: float, per_s: float, seed: int = 1):
    """Add random requests until there is a verdict; return it and when it came."""
    draw, now_s = random.Random(seed), 0.0
    while True:
        now_s += 1 / per_s
        good = draw.random() < share
        probe.add(now_s, [good], [draw.random() + (not good)])
        if verdict := probe.look(now_s):
            return verdict, now_s


def test_good_requests_are_enough_and_fewer_for_a_quick_look():
    sure = feed(ShareProbe([0.95], SearchStep(10.0, False), LONG), 1.0, 10)
    quick = feed(ShareProbe([0.95], SearchStep(10.0, True), LONG), 1.0, 10)
    assert sure[0] == quick[0] == "above"
    assert quick[1] < sure[1] < 15


def test_nothing_is_shown_while_slots_fill():
    """Of a server with many of them: until all are taken nobody waits."""
    probe = ShareProbe([0.95], SearchStep(10.0, True), LONG)
    for _ in range(4):
        probe.note_reply(6.0)
    verdict, now_s = feed(probe, 1.0, 10)
    assert verdict == "above" and now_s >= probe.fill_s == 18.0
    people = ShareProbe(
        [0.95], SearchStep(10.0, True), ProbePlan(60.0, cycle_s=9.0)
    )
    people.note_reply(6.0)
    assert people.fill_s == 0


def test_missed_requests_end_it_at_once():
    verdict, now_s = feed(
        ShareProbe([0.95], SearchStep(10.0, True), LONG), 0.0, 10
    )
    assert verdict == "below" and now_s < 3


def test_what_is_shown_by_the_last_moment_is_not_given_up():
    # nothing is said before 121 s, and then the time is over
    near = SearchStep(5.4, True, margin=1.09)
    probe = ShareProbe([0.95], near, ProbePlan(left_s=320.0))
    end_s = ProbePlan(left_s=320.0).find_most_s(near)
    for number in range(600):
        asked_s = number * end_s / 600
        probe.add(asked_s, [number % 7 == 0], [2.0])
        if number % 8 == 0:
            assert probe.look(asked_s) is None
    assert probe.look(end_s) == "below"


def test_a_rate_little_below_a_missed_one_is_looked_at_longer():
    far = SearchStep(10.0, False, margin=2.0)
    near = SearchStep(10.0, False, margin=1.05)
    assert LONG.find_least_s(near) > 20 * LONG.find_least_s(far)
    waiting = ProbePlan(left_s=4000.0, wait_s=10.0)
    # a rate that is 5 % too high makes who comes after 200 s wait for 10 s
    assert waiting.find_least_s(near) >= 200
    verdict, now_s = feed(ShareProbe([0.95], near, LONG), 1.0, 10)
    assert verdict == "above" and now_s >= LONG.find_least_s(near)


def test_a_load_at_the_bound_is_given_up_in_time():
    plan = ProbePlan(left_s=400.0)
    verdict, now_s = feed(
        ShareProbe([0.95], SearchStep(5.0, False), plan), 0.95, 5
    )
    assert verdict == "unresolved" and now_s <= 101


def test_nothing_takes_longer_than_what_is_left():
    step = SearchStep(1.0, False, margin=1.05)
    plan = ProbePlan(left_s=30.0, wait_s=10.0)
    assert plan.find_most_s(step) == 30.0
    assert feed(ShareProbe([0.95], step, plan), 1.0, 1)[1] <= 31


def test_neighbours_that_resemble_each_other_are_fewer():
    alike = ShareProbe([0.95], SearchStep(10.0, False), LONG)
    for number in range(400):
        # a slow wave that comes near the bound
        strain = 0.5 + 0.4 * ((number // 50) % 2)
        alike.add(number / 10, [True], [strain + number % 7 / 100])
        assert number > 150 or alike.look(number / 10) is None


def test_what_comes_in_bursts_needs_two_that_are_missed():
    probe = ShareProbe(
        [0.95], SearchStep(20.0, True), ProbePlan(99.0, is_grouped=True)
    )
    for burst in (1, 2):
        for number in range(20):
            probe.add(burst, [number < 10])
        probe.end_group()
        assert probe.look(burst) == (None if burst == 1 else "below")


def test_every_demand_must_be_met_and_the_missed_one_is_named():
    probe = ShareProbe([0.95, 0.99], SearchStep(9.0, True), LONG)
    for number in range(300):
        probe.add(number / 10, [True, number % 5 > 0])
    assert probe.look(30.0) == "below"
    assert probe.missed == [1]
    assert probe.reach < 0.85


def test_a_saturated_server_is_missed():
    probe = ShareProbe([0.95], SearchStep(9.0, True), LONG)
    probe.saturate()
    assert probe.look(0.1) == "saturated"
    assert probe.weigh().below > 2.9


def test_all_of_the_requests_can_be_asked_for():
    probe = ShareProbe([1.0], SearchStep(9.0, True), LONG)
    for number in range(50):
        probe.add(number / 10, [True])
    assert probe.look(5.0) is None
    probe.add(5.0, [False])
    assert probe.weigh().below > 0
