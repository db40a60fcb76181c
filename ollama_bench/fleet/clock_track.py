"""The clock of a worker while a level runs: what is stored meanwhile cannot wait for its end.

    track = ClockTrack()
    track.add(trip)  # each round trip, as it comes
    track.read_line()  # for the rows that have just come
    track.settle(start_ns, end_ns)  # what is known of all of them in the end

Rows are put onto the coordinator's clock as they come, by the round trips until then: by the
fastest, and once they span long enough by the line through the fastest at both ends. In the end
fit_clock() has them all. How far the lines that were used are from its line is added to its
uncertainty, so that this holds for what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_bench.fleet.clock import (
    TRIPS_ASIDE,
    ClockError,
    ClockLine,
    RoundTrip,
    fit_clock,
)

NS_PER_S = 1e9
# shorter, the noise of two round trips would be taken for a drift
LEAST_SPAN_NS = 20 * 10**9
# the fastest of so many stands for the present, and for the beginning
LATE_TRIPS, EARLY_TRIPS = 20, TRIPS_ASIDE
MOST_TRIPS = 600  # that a line is fitted through


@dataclass(frozen=True)
class ClockReport:
    """What is known of a worker's clock in a level; None: not measured well enough to tell."""

    offset_s: float | None  # worker less coordinator, at the level's start
    drift: float | None  # seconds that the offset grows by in one
    # the stored instants are this near to the true ones
    uncertainty_s: float | None
    trip_s: float | None  # the fastest round trip


class ClockTrack:
    """The round trips to one worker, before, in and after a level."""

    def __init__(self) -> None:
        self._trips: list[RoundTrip] = []
        # what rows were put onto the coordinator's clock by: an instant of
        # the worker, and the offset that was taken for it
        self._used: list[tuple[int, float]] = []

    def add(self, trip: RoundTrip) -> None:
        """Add a round trip, but for one in which a clock was set."""
        if trip.duration_ns >= 0:
            self._trips.append(trip)

    def read_line(self) -> ClockLine:
        """Return the line to use now. Raises ClockError before the first round trip."""
        if not self._trips:
            raise ClockError("no round trip has come back")
        late = find_fastest(self._trips[-LATE_TRIPS:])
        early = find_fastest(self._trips[:EARLY_TRIPS])
        span_ns = late.received_ns - early.received_ns
        drift = 0.0
        if span_ns >= LEAST_SPAN_NS:
            drift = (find_middle(late) - find_middle(early)) / span_ns
        return ClockLine(
            late.received_ns,
            find_middle(late),
            drift,
            late.duration_ns / 2,
            bent_ns=0.0,
        )

    def forget_between(self) -> None:
        """Drop the round trips that read_line() does not look at; settle() would miss them."""
        del self._trips[EARLY_TRIPS:-LATE_TRIPS]

    def note_use(self, line: ClockLine, instant_ns: int) -> None:
        """Note that an instant of the worker was put onto the coordinator's clock by a line."""
        self._used.append((instant_ns, line.offset_at(instant_ns)))

    def settle(self, start_ns: int, end_ns: int) -> ClockReport:
        """Return what is known of the clock in a level, by the worker's clock from start to end."""
        fastest_s = min(
            (trip.duration_ns / NS_PER_S for trip in self._trips),
            default=None,
        )
        try:
            line = fit_clock(thin_trips(self._trips), start_ns, end_ns)
        except ClockError:
            return ClockReport(None, None, None, fastest_s)
        missed_ns = max(
            (
                abs(offset_ns - line.offset_at(instant_ns))
                for instant_ns, offset_ns in self._used
            ),
            default=0.0,
        )
        return ClockReport(
            line.offset_at(start_ns) / NS_PER_S,
            line.drift,
            (line.uncertainty_ns + missed_ns) / NS_PER_S,
            fastest_s,
        )


def find_fastest(trips: Sequence[RoundTrip]) -> RoundTrip:
    """Return the trip that was the shortest time under way."""
    return min(trips, key=lambda trip: trip.duration_ns)


def thin_trips(trips: Sequence[RoundTrip]) -> list[RoundTrip]:
    """Return the trips aside a level, and of those in it the fastest of each stretch."""
    first, last = trips[:TRIPS_ASIDE], trips[TRIPS_ASIDE:][-TRIPS_ASIDE:]
    inner = trips[TRIPS_ASIDE:-TRIPS_ASIDE]
    stretch = 1 + len(inner) // (MOST_TRIPS - 2 * TRIPS_ASIDE)
    fastest = [
        find_fastest(inner[place : place + stretch])
        for place in range(0, len(inner), stretch)
    ]
    return [*first, *fastest, *last]


def find_middle(trip: RoundTrip) -> float:
    """Return the offset halfway between what a round trip allows at most and at least."""
    most = trip.received_ns - trip.sent_ns
    least = trip.answered_ns - trip.returned_ns
    return (most + least) / 2
