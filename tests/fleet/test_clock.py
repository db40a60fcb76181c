"""A worker's clock by round trips: what is known of it, and how exactly."""

import random

import pytest

from ollama_bench.fleet.clock import ClockError, RoundTrip, fit_clock

MS = 1_000_000
S = 1_000_000_000
AWAY = 1_000 * S


def make_trips(delays, drift=0.0, slewed=0):
    """Round trips of (there, back) milliseconds, one in each second; slewed: from the half on."""
    trips = []
    for second, (there, back) in enumerate(delays):
        received, answered = (
            instant
            + AWAY
            + round(drift * instant)
            + (slewed if second >= len(delays) / 2 else 0)
            for instant in (
                second * S + round(there * MS),
                second * S + round(there * MS) + MS,
            )
        )
        returned = second * S + round((there + back + 1) * MS)
        trips.append(RoundTrip(second * S, received, answered, returned))
    return trips


def fit(trips):
    return fit_clock(trips, trips[0].answered_ns, trips[-1].received_ns)


def test_equal_delays_give_the_offset_itself():
    line = fit(make_trips([(2, 2)] * 5))
    assert line.offset_ns == pytest.approx(AWAY, abs=20)
    assert line.drift == pytest.approx(0, abs=1e-8)
    assert line.uncertainty_ns == pytest.approx(2 * MS, rel=0.001)
    assert line.bent_ns == 0


def test_unequal_delays_are_off_by_half_and_the_uncertainty_says_so():
    line = fit(make_trips([(1, 5)] * 5))
    assert line.offset_ns - AWAY == pytest.approx(-2 * MS, abs=1000)
    assert line.uncertainty_ns == pytest.approx(3 * MS, rel=0.001)


def test_slow_round_trips_do_no_harm():
    delays = [(0.1, 0.1), (9, 30), (0.1, 20), (50, 1), (0.1, 0.1)]
    line = fit(make_trips(delays))
    assert line.offset_ns == pytest.approx(AWAY, abs=200)
    assert line.uncertainty_ns == pytest.approx(0.1 * MS, rel=0.02)


@pytest.mark.parametrize("drift", [-100e-6, 100e-6])
def test_a_clock_that_runs_faster_is_followed(drift):
    trips = make_trips([(0.1, 0.1)] * 20, drift)
    line = fit(trips)
    assert line.drift == pytest.approx(drift / (1 + drift), abs=1e-8)
    for instant in (0, 7 * S, 19 * S):
        shown = instant + AWAY + round(drift * instant)
        assert line.to_coordinator(shown) == pytest.approx(
            instant, abs=500
        )


def test_a_clock_that_is_set_right_is_told_and_less_sure():
    trips = make_trips([(0.1, 0.1)] * 20, slewed=MS)
    line = fit(trips)
    assert line.bent_ns > 0.1 * MS
    for place, trip in enumerate(trips[1:-1], 1):
        truth = AWAY + (MS if place >= 10 else 0)
        assert (
            abs(line.offset_at(trip.received_ns) - truth)
            <= line.uncertainty_ns
        )


def test_the_uncertainty_holds_the_truth():
    chance = random.Random(1)
    for _ in range(40):
        drift = chance.uniform(-100e-6, 100e-6)
        least = chance.uniform(0, 5), chance.uniform(0, 5)
        trips = make_trips(
            [
                [one + chance.expovariate(1) for one in least]
                for _ in range(30)
            ],
            drift,
        )
        line = fit(trips)
        for second in (1, 15, 28):
            shown = second * S + AWAY + round(drift * second * S)
            wrong = abs(line.to_coordinator(shown) - second * S)
            assert wrong <= line.uncertainty_ns


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda trips: trips[:1], "needs 2 round trips, not 1"),
        (
            lambda trips: [*trips, trips[0]._replace(returned_ns=-1)],
            "ended before it began",
        ),
        (lambda trips: trips[2:], "do not enclose the level"),
    ],
)
def test_trips_that_tell_nothing_are_refused(change, said):
    trips = make_trips([(1, 1)] * 6)
    start, end = trips[1].received_ns, trips[4].answered_ns
    with pytest.raises(ClockError, match=said):
        fit_clock(change(trips), start, end)
