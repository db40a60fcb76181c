"""A worker's clock while its rows come in, and what is said of it afterwards."""

import random

import pytest

from ollama_bench.fleet.clock import ClockError, RoundTrip
from ollama_bench.fleet.clock_track import (
    EARLY_TRIPS,
    LATE_TRIPS,
    MOST_TRIPS,
    ClockTrack,
    thin_trips,
)
from ollama_bench.fleet.one_clock import shift_outcome
from ollama_bench.load.request import Outcome, Task
from ollama_bench.protocols.ollama import Ollama

S = 10**9


def make_trip(at_ns, offset_ns, there_ns=100_000, back_ns=100_000):
    """A round trip to a clock that is so far ahead; it takes so long in each direction."""
    received_ns = at_ns + there_ns + offset_ns
    return RoundTrip(
        at_ns, received_ns, received_ns, at_ns + there_ns + back_ns
    )


def fill(track, offset_at, until_s, seed=1):
    """Round trips as of a level: 80, one every quarter of a second, 80."""
    draw = random.Random(seed)
    times = [place * 1e-3 for place in range(80)]
    times += [1 + place / 4 for place in range(int(until_s * 4))]
    times += [until_s + 2 + place * 1e-3 for place in range(80)]
    for time_s in times:
        track.add(
            make_trip(
                int(time_s * S),
                offset_at(time_s),
                int(draw.uniform(1e5, 4e5)),
                int(draw.uniform(1e5, 4e5)),
            )
        )


def test_without_a_round_trip_there_is_no_line():
    with pytest.raises(ClockError):
        ClockTrack().read_line()


def test_the_fastest_trip_tells_the_offset():
    track = ClockTrack()
    track.add(make_trip(0, 5 * S, 3_000_000))
    track.add(make_trip(S, 5 * S))
    line = track.read_line()
    assert line.to_coordinator(7 * S) == 2 * S
    assert line.uncertainty_ns == 100_000


def test_a_trip_in_which_a_clock_was_set_is_left_out():
    track = ClockTrack()
    track.add(make_trip(0, S))
    track.add(RoundTrip(S, 9 * S, 11 * S, 2 * S))
    assert track.read_line().offset_ns == S


def test_a_drift_is_followed_while_rows_come_and_known_at_the_end():
    """50 ppm for two minutes are 6 ms; no row may be off by as much."""

    def offset_at(time_s):
        return 1000 * S + int(time_s * 50e-6 * S)

    track = ClockTrack()
    fill(track, offset_at, 120)
    there_ns = 121 * S + offset_at(121)
    line = track.read_line()
    assert abs(line.to_coordinator(there_ns) - 121 * S) < 300_000
    track.note_use(line, there_ns)
    report = track.settle(2 * S + offset_at(2), there_ns)
    assert report.offset_s == pytest.approx(1000.0001, abs=3e-4)
    assert report.drift == pytest.approx(50e-6, rel=0.1)
    assert report.uncertainty_s < 1e-3


def test_a_row_that_was_put_far_off_is_in_the_uncertainty():
    track = ClockTrack()
    track.add(make_trip(0, 0, 9_000_000, 1_000_000))
    line = track.read_line()  # 4 ms off
    track.note_use(line, 2 * S)
    fill(track, lambda _: 0, 10)
    assert track.settle(2 * S, 3 * S).uncertainty_s > 0.004


def test_what_round_trips_do_not_enclose_is_not_known():
    track = ClockTrack()
    fill(track, lambda _: 0, 4)
    report = track.settle(S, 60 * S)
    assert (report.offset_s, report.uncertainty_s) == (None, None)
    assert report.trip_s == pytest.approx(2e-4, abs=2e-4)


def test_an_hour_is_fitted_by_a_part_of_its_trips_with_both_ends():
    trips = [make_trip(place * S // 4, 0) for place in range(14_400)]
    thinned = thin_trips(trips)
    assert len(thinned) <= MOST_TRIPS
    assert (thinned[0], thinned[-1]) == (trips[0], trips[-1])
    assert thinned == sorted(set(thinned))


def test_every_instant_of_a_request_is_shifted_and_no_distance_changes():
    track = ClockTrack()
    track.add(make_trip(0, 1000 * S))
    outcome = Outcome(Task(1, Ollama(), "", {}), sent_ns=1001 * S)
    outcome.first_byte_ns, outcome.ended_ns = 1002 * S, 1004 * S
    outcome.chunk_ns.extend([1002 * S + 1, 1003 * S + 7])
    shift_outcome(outcome, track.read_line())
    assert (outcome.sent_ns, outcome.ended_ns) == (S, 4 * S)
    assert outcome.first_byte_ns == 2 * S
    assert list(outcome.chunk_ns) == [2 * S + 1, 3 * S + 7]
    assert outcome.due_ns is None


def test_a_watch_of_days_keeps_no_more_than_it_looks_at():
    track, known = ClockTrack(), ClockTrack()
    for second in range(500):
        trip = make_trip(second * S, 7 * S + second * 1000)
        known.add(trip)
        track.add(trip)
        track.forget_between()
        assert track.read_line() == known.read_line()
    assert len(track._trips) == EARLY_TRIPS + LATE_TRIPS
