"""What the screen sees of the requests that workers have under way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from ollama_bench.fleet.clock import ClockLine
from ollama_bench.fleet.messages import FlightStates
from ollama_bench.load.flight import Flight
from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.result import LevelResult


@dataclass(eq=False)
class Sight:
    """A request as its worker saw it last, by the coordinator's clock."""

    task: Task
    sent_ns: int | None = None
    first_ns: int | None = None
    last_read_ns: int | None = None
    ended_ns: int | None = None
    reads: int = 0


class Sights:
    """Keeps a result's ``exchanges``: those in flight, of a burst all."""

    def __init__(self, result: LevelResult) -> None:
        self._result = result
        self._sights: dict[int, Sight] = {}

    def add(self, task: Task) -> None:
        """Add a request that has begun."""
        self._sights[task.number] = Sight(task)

    def move(self, in_flight: FlightStates, line: ClockLine) -> None:
        """Note how far those of one worker are."""

        def convert(instant_ns: int) -> int | None:
            return line.to_coordinator(instant_ns) if instant_ns else None

        for number, sent_ns, first_ns, last_ns, reads in zip(
            in_flight.numbers,
            in_flight.sent_ns,
            in_flight.first_ns,
            in_flight.last_read_ns,
            in_flight.reads,
            strict=True,
        ):
            sight = self._sights.get(number)
            if sight is not None and sight.ended_ns is None:
                sight.sent_ns = convert(sent_ns)
                sight.first_ns = convert(first_ns)
                sight.last_read_ns = convert(last_ns)
                sight.reads = reads

    def end(self, outcome: Outcome) -> None:
        """Note that a request has ended."""
        number = outcome.task.number
        if not self._result.is_burst:
            self._sights.pop(number, None)
            return
        sight = self._sights.setdefault(number, Sight(outcome.task))
        sight.sent_ns, sight.ended_ns = outcome.sent_ns, outcome.ended_ns
        if outcome.chunk_ns:
            sight.first_ns = outcome.chunk_ns[0]
            sight.last_read_ns = outcome.chunk_ns[-1]
        sight.reads = len(outcome.chunk_ns) + 1

    def show(self) -> None:
        """Let the screen see them."""
        shown = cast(list[Flight], list(self._sights.values()))
        self._result.exchanges[:] = shown
