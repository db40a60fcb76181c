"""The clock of another process or machine, by round trips before, during and after a level.

    line = fit_clock(round_trips, start_ns, end_ns)    # of the level, by the worker's clock
    line.to_coordinator(instant_ns), line.uncertainty_ns

A round trip bounds the offset, worker less coordinator, from both sides, since nothing arrives
before it was sent (Cristian 1989, Probabilistic clock synchronization; RFC 5905, section 8): it is
at most received - sent, at least answered - returned. Both clocks run evenly but not equally fast,
so the offset is a line, and every bound must hold for it (Duda et al. 1987, Estimating global time
in distributed systems; Moon, Skelly and Towsley 1999 for the fit by linear programming). In this
the fastest trip of each direction decides, which is the minimum filter (Paxson 1998, On
calibrating measurements of packet transit times), and slow ones do no harm.

The lines that keep all bounds span a width at each instant. The middle is taken, and half the
width is the uncertainty: half the fastest round trip, where both directions could be as unequal as
that. It is a bound, not a deviation. Where no line keeps all bounds a clock was slewed, and by how
much they must be widened is told as `bent_ns`: then the uncertainty is how far the offset may be
from the line, if its rate is at most MOST_SLEW from the line's between two round trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

NS_PER_US = 1e3
TOLERANCE_US = 1e-3  # of the solver
# how much the rates of two clocks may wander in a level, unseen between
# round trips: temperature, and what NTP trims
RATE_WANDER = 1e-6
# of a clock that is set right while it runs: RFC 5905 allows half of it
MOST_SLEW = 1e-3
LEAST_TRIPS = 2
LOOKS = 1000  # instants of a level at which a slewed clock is bounded
# how many to make before a level and after it: the fastest of so many is near
# the fastest that there is
TRIPS_ASIDE = 80
EVERY_S = 0.25  # how often during a level


class RoundTrip(NamedTuple):
    """A question to a worker and its answer, each instant by the clock of who read it."""

    sent_ns: int  # coordinator
    received_ns: int  # worker
    answered_ns: int  # worker
    returned_ns: int  # coordinator

    @property
    def duration_ns(self) -> int:
        """Return how long it was under way."""
        return (self.returned_ns - self.sent_ns) - (
            self.answered_ns - self.received_ns
        )


class ClockError(ValueError):
    """The round trips do not tell an offset; str() is one line for the user."""


@dataclass(frozen=True)
class ClockLine:
    """A worker's clock less the coordinator's, as a line over the worker's clock."""

    zero_ns: int  # of the worker's clock
    offset_ns: float  # then
    drift: float  # nanoseconds that the offset grows by in one
    # the offset is this near to the true one all through the level
    uncertainty_ns: float
    bent_ns: float  # by how much the bounds had to be widened

    def offset_at(self, worker_ns: int) -> float:
        """Return the offset when the worker's clock shows this instant, in nanoseconds."""
        return self.offset_ns + self.drift * (worker_ns - self.zero_ns)

    def to_coordinator(self, worker_ns: int) -> int:
        """Return an instant of the worker by the coordinator's clock."""
        return worker_ns - round(self.offset_at(worker_ns))


def fit_clock(
    trips: Sequence[RoundTrip], start_ns: int, end_ns: int
) -> ClockLine:
    """Return the line of a worker's clock for a level; start and end are by that clock.

    Raises ClockError where the trips are too few, run backwards or do not enclose the level.
    """
    refuse_unusable(trips, start_ns, end_ns)
    reference = trips[0].received_ns - trips[0].sent_ns
    bounds = Bounds(trips, start_ns, max(end_ns - start_ns, 1), reference)
    bent_us = bounds.find_bend()
    slack_us = bent_us * (1 + 1e-6) + TOLERANCE_US
    (low, high), (low_end, high_end) = (
        bounds.find_range(place, slack_us) for place in (0.0, 1.0)
    )
    middle, middle_end = (low + high) / 2, (low_end + high_end) / 2
    # between both ends a width is no larger than the larger of both
    width_us = max(high - low, high_end - low_end)
    span_us = (
        max(trip.answered_ns for trip in trips)
        - min(trip.received_ns for trip in trips)
    ) / NS_PER_US
    # rates that differ by that much bend a line by an eighth of it
    uncertainty_us = width_us / 2 + RATE_WANDER * span_us / 8
    if bent_us:
        uncertainty_us = max(
            uncertainty_us, bounds.find_farthest(middle, middle_end)
        )
    return ClockLine(
        zero_ns=start_ns,
        offset_ns=reference + middle * NS_PER_US,
        drift=(middle_end - middle)
        * NS_PER_US
        / max(end_ns - start_ns, 1),
        uncertainty_ns=uncertainty_us * NS_PER_US,
        bent_ns=bent_us * NS_PER_US,
    )


def refuse_unusable(
    trips: Sequence[RoundTrip], start_ns: int, end_ns: int
) -> None:
    """Raise ClockError where no line can be fitted."""
    if len(trips) < LEAST_TRIPS:
        raise ClockError(
            f"a clock needs {LEAST_TRIPS} round trips, not {len(trips)}"
        )
    if any(trip.duration_ns < 0 for trip in trips):
        raise ClockError("a round trip ended before it began")
    first = min(trip.received_ns for trip in trips)
    last = max(trip.answered_ns for trip in trips)
    if not first <= start_ns <= end_ns <= last:
        raise ClockError("the round trips do not enclose the level")


class Bounds:
    """What round trips allow for the offset, microseconds above a reference.

    A place is 0 at the level's start and 1 at its end. A line is its values at both, which keeps
    the solver's numbers near each other.
    """

    def __init__(
        self,
        trips: Sequence[RoundTrip],
        start_ns: int,
        span_ns: int,
        reference: int,
    ) -> None:
        def at(instant_ns: int) -> float:
            return (instant_ns - start_ns) / span_ns

        self._slew_us = MOST_SLEW * span_ns / NS_PER_US  # in a level
        # each row: value at the start, value at the end <= limit
        self._rows: list[list[float]] = []
        self._limits: list[float] = []
        for trip in trips:
            most = trip.received_ns - trip.sent_ns - reference
            least = trip.answered_ns - trip.returned_ns - reference
            place = at(trip.received_ns)
            self._rows.append([1 - place, place])
            self._limits.append(most / NS_PER_US)
            place = at(trip.answered_ns)
            self._rows.append([place - 1, -place])
            self._limits.append(-least / NS_PER_US)

    def find_bend(self) -> float:
        """Return by how many microseconds bounds must be widened until a line keeps them all."""
        rows = [[*row, -1.0] for row in self._rows]
        found = find_least([0.0, 0.0, 1.0], rows, self._limits)
        return found if found > TOLERANCE_US else 0.0

    def find_range(
        self, place: float, slack_us: float
    ) -> tuple[float, float]:
        """Return the least and the most that a line within the bounds has at a place."""
        limits = [limit + slack_us for limit in self._limits]
        value = [1 - place, place]
        least = find_least(value, self._rows, limits)
        most = -find_least([-one for one in value], self._rows, limits)
        return least, most

    def find_farthest(self, start_us: float, end_us: float) -> float:
        """Return how far from a line an offset can be that is slewed between the bounds."""
        # SciPy needs it, too
        import numpy

        rows = numpy.array(self._rows)
        # of each bound: how far the line is from it, which way, and where
        room = self._limits - rows @ [start_us, end_us]
        place = rows[:, 1] / rows.sum(axis=1)
        looks = numpy.linspace(0.0, 1.0, LOOKS)
        far = numpy.abs(looks[:, None] - place[None, :]) * self._slew_us
        return float(
            max(
                (room + far)[:, side::2].min(axis=1).max()
                for side in (0, 1)
            )
        )


def find_least(
    cost: Sequence[float],
    rows: Sequence[Sequence[float]],
    limits: Sequence[float],
) -> float:
    """Return the least cost of variables that keep the limits; the third may not be negative."""
    # SciPy takes long to load
    from scipy.optimize import linprog

    free = [(None, None)] * 2 + [(0, None)] * (len(cost) - 2)
    found = linprog(cost, A_ub=rows, b_ub=limits, bounds=free)
    if not found.success:
        raise ClockError(f"no clock fits the round trips: {found.message}")
    return cast(float, found.fun)
