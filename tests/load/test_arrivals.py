"""When requests are due, and what becomes of those that were admitted."""

import itertools
import statistics
from types import SimpleNamespace

import pytest

from ollama_bench.load.arrivals import (
    ArrivalQueue,
    at_once,
    gamma,
    poisson,
)
from ollama_bench.load.events import Ready
from ollama_bench.load.flight import NOT_NEEDED


class FakeFlight:
    def __init__(self, host=0):
        self.task = SimpleNamespace(host=host)
        self.cancelled = None
        self.is_told = False

    def cancel(self, reason):
        self.cancelled = reason


def admit_ready(queue):
    """Admit an arrival and make it ready."""
    arrival = queue.admit()
    arrival.flight = FakeFlight()
    queue.put_ready(Ready(arrival, arrival.flight))
    return arrival


def test_a_burst_is_due_at_once_and_a_ramp_is_spread():
    assert list(at_once(3)) == [0.0, 0.0, 0.0]
    assert list(at_once(4, ramp_s=2.0)) == [0.0, 0.5, 1.0, 1.5]


def test_poisson_arrivals_repeat_with_their_seed_and_have_their_rate():
    first = list(itertools.islice(poisson(10.0, seed=1), 1000))
    assert first == list(itertools.islice(poisson(10.0, seed=1), 1000))
    assert first != list(itertools.islice(poisson(10.0, seed=2), 1000))
    assert first == sorted(first)
    assert first[-1] == pytest.approx(100.0, rel=0.1)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_gamma_arrivals_have_their_rate_and_their_variation(cv):
    due_s = [*itertools.islice(gamma(10.0, cv, seed=1), 20_000)]
    gaps = [later - due for due, later in itertools.pairwise(due_s)]
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(0.1, rel=0.05)
    assert statistics.stdev(gaps) / mean == pytest.approx(cv, rel=0.05)
    again = [*itertools.islice(gamma(10.0, cv, seed=1), 20_000)]
    assert due_s == again


def test_arrivals_without_variation_come_at_even_gaps_and_of_one_are_poisson():
    assert [*itertools.islice(gamma(4.0, 0.0, seed=1), 3)] == [
        0.25,
        0.5,
        0.75,
    ]
    found = itertools.islice(gamma(4.0, 1.0, seed=7), 100)
    assert [*found] == [*itertools.islice(poisson(4.0, seed=7), 100)]


def test_arrivals_leave_in_their_order_however_they_became_ready():
    queue = ArrivalQueue(at_once(3))
    first, second, third = (queue.admit() for _ in range(3))
    for arrival in (third, first, second):
        queue.put_ready(Ready(arrival, FakeFlight()))
    assert [queue.pop_ready().arrival for _ in range(3)] == [
        first,
        second,
        third,
    ]
    assert queue.is_exhausted
    with pytest.raises(LookupError):
        queue.admit()


def test_what_is_dropped_is_cancelled_and_does_not_leave():
    queue = ArrivalQueue(at_once(3))
    first, last = admit_ready(queue), admit_ready(queue)
    assert queue.find_last_untold() is last
    assert queue.drop(last)
    assert not queue.drop(last)  # it was dropped before
    assert last.flight.cancelled == NOT_NEEDED
    assert queue.pop_ready().arrival is first
    assert not queue.is_exhausted  # the third is still to be admitted


def test_clearing_cancels_all_and_ends_the_admissions():
    queue = ArrivalQueue(at_once(3))
    arrivals = [admit_ready(queue), queue.admit()]
    assert queue.clear() == 2
    assert queue.is_exhausted
    assert queue.next_ready is None
    assert arrivals[0].flight.cancelled == NOT_NEEDED


def test_only_who_is_due_while_the_pool_is_full_has_waited():
    queue = ArrivalQueue(iter([0.1, 0.2, 0.3]))
    arrivals = [queue.admit() for _ in range(3)]
    for arrival in arrivals:
        queue.put_undecided(arrival)
    queue.decide(0.1, is_full=False)
    queue.decide(0.2, is_full=True)
    assert [arrival.has_waited for arrival in arrivals] == [
        False,
        True,
        False,
    ]
    assert queue.next_undecided is arrivals[2]


def test_the_unsent_are_those_due_by_now_admitted_or_not():
    queue = ArrivalQueue(iter([0.1, 0.2, 0.3, 0.4, 9.0]))
    queue.admit()
    queue.admit().has_waited = True
    assert list(queue.take_unsent(0.5, None, is_full=False)) == [
        (0.1, False),
        (0.2, True),
        (0.3, False),
        (0.4, False),
    ]
    assert queue.next_due_s == 9.0
