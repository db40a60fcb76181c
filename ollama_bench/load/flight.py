"""A request of a level on its way: when it is due, and its exchange with the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ollama_bench.load.request import Outcome, Task
from ollama_bench.transport.digest_queue import DigestQueue
from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.lines import Lines, ServerLine
from ollama_bench.transport.reader import Reader

# why a request that was made ready and never sent is cancelled
NOT_NEEDED = "not needed any more"


@dataclass(frozen=True)
class Transport:
    """What all requests of a level share on the wire."""

    lines: Lines
    digests: DigestQueue
    reader: Reader | None  # None: each stream's own thread receives
    kernel_stamps: bool


@dataclass(eq=False)
class Arrival:
    """A request to come.

    A worker makes it ready, and whichever thread finds it due and a place free sends it.
    """

    order: int  # from 1 on
    due_s: float  # since the level's start
    # set once it has a question; guarded by the dispatcher's gate
    flight: Flight | None = None
    is_ready: bool = False  # the conductor's
    # whether it was due while every place was taken; guarded by the gate
    has_waited: bool = False
    person: int | None = None  # who asks, from 1 on; None: nobody thinks
    think_s: float | None = None  # how long this person thought before
    # the reply that this person's conversation goes on from
    said: Outcome | None = None


class Flight(Exchange):
    """A request on the wire.

    The dispatcher's gate guards the fields that change; the exchange itself is fired under it.
    """

    def __init__(
        self,
        task: Task,
        arrival: Arrival | None,
        previous: Flight | None,
        transport: Transport,
        *,
        on_ready: Callable[[Flight], None],
        on_over: Callable[[Flight], None],
        needs_line: bool,
    ) -> None:
        super().__init__(
            transport.kernel_stamps,
            transport.reader,
            transport.lines,
            transport.digests,
            on_ready=lambda _: on_ready(self),
            on_over=lambda _: on_over(self),
            marks=task.protocol.last_line_marks,
            is_last=task.protocol.is_last_line,
            needs_line=needs_line,
        )
        # until it is numbered, with the number of its question or previous turn
        self.task = task
        self.arrival = arrival  # None: a later turn of a conversation
        self.previous = previous  # the turn before
        # the next turn needs what the reply says
        self.is_urgent = task.follow is not None
        self.due_ns: int | None = None
        self.is_replacement = False  # of a reply that has ended
        self.holds_place = False
        # its server's balancer counts it as made ready
        self.is_awaited = True
        self.is_numbered = False
        self.is_told = False  # the observer knew it before it was fired

    def give_number(self, number: int) -> None:
        """Number the request within its level."""
        self.task = dataclasses.replace(self.task, number=number)
        self.is_numbered = True

    def choose_line(
        self, lines: Lines, freed: ServerLine | None
    ) -> ServerLine | None:
        """Choose the line that has just become free, where its server keeps lines.

        None: it takes its own, or a new one.
        """
        if freed is not None:
            is_kept = freed.key == self.key and lines.keeps(freed.key)
            if is_kept and freed.is_open():
                return freed
            lines.put(freed)
        if self.line is None and self.key is not None:
            return lines.take(self.key)
        return None

    def let_go(self) -> None:
        """Break the reference cycles of a flight that is over.

        The garbage collector does not run while streams come in.
        """
        self.arrival = self.previous = None
        self.release()
