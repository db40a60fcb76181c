"""Which load a search tries next, and what it has found."""

from __future__ import annotations

import pytest

from ollama_bench.statistics.capacity_search import (
    MOST_TRIES,
    CapacitySearch,
    SearchStep,
    Trial,
    Weighted,
    make_falling,
    restore_trial,
)
from ollama_bench.statistics.load_scales import STEP, CountScale, RateScale
from ollama_bench.statistics.sequential import NO_EVIDENCE, Evidence

ABOVE, BELOW, OPEN = (
    Evidence(1.5, -3.0),
    Evidence(-3.0, 4.0),
    Evidence(0.2, -0.2),
)
SURE = Evidence(4.0, -3.0)


def answer(
    step: SearchStep, capacity: float, unresolved: float = 0.0
) -> Trial:
    """Return what a server of a known capacity gives; nothing certain close to it."""
    size = step.size
    if abs(size - capacity) < unresolved:
        return Trial(size, "unresolved", OPEN, 1.0, 50, 10.0, more_s=99.0)
    if size <= capacity:
        found = ABOVE if step.is_quick else SURE
        return Trial(size, "above", found, 1.05, 50, 5.0)
    return Trial(size, "below", BELOW, 0.8, 20, 5.0, ("ttft",))


def search(
    scale: CountScale | RateScale, capacity: float, unresolved: float = 0.0
):
    found = CapacitySearch(scale)
    while step := found.choose_next():
        found.add(answer(step, capacity, unresolved))
        assert len(found.trials) < 60
    return found


@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 5, 19, 31, 64])
def test_counts_are_found_exactly(capacity):
    found = search(CountScale(256), capacity).find_capacity()
    assert (found.low, found.missed) == (capacity, capacity + 1)
    assert found.binding == ("ttft",) and not found.unresolved
    assert found.value == capacity


def test_it_doubles_then_bisects_and_tries_both_ends_again():
    sizes = [one.size for one in search(CountScale(256), 11).trials]
    assert sizes == [4, 8, 16, 12, 10, 11, 11, 12]
    quick = search(CountScale(256), 11).trials[3]
    assert quick.evidence == BELOW


@pytest.mark.parametrize("capacity", [0.3, 0.9, 7.7, 120.0])
def test_rates_are_found_within_their_step(capacity):
    found = search(RateScale(1.0), capacity).find_capacity()
    assert found.low is not None and found.missed is not None
    assert found.low <= capacity < found.missed
    assert found.missed / found.low <= 1.06


def test_people_in_steps_of_a_twentieth():
    found = search(CountScale(256, STEP), 100).find_capacity()
    assert found.low is not None and found.missed is not None
    assert found.low <= 100 < found.missed <= found.low * 1.06


def test_a_hiccup_is_not_the_capacity():
    found = CapacitySearch(CountScale(32))
    hiccups = 0
    while step := found.choose_next():
        trial = answer(step, 32)
        if step.size == 4 and not hiccups:
            hiccups += 1
            trial = Trial(4, "below", BELOW, 0.5, 10, 1.0, ("ttft",))
        elif step.size == 4:  # it saw how good the load is, for longer
            trial = Trial(4, "above", Evidence(5.0, -6.0), 1.05, 90, 9.0)
        found.add(trial)
    capacity = found.find_capacity()
    assert (capacity.low, capacity.missed) == (32, None)


def test_what_is_not_resolved_is_neither_and_is_in_the_interval():
    found = search(CountScale(256), 20, unresolved=1.5)
    capacity = found.find_capacity()
    assert capacity.low == 18 and capacity.missed == 22
    assert capacity.unresolved and {*capacity.unresolved} <= {19, 20, 21}
    assert capacity.low <= (capacity.value or 0) < capacity.missed
    assert capacity.more_s == 99.0 * len(capacity.unresolved)
    assert max(map(found._count, found._sizes)) <= MOST_TRIES


def look(size: float, reach: float, more_s: float = 30.0) -> Trial:
    """Return a trial that looks like this, and shows nothing."""
    return Trial(size, "unresolved", OPEN, reach, 65, 20.0, more_s=more_s)


SATURATED = Trial(
    5.92, "saturated", BELOW, 0.4, 60, 20.0, ("ttft",), more_s=0.0
)


def test_it_goes_on_from_what_looks_good_up_not_down():
    found = CapacitySearch(RateScale(5.92))
    found.add(SATURATED)
    found.add(look(2.96, 1.05))
    for reach, nearer in ((1.05, 4.19), (0.9, 4.98), (1.02, 4.57)):
        step = found.choose_next()
        assert step is not None and step.size == nearer
        found.add(look(nearer, reach))
    capacity = found.find_capacity()
    assert (capacity.likely, capacity.low) == (4.57, None)
    assert capacity.missed == 5.92
    assert capacity.unresolved == (2.96, 4.19, 4.57, 4.98)
    # of what looks good, where nothing is shown
    assert capacity.more_s == 30.0


def test_what_a_budget_cannot_tell_apart_is_not_tried():
    found = CapacitySearch(RateScale(5.92))
    found.add(SATURATED)
    found.add(look(2.96, 1.05))

    def find_least_s(step: SearchStep) -> float:
        return 1.0 / (step.margin - 1) ** 2

    # a third of what is left
    between = found.choose_next(18.0, find_least_s=find_least_s)
    assert between is not None and between.size == 4.19
    again = found.choose_next(17.0, find_least_s=find_least_s)
    assert again is not None
    assert (again.size, again.is_quick) == (2.96, False)


def test_late_it_shows_the_highest_that_can_still_be_shown():
    found = CapacitySearch(RateScale(5.92))
    found.add(SATURATED)
    found.add(look(2.96, 1.05, more_s=25.0))
    found.add(look(4.19, 1.02, more_s=300.0))
    for left_s, size in ((60.0, 2.96), (400.0, 4.19), (10.0, 2.96)):
        step = found.choose_next(left_s, is_late=True)
        assert step is not None and step.size == size


def test_what_looks_bad_by_chance_is_tried_again():
    found = CapacitySearch(CountScale(8))
    found.add(look(4, 0.9))
    sizes = []
    while step := found.choose_next():
        sizes.append(step.size)
        found.add(answer(step, 8))
    assert sizes == [2, 3, 3, 4, 8, 8]
    assert found.find_capacity().low == 8


def test_what_was_served_is_made_sure_before_the_time_is_over():
    found = CapacitySearch(CountScale(64))
    for _ in range(2):
        step = found.choose_next()
        assert step is not None
        found.add(answer(step, 64))
    late = found.choose_next(is_late=True)
    assert late is not None
    assert (late.size, late.is_quick) == (8, False)
    assert late.evidence == ABOVE


def test_nobody_is_served():
    capacity = search(CountScale(256), 0).find_capacity()
    assert (capacity.low, capacity.missed, capacity.likely) == (0, 1, 0)


def test_the_highest_is_served():
    capacity = search(CountScale(50), 99).find_capacity()
    assert (capacity.low, capacity.missed, capacity.value) == (
        50,
        None,
        50,
    )


def test_a_saturated_server_tells_what_it_sustains():
    found = CapacitySearch(RateScale(1.0))
    found.add(Trial(1.0, "above", ABOVE, 1.05, 50, 5.0))
    found.add(
        Trial(8.0, "saturated", BELOW, 0.2, 50, 5.0, answered_per_s=4.0)
    )
    step = found.choose_next()
    assert step is not None and step.size == 3.8


def test_a_search_goes_on_from_what_was_stored():
    first = search(CountScale(256), 11)
    again = CapacitySearch(CountScale(256))
    for trial in first.trials:
        stored = {
            **trial.__dict__,
            "evidence": list(trial.evidence),
            "binding": list(trial.binding),
        }
        again.add(restore_trial(stored))
    assert again.trials == first.trials
    assert again.find_capacity() == first.find_capacity()


def test_means_that_rise_are_averaged():
    means = [Weighted(1.0, 10), Weighted(0.9, 10), Weighted(1.0, 30)]
    assert make_falling(means) == [1.0, 0.975, 0.975]
    assert make_falling([Weighted(0.5, 0)]) == [0.5]


def test_the_guess_is_made_of_all_loads():
    found = CapacitySearch(RateScale(1.0))
    found.add(Trial(4.0, "above", SURE, 1.05, 90, 9.0))
    # that looked bad for a moment
    found.add(Trial(5.0, "unresolved", NO_EVIDENCE, 0.95, 30, 9.0))
    found.add(Trial(6.0, "unresolved", NO_EVIDENCE, 1.05, 300, 9.0))
    found.add(Trial(8.0, "below", BELOW, 0.84, 90, 9.0))
    capacity = found.find_capacity()
    assert (capacity.low, capacity.missed) == (4.0, 8.0)
    assert capacity.value == 4.0 and capacity.likely == 4.0
    assert capacity.guess is not None and 6.0 < capacity.guess < 7.0


def test_who_came_first_to_a_saturated_server_says_nothing_of_later_ones():
    found = CapacitySearch(RateScale(1.0))
    found.add(Trial(4.0, "above", SURE, 1.05, 90, 9.0))
    found.add(Trial(8.0, "saturated", BELOW, 1.05, 90, 9.0))
    found.add(Trial(16.0, "below", BELOW, 0.4, 90, 9.0))
    guess = found.find_capacity().guess
    assert guess is not None and 4.0 < guess < 5.0


def test_the_value_is_no_guess_where_the_interval_is_wide():
    def find_value(high: float) -> float | None:
        found = CapacitySearch(RateScale(1.0))
        found.add(Trial(4.0, "above", SURE, 1.05, 90, 9.0))
        found.add(Trial(high, "below", BELOW, 0.95, 90, 9.0))
        return found.find_capacity().value

    assert find_value(8.0) == 4.0
    near = find_value(4.4)
    assert near is not None and 4.1 < near < 4.3


def test_what_needs_most_of_the_time_left_is_tried_last():
    found = CapacitySearch(RateScale(1.0))
    for size, reach in ((4.0, 1.05), (7.34, 1.05), (8.0, 0.8)):
        found.add(look(size, reach))

    def find_least_s(step: SearchStep) -> float:
        return 3.0 / (step.margin - 1) ** 2

    # 7.34 is so near to 8 that it needs 371 s
    for left_s, size in ((800.0, 7.34), (400.0, 4.0)):
        step = found.choose_next(left_s, True, find_least_s)
        assert step is not None and step.size == size


def test_what_cannot_be_shown_in_time_sends_nobody_far_down():
    found = CapacitySearch(RateScale(0.912))
    found.add(look(0.912, 1.05, more_s=85.0))
    found.add(look(1.29, 0.9))

    def find_least_s(step: SearchStep) -> float:
        return 20.0 / (step.margin - 1) ** 2

    # rather is a load looked for that is surely missed
    higher = found.choose_next(62.0, True, find_least_s)
    assert higher is not None and higher.size == 2.58
    again = found.choose_next(400.0, True, find_least_s)
    assert again is not None and again.size == 0.912
