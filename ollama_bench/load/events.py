"""What the threads of a level report to its conductor."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from ollama_bench.load.flight import Arrival, Flight
from ollama_bench.load.request import Outcome


@dataclass(frozen=True)
class Ready:
    """A worker has made an arrival's request ready and sleeps until it is fired."""

    arrival: Arrival
    flight: Flight


@dataclass(frozen=True)
class Begun:
    """A request that the observer does not know yet is leaving."""

    flight: Flight


@dataclass(frozen=True)
class Ended:
    """A request has ended, sent or not, and was digested."""

    outcome: Outcome
    flight: Flight


@dataclass(frozen=True)
class Returned:
    """The worker of an arrival is done with it and with all turns that followed."""

    arrival: Arrival
    # a defect, or no memory: the level cannot go on
    error: BaseException | None = None


Event = Ready | Begun | Ended | Returned
EventQueue = queue.SimpleQueue[Event]
