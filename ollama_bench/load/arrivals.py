"""When requests are due, and those of them that were admitted and have not left.

    at_once(19)  # a burst
    at_once(19, ramp_s=10.0)  # a ramp
    poisson(5.0, seed=1)  # an open loop
    gamma(5.0, cv=2.0, seed=1)  # burstier

An arrival is admitted before it is due, so that a worker can make its request ready: serialize
it and, where no idle connection is at hand, connect.
"""

from __future__ import annotations

import collections
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ollama_bench.load.balancer import Balancer, Rank
from ollama_bench.load.events import Ready
from ollama_bench.load.flight import NOT_NEEDED, Arrival, Flight
from ollama_bench.load.ready_queue import ReadyQueue

POISSON_CV = 1.0  # coefficient of variation of an exponential law


def at_once(count: int, ramp_s: float = 0.0) -> Iterator[float]:
    """Yield the due times of a burst, or of a ramp that spreads them evenly over ``ramp_s``."""
    return (ramp_s * number / count for number in range(count))


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Yield the due times of an open loop: independent arrivals at a mean rate."""
    return gamma(rate_per_s, POISSON_CV, seed)


def gamma(rate_per_s: float, cv: float, seed: int) -> Iterator[float]:
    """Yield due times at a mean rate whose gaps have a gamma law.

    cv: their standard deviation by their mean. 1: Poisson; more: bursts; 0: even gaps.
    """
    draw = random.Random(seed)
    shape = 1 / cv**2 if cv else math.inf

    def draw_gap() -> float:
        if math.isinf(shape):
            return 1 / rate_per_s
        if cv == POISSON_CV:
            return draw.expovariate(rate_per_s)
        return draw.gammavariate(shape, 1 / (shape * rate_per_s))

    return itertools.accumulate(draw_gap() for _ in itertools.count())


class QueueCounts(NamedTuple):
    """Requests that have come so far, and those of them that have ended."""

    arrived: int
    ended: int


class ArrivalQueue:
    """The arrivals of a level that were admitted and have not left.

    It has no lock of its own: the dispatcher's gate guards every call and every field, except
    that the conductor, which alone admits, also reads ``next_due_s`` without the gate.
    Due times are seconds since the level's start.
    """

    def __init__(
        self,
        due_times: Iterator[float],
        rank: Callable[[int], Rank] | None = None,
    ) -> None:
        # None: nothing more is to be admitted
        self.next_due_s = next(due_times, None)
        self._due_times = due_times
        # those after next_due_s that were looked at
        self._ahead: collections.deque[float] = collections.deque()
        self._admissions = 0
        self._admitted: dict[int, Arrival] = {}  # by their order
        self._ready = ReadyQueue(rank or Balancer().rank)
        # Of an open loop: not known yet whether they find every place taken when they are due.
        self._undecided: collections.deque[Arrival] = collections.deque()

    def __len__(self) -> int:
        return len(self._admitted)

    def __contains__(self, arrival: Arrival) -> bool:
        return arrival.order in self._admitted

    @property
    def is_exhausted(self) -> bool:
        """Nothing waits to be sent, and nothing more is to be admitted."""
        return not self._admitted and self.next_due_s is None

    @property
    def ready_count(self) -> int:
        """Requests that could be sent."""
        return len(self._ready)

    @property
    def next_ready(self) -> Arrival | None:
        """The arrival to send next, if one is ready."""
        event = self._ready.first
        return event.arrival if event else None

    @property
    def next_undecided(self) -> Arrival | None:
        """The first arrival of an open loop that was not seen to be due yet."""
        return self._undecided[0] if self._undecided else None

    def admit(self) -> Arrival:
        """Admit the next arrival. Raises LookupError when no further one is due."""
        if self.next_due_s is None:
            raise LookupError("no further request is due")
        arrival = self._add(self.next_due_s)
        self._advance()
        return arrival

    def _advance(self) -> None:
        if self._ahead:
            self.next_due_s = self._ahead.popleft()
        else:
            self.next_due_s = next(self._due_times, None)

    def _add(self, due_s: float) -> Arrival:
        self._admissions += 1
        arrival = Arrival(self._admissions, due_s)
        self._admitted[arrival.order] = arrival
        return arrival

    def put_undecided(self, arrival: Arrival) -> None:
        """Remember to look, when it is due, whether every place is taken."""
        self._undecided.append(arrival)

    def decide(self, due_s: float, is_full: bool) -> None:
        """Mark the arrivals due by then that found every place taken.

        They wait for the pool, not for this client.
        """
        undecided = self._undecided
        while undecided and undecided[0].due_s <= due_s:
            arrival = undecided.popleft()
            if is_full and arrival in self:
                arrival.has_waited = True

    def put_ready(self, event: Ready) -> None:
        """Accept an arrival that could be sent."""
        self._ready.put(event)

    def pop_ready(self) -> Ready:
        """Take out the arrival to send next. Raises IndexError when none is ready."""
        event = self._ready.pop()
        del self._admitted[event.arrival.order]
        return event

    def first_ready(self, last_order: int) -> list[Flight]:
        """Return the flights that are ready, up to an order."""
        return [
            event.flight for event in self._ready.list_up_to(last_order)
        ]

    def discard(self, arrival: Arrival) -> None:
        """Forget an arrival whose worker has returned."""
        self._admitted.pop(arrival.order, None)

    def find_last_untold(self) -> Arrival | None:
        """Return the last arrival that no observer knows of."""
        untold = []
        for arrival in self._admitted.values():
            if arrival.flight is None or not arrival.flight.is_told:
                untold.append(arrival)
        return max(untold, key=lambda arrival: arrival.order, default=None)

    def drop(self, arrival: Arrival) -> bool:
        """Cancel an arrival; tell whether it was still to be sent."""
        was_admitted = self._admitted.pop(arrival.order, None) is not None
        self._ready.remove(arrival)
        if arrival.flight is not None:
            arrival.flight.cancel(NOT_NEEDED)
        return was_admitted

    def end(self) -> None:
        """Admit nothing more."""
        self.next_due_s = None

    def clear(self, why: str = NOT_NEEDED) -> int:
        """Cancel all that has not left and admit nothing more; return how many there were.

        why: for those that the observer has been told of; nobody asks for the others.
        """
        arrivals = list(self._admitted.values())
        self.end()
        self._undecided.clear()
        self._admitted.clear()
        self._ready.clear()
        for arrival in arrivals:
            if flight := arrival.flight:
                flight.cancel(why if flight.is_told else NOT_NEEDED)
        return len(arrivals)

    def count_waiting(self, due_s: float) -> int:
        """Return how many were due by then and have not left."""
        count = sum(
            arrival.due_s <= due_s for arrival in self._admitted.values()
        )
        if self.next_due_s is None or self.next_due_s > due_s:
            return count
        ahead = self._ahead
        while not ahead or ahead[-1] <= due_s:
            following = next(self._due_times, None)
            if following is None:
                return count + 1 + len(ahead)
            ahead.append(following)
        return count + len(ahead)  # the last one is later

    def take_unsent(
        self, due_s: float, most_unadmitted: int | None, is_full: bool
    ) -> Iterator[tuple[float, bool]]:
        """Yield (due time, waited for a place) of all that were due by then and have not left.

        At most ``most_unadmitted`` of those that were not even admitted are counted.
        """
        for arrival in self._admitted.values():
            if arrival.due_s <= due_s:
                yield arrival.due_s, arrival.has_waited or is_full
        room = sys.maxsize if most_unadmitted is None else most_unadmitted
        while (
            self.next_due_s is not None
            and self.next_due_s <= due_s
            and room > 0
        ):
            yield self.next_due_s, is_full
            self._advance()
            room -= 1
