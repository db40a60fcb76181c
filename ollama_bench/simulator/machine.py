"""The machine: slots, a queue, and when each request gets its tokens."""

from __future__ import annotations

import bisect
import collections
import functools
import time
from collections.abc import Mapping
from operator import itemgetter
from typing import Protocol

from ollama_bench.simulator.agenda import Agenda
from ollama_bench.simulator.meter import Meter
from ollama_bench.simulator.settings import Settings

# load_duration of a model that is loaded: never quite zero in a real Ollama
LOOKUP_S = 0.01
SHORTEST_STEP_NS = 1000
# tokens of a prompt that the time of a short one has
SHORT_PROMPT_TOKENS = 32
# of prompts, evaluated in one step beside a token of each stream
BATCH_TOKENS = 512


class Job(Protocol):
    """A request that the machine serves."""

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""

    @property
    def read_ns(self) -> int:
        """When it was read."""

    @property
    def ready_ns(self) -> int:
        """When its model is loaded."""

    @property
    def prompt_tokens(self) -> int:
        """How long its prompt is."""

    def admit(self, admitted_ns: int, load_ns: int) -> None:
        """Note when it got its slot, and how long its model then takes to load."""

    def tick(self, due_ns: int) -> None:
        """Write the token that is due."""


class RateTable:
    """Tokens per second of one stream among k."""

    def __init__(self, rates: Mapping[int, float], speed: float) -> None:
        self._rates = sorted(rates.items())
        self._speed = speed

    def rate(self, k: int) -> float:
        """Interpolate in the table; beyond it the total of the machine stays constant."""
        at = bisect.bisect_left(self._rates, k, key=itemgetter(0))
        if at == len(self._rates):
            most, rate = self._rates[-1]
            return rate * most / k * self._speed
        k1, rate1 = self._rates[at]
        if k1 == k:
            return rate1 * self._speed
        k0, rate0 = self._rates[at - 1]
        return (
            rate0 + (rate1 - rate0) * (k - k0) / (k1 - k0)
        ) * self._speed


class Machine:
    """Slots, a queue in order of arrival, and continuous batching.

    While k requests decode, each gets rate(k) tokens per second: one step gives every one of them
    a token. Where the profile has no rates, each stream has its own pace. What a prompt has beyond
    SHORT_PROMPT_TOKENS is evaluated as llama.cpp does it: up to BATCH_TOKENS in a step, first come
    first served, and the step takes so much longer for all. Unlike on a real machine, the time of a
    short prompt is the same beside other requests as alone, and never slows them.
    """

    def __init__(
        self, agenda: Agenda, meter: Meter, settings: Settings
    ) -> None:
        profile, speed = settings.profile, settings.speed
        self.slots = settings.slots
        self._agenda = agenda
        self._meter = meter
        self._queue_limit = settings.queue
        self._table: RateTable | None = None
        prefill_s, lookup_s = settings.ttft_ms / 1e3, 0.0
        if profile.rates is not None:
            self._table = RateTable(profile.rates, speed)
            prefill_s, lookup_s = profile.prefill_s, LOOKUP_S
        self._prefill_ns = int(prefill_s * 1e9 / speed)
        self._lookup_ns = int(lookup_s * 1e9 / speed)
        self._itl_ns = max(
            SHORTEST_STEP_NS, int(settings.itl_ms * 1e6 / speed)
        )
        self._active: set[Job] = set()
        self._waiting: collections.deque[Job] = collections.deque()
        self._decoding: list[Job] = []
        # tokens left of each prompt that is evaluated, oldest first
        self._prefilling: dict[Job, int] = {}
        self._token_ns = 0.0
        if profile.prefill_tokens_per_s is not None:
            self._token_ns = 1e9 / profile.prefill_tokens_per_s / speed
        self._stepping = False

    @property
    def active_count(self) -> int:
        return len(self._active)

    @property
    def queued_count(self) -> int:
        return len(self._waiting)

    def submit(self, job: Job) -> bool:
        """Take a request in; return False when the queue is full."""
        if len(self._active) < self.slots:
            self._admit(job, job.read_ns)
        elif (
            self._queue_limit is not None
            and len(self._waiting) >= self._queue_limit
        ):
            return False
        else:
            self._waiting.append(job)
        return True

    def leave(self, job: Job) -> None:
        """Free the slot of a request that is over for the one that has waited longest."""
        now_ns = time.perf_counter_ns()
        if job in self._waiting:
            self._waiting.remove(job)
        if job in self._decoding:
            self._decoding.remove(job)
        self._prefilling.pop(job, None)
        self._active.discard(job)
        if self._waiting and len(self._active) < self.slots:
            self._admit(self._waiting.popleft(), now_ns)
        if not self._active:
            self._meter.set_busy(False, now_ns)

    def _admit(self, job: Job, now_ns: int) -> None:
        if not self._active:
            self._meter.set_busy(True, time.perf_counter_ns())
        self._active.add(job)
        load_ns = max(0, job.ready_ns - now_ns) + self._lookup_ns
        job.admit(now_ns, load_ns)
        begin = self._go_alone if self._table is None else self._join_batch
        self._agenda.at(
            now_ns + load_ns + self._prefill_ns,
            functools.partial(begin, job),
        )

    def _go_alone(self, job: Job, due_ns: int) -> None:
        """Write the next token of a stream that has its own pace."""
        if not job.over:
            job.tick(due_ns)
        if not job.over:
            self._agenda.at(
                due_ns + self._itl_ns,
                functools.partial(self._go_alone, job),
            )

    def _join_batch(self, job: Job, due_ns: int) -> None:
        if job.over:
            return
        left = max(0, job.prompt_tokens - SHORT_PROMPT_TOKENS)
        if left and self._token_ns:
            self._prefilling[job] = left
        else:
            self._decoding.append(job)
        if not self._stepping:
            self._stepping = True
            self._step(due_ns)

    def _step(self, due_ns: int) -> None:
        """Write a token of each stream, and begin to evaluate the next part of prompts."""
        for job, left in list(self._prefilling.items()):
            if not left:
                del self._prefilling[job]
                self._decoding.append(job)
        for job in list(self._decoding):
            job.tick(due_ns)
        self._stepping = bool(self._decoding or self._prefilling)
        if self._stepping:
            step_ns = self._evaluate() * self._token_ns
            if self._decoding and self._table is not None:
                step_ns += 1e9 / self._table.rate(len(self._decoding))
            self._agenda.at(due_ns + int(step_ns), self._step)

    def _evaluate(self) -> int:
        """Take the next batch off the prompts; return how many tokens it has."""
        room = BATCH_TOKENS
        for job, left in self._prefilling.items():
            taken = min(left, room)
            self._prefilling[job] = left - taken
            room -= taken
        return BATCH_TOKENS - room
