"""What all connections of one server share."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from typing import Protocol

from ollama_bench.simulator.agenda import Agenda
from ollama_bench.simulator.machine import Job, Machine
from ollama_bench.simulator.meter import MachineState, Meter
from ollama_bench.simulator.send_log import (
    LatenessHistogram,
    ReplyRecord,
    SendLog,
)
from ollama_bench.simulator.settings import Settings


class SimulationState(MachineState):
    """The answer to GET /sim/state."""

    active: int
    queued: int
    schedule_error_s: dict[str, float]


class RecordedJob(Job, Protocol):
    """A job that ends with a record for the log."""

    def record(self) -> ReplyRecord:
        """Return what the log keeps of it."""


class Simulation:
    """The machine, its models, its energy and its records."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.settings = settings
        self.loop = loop
        self.models = list(settings.models)
        self.loaded_ns: dict[str, int] = {}  # from when a model is ready
        # of one slot, where a request asked for another than usual (num_ctx)
        self.context_tokens: dict[str, int] = {}
        self.agenda = Agenda(loop)
        self.log = SendLog(settings.log)
        self.lateness = LatenessHistogram()
        self._meter = Meter(settings.profile.gpu_busy_w)
        self.machine = Machine(self.agenda, self._meter, settings)
        self._load_ns = int(settings.profile.load_s * 1e9 / settings.speed)
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Return the number of the next request, from 1."""
        return next(self._numbers)

    def load(self, model: str, now_ns: int) -> int:
        """Return when the model is ready; the first request for it makes it load."""
        return self.loaded_ns.setdefault(model, now_ns + self._load_ns)

    def unload(self, model: str) -> None:
        self.loaded_ns.pop(model, None)

    def state(self) -> SimulationState:
        now_ns = time.perf_counter_ns()
        return {
            "t_ns": now_ns,
            "active": self.machine.active_count,
            "queued": self.machine.queued_count,
            **self._meter.read(now_ns),
            "busy_mhz": self.settings.profile.busy_mhz,
            "schedule_error_s": {
                "n": self.lateness.n,
                **self.lateness.summarize(),
            },
        }

    def end(self, job: RecordedJob) -> None:
        """Free the slot of a request that is over, and keep its record."""
        self.machine.leave(job)
        self.log.add(job.record())
        if not self.machine.active_count:
            self.loop.call_soon(self.log.flush)

    def close(self) -> None:
        """Write what is left of the log, and the report if it was asked for."""
        self.log.close()
        if not self.settings.report:
            return
        errors = self.lateness.summarize().items()
        figures = ", ".join(
            f"{name} {value * 1e3:.2f} ms" for name, value in errors
        )
        print(
            f"schedule error of {self.lateness.n} writes: {figures}",
            file=sys.stderr,
        )
