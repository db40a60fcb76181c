"""What coordinator and workers of a fleet say to each other, as pickles.

A worker starts a level by an Order, and is asked for a Batch again and again until one has an
PartEnd. Instants are those of who sends them; see clock.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ollama_bench.load.load import Load
from ollama_bench.load.part import Part
from ollama_bench.load.request import Outcome, StopSignal, Task
from ollama_bench.load.result import UnsentArrivals


class MakeLoad(Protocol):
    """Makes the load of a part of a level; it can be pickled."""

    def __call__(
        self,
        *,
        interrupt: StopSignal,
        part: Part,
        gate: Callable[[], None],
    ) -> Load: ...


@dataclass(frozen=True)
class Order:
    """A part of a level, to be made ready and started when it is told."""

    make_load: MakeLoad
    part: Part
    worker: str  # the name of who gets it


@dataclass
class FlightStates:
    """The requests in flight, for the screen: a value for each, 0 is none."""

    numbers: array[int] = field(default_factory=lambda: array("q"))
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    first_ns: array[int] = field(default_factory=lambda: array("q"))
    last_read_ns: array[int] = field(default_factory=lambda: array("q"))
    reads: array[int] = field(default_factory=lambda: array("q"))


@dataclass(frozen=True)
class PartEnd:
    """What a part has come to, as in LevelResult."""

    started_ns: int
    ended_ns: int
    cpu_s: float
    slept_s: float | None
    beats_late_ns: array[int]
    paused_s: float
    held_s: float
    digest_lag_s: float
    pool_waits: int
    unsent: UnsentArrivals


@dataclass
class Batch:
    """What has happened in a worker since it was asked last."""

    is_ready: bool = False  # all that leaves at first can leave
    begun: list[Task] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)
    # twice a second; otherwise empty
    in_flight: FlightStates = field(default_factory=FlightStates)
    # (from, to): this process stood still, all of the level so far
    pauses: list[tuple[int, int]] = field(default_factory=list)
    # the last batch has one of these
    ending: PartEnd | None = None
    failure: str | None = None  # one line
