"""What a level is asked to do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ollama_bench.load.arrivals import ArrivalQueue, at_once
from ollama_bench.load.balancer import Balancer
from ollama_bench.load.client_limits import LoadKind
from ollama_bench.load.people import People, PeopleQueue
from ollama_bench.load.request import Limits, StopSignal, Task

DIGEST_DELAY_S = 0.25  # streams sent together often end together


@dataclass(frozen=True)
class LevelSpec:
    """How requests are sent, and when no more are.

    Without ``planned`` and ``until_s`` each worker is asked once: a burst. Otherwise it is a
    load that goes on: closed, where a reply that has ended is replaced at once; open, where
    ``arrivals`` gives the due times; or ``people``, who think before they ask again.
    """

    # makes the task of the n-th question, from 1 on
    source: Callable[[int], Task]
    limits: Limits
    workers: int  # requests in flight at most
    interrupt: StopSignal  # cancels all when set
    arrivals: Iterator[float] | None = None  # seconds since the start
    ramp_s: float = 0.0  # spreads the first requests
    planned: int | None = None  # requests to send
    until_s: float | None = None  # nothing is sent after so many seconds
    people: People | None = None  # as many as workers
    # all workers ask at the same instant, and again when the last reply has ended
    in_bursts: bool = False
    # arrivals of an even rate: ended early once their queue grows
    is_watched: bool = False
    # called when all is ready; the level starts when it returns
    gate: Callable[[], None] | None = None
    # whom source has chosen each task's server by
    balancer: Balancer = field(default_factory=Balancer)

    @property
    def is_burst(self) -> bool:
        """Each worker is asked once, all at the same time."""
        return self.planned is None and self.until_s is None

    @property
    def is_timed(self) -> bool:
        """Requests are sent when they are due, not when a reply has ended."""
        return self.arrivals is not None or self.people is not None

    @property
    def kind(self) -> LoadKind:
        """What the results call such a load."""
        if self.is_burst or self.in_bursts:
            return "burst"
        if self.people is not None:
            return "people"
        return "open" if self.is_timed else "closed"

    @property
    def total(self) -> int | None:
        """Requests to send; None: as many as the time allows."""
        return self.workers if self.is_burst else self.planned

    @property
    def ready_ahead(self) -> int:
        """Requests made ready before a place is free."""
        return 0 if self.is_burst else self.workers

    @property
    def digest_delay_s(self) -> float:
        """How long after its end a reply is digested, while streams come in."""
        return 0.0 if self.is_timed else DIGEST_DELAY_S

    def make_queue(self) -> ArrivalQueue:
        """Return the arrivals, none of them admitted."""
        if self.people is not None:
            return PeopleQueue(self.people, self.balancer.rank)
        return ArrivalQueue(self._due_times(), self.balancer.rank)

    def _due_times(self) -> Iterator[float]:
        """Yield when each request is due, seconds since the start."""
        if self.arrivals is not None:
            return self.arrivals
        first = at_once(
            min(self.workers, self.total or self.workers), self.ramp_s
        )
        return (
            first
            if self.is_burst
            else itertools.chain(first, itertools.repeat(self.ramp_s))
        )
