"""People: each asks, reads the reply to its end, thinks, and asks again.

    people = People(19, ThinkTime(30.0), seed="1 19 1")
    Load(source, limits, workers=19, people=people, until_s=600)

They are due one by one: the end of the previous reply + a think time. At the start all of them
think, each for what is left of a think time that began before (see ThinkTime.draw_under_way), so
that they do not ask at once.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ollama_bench.load.arrivals import ArrivalQueue
from ollama_bench.load.balancer import Rank
from ollama_bench.load.flight import NOT_NEEDED, Arrival
from ollama_bench.load.part import WHOLE, Part
from ollama_bench.load.request import Outcome
from ollama_bench.statistics.think_time import ThinkTime


class People:
    """So many people, and the think times of each: the same for the same seed."""

    def __init__(
        self,
        count: int,
        think_time: ThinkTime,
        seed: str,
        part: Part = WHOLE,
    ) -> None:
        """Take those of ``count`` people who are in the part; each keeps the think times."""
        self.count = part.count(count)
        self._think_time = think_time
        self._draws = [
            random.Random(f"{seed} {person}")
            for person in part.pick(range(1, count + 1))
        ]

    def draw_first(self) -> list[tuple[float, float]]:
        """Return what is left of each person's first think time, and the whole of it, seconds."""
        return [
            self._think_time.draw_under_way(draw) for draw in self._draws
        ]

    def draw_next(self, person: int) -> float:
        """Return how long a person, from 1 on, thinks this time, seconds."""
        return self._think_time.draw(self._draws[person - 1])


@dataclass(order=True)
class Thinker:
    """A person who thinks."""

    due_s: float  # asks again then, since the level's start
    person: int
    think_s: float
    # the reply that its conversation goes on from
    said: Outcome | None = field(default=None, compare=False)


class PeopleQueue(ArrivalQueue):
    """The arrivals of people: each is due some time after the end of its person's previous reply.

    The dispatcher's gate guards it, as it does every ArrivalQueue.
    """

    def __init__(
        self,
        people: People,
        rank: Callable[[int], Rank] | None = None,
    ) -> None:
        super().__init__(iter(()), rank)
        self._people = people
        self._thinkers = [
            Thinker(due_s, person, think_s)
            for person, (due_s, think_s) in enumerate(
                people.draw_first(), 1
            )
        ]
        heapq.heapify(self._thinkers)
        # orders of the arrivals of who asks or reads
        self._asking: set[int] = set()
        self._is_over = False
        self._look_ahead()

    @property
    def is_exhausted(self) -> bool:
        """Nobody asks any more."""
        return super().is_exhausted and not self._asking

    def admit(self) -> Arrival:
        """Admit who is due next. Raises LookupError when nobody thinks."""
        if not self._thinkers:
            raise LookupError("nobody thinks")
        thinker = heapq.heappop(self._thinkers)
        self._look_ahead()
        arrival = self._add(thinker.due_s)
        arrival.person, arrival.said = thinker.person, thinker.said
        arrival.think_s = thinker.think_s
        self._asking.add(arrival.order)
        return arrival

    def think(
        self, arrival: Arrival, ended_s: float, said: Outcome | None
    ) -> None:
        """Have a person think whose reply has ended, at a second since the level's start."""
        self._asking.discard(arrival.order)
        if self._is_over or arrival.person is None:
            return
        think_s = self._people.draw_next(arrival.person)
        thinker = Thinker(ended_s + think_s, arrival.person, think_s, said)
        heapq.heappush(self._thinkers, thinker)
        self._look_ahead()

    def discard(self, arrival: Arrival) -> None:
        """Forget an arrival whose worker has returned."""
        super().discard(arrival)
        self._asking.discard(arrival.order)

    def end(self) -> None:
        """Nobody who thinks now asks again in time; who reads a reply still may."""
        self._thinkers.clear()
        self._look_ahead()

    def clear(self, why: str = NOT_NEEDED) -> int:
        """Cancel all that has not left: nobody asks any more."""
        self._is_over = True
        return super().clear(why)

    def take_unsent(
        self, due_s: float, most_unadmitted: int | None, is_full: bool
    ) -> Iterator[tuple[float, bool]]:
        """Yield (due time, False) of all who were due by then and have not asked."""
        for arrival in self._admitted.values():
            if arrival.due_s <= due_s:
                yield arrival.due_s, False
        for thinker in sorted(self._thinkers):
            if thinker.due_s <= due_s:
                yield thinker.due_s, False

    def _look_ahead(self) -> None:
        self.next_due_s = (
            self._thinkers[0].due_s if self._thinkers else None
        )
