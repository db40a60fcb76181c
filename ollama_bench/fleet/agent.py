"""What runs in a worker of a fleet: its part of a level, and the door by which it is asked.

The coordinator has Dask call open_door() in each worker, and then asks over Dask's own links.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from ollama_bench.fleet.messages import Batch, FlightStates, Order, PartEnd
from ollama_bench.fleet.watching import WATCHING_WORDS, Watching
from ollama_bench.load import load
from ollama_bench.load.errors import LoadError
from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.result import LevelResult
from ollama_bench.load.tally import Tally

DOOR = "ollama_bench"  # the name that Dask knows the door by
# Nobody has asked for so long: the coordinator is gone, and the load ends.
SILENT_S = 20.0
# how often requests in flight are told of, for the screen
SHOW_EVERY_S = 0.5
# an answer waits so long for something to tell, and looks so often
NEWS_S = 0.5
LOOK_S = 0.02
# a sleeping thread wakes up to so late: the last of the wait is spun
SPIN_NS = 500_000


class NoTally(Tally):
    """Adds nothing up: the coordinator does, for all parts together."""

    def add(
        self, outcome: Outcome, pauses: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Do nothing."""


class PartRun(load.Observer):
    """One part of a level, under way in a thread of its own.

    The lock guards the batch; the load's thread fills it, the door takes it.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._lock = threading.Lock()
        self._batch = Batch()
        self._told_to_start = threading.Event()
        self._start_ns = 0
        self._asked_s = time.monotonic()
        self._is_ready = False
        self._shown_s = 0.0  # when the flights were told of last
        self.interrupt = threading.Event()
        self._load = order.make_load(
            interrupt=self.interrupt,
            part=order.part,
            gate=self._wait_for_start,
        )
        self._load.result.tally = NoTally()
        self._thread = threading.Thread(
            target=self._run, name="level", daemon=True
        )
        self._thread.start()

    # -- called by the door

    def start(self, start_ns: int) -> None:
        """Let the level begin at an instant of this process's clock."""
        self._start_ns = start_ns
        self._told_to_start.set()

    async def wait_for_news(self) -> None:
        """Return when there is something to tell, NEWS_S later at most."""
        until_s = time.monotonic() + NEWS_S
        while not self._has_news() and time.monotonic() < until_s:
            await asyncio.sleep(LOOK_S)

    def take(self) -> Batch:
        """Return what has happened since the last call."""
        self._asked_s = time.monotonic()
        is_over = not self._thread.is_alive()
        with self._lock:
            batch, self._batch = self._batch, Batch()
        batch.is_ready = self._is_ready
        result = self._load.result
        if self._asked_s - self._shown_s >= SHOW_EVERY_S:
            self._shown_s = self._asked_s
            batch.in_flight = self._list_in_flight(result)
        batch.pauses = list(result.pauses)
        # what came after the thread was seen alive is in the next batch
        if is_over and batch.failure is None:
            batch.ending = make_ending(result)
        return batch

    def stop(self) -> None:
        """Cancel everything and wait until it has ended."""
        self.interrupt.set()
        self._told_to_start.set()
        self._thread.join(timeout=SILENT_S)

    def _has_news(self) -> bool:
        is_under_way = (
            self._told_to_start.is_set() and self._thread.is_alive()
        )
        batch = self._batch
        return bool(not is_under_way or batch.begun or batch.ended)

    def _list_in_flight(self, result: LevelResult) -> FlightStates:
        shown = FlightStates()
        for flight in list(result.exchanges):
            if flight.ended_ns is not None:
                continue
            shown.numbers.append(
                self._order.part.number(flight.task.number)
            )
            shown.sent_ns.append(flight.sent_ns or 0)
            shown.first_ns.append(flight.first_ns or 0)
            shown.last_read_ns.append(flight.last_read_ns or 0)
            shown.reads.append(flight.reads)
        return shown

    # -- the thread of the load

    def _run(self) -> None:
        try:
            self._load.run(self)
        except LoadError as error:
            self._fail(str(error))
        except BaseException as error:
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, why: str) -> None:
        with self._lock:
            self._batch.failure = why

    def _wait_for_start(self) -> None:
        """Return at the instant that the coordinator names."""
        self._is_ready = True
        while not self._told_to_start.wait(load.HEARTBEAT_S):
            self._end_if_forgotten()
        left_ns = self._start_ns - time.perf_counter_ns() - SPIN_NS
        if left_ns > 0:
            self.interrupt.wait(left_ns / 1e9)
        while (
            time.perf_counter_ns() < self._start_ns
            and not self.interrupt.is_set()
        ):
            pass

    def ready(self, tasks: list[Task]) -> None:
        """Tell of the requests that leave at first."""
        with self._lock:
            self._batch.begun.extend(map(self._strip, tasks))

    def begun(self, task: Task) -> None:
        """Tell of a request that has left."""
        with self._lock:
            self._batch.begun.append(self._strip(task))

    def ended(self, outcome: Outcome) -> None:
        """Tell of a request that has ended; only the next turn needs its text here."""
        told = dataclasses.replace(outcome, task=self._strip(outcome.task))
        if told.person is not None:
            told.person = self._order.part.number(told.person)
        outcome.reasoning = ""
        if outcome.task.follow is None:
            outcome.answer = ""
        with self._lock:
            self._batch.ended.append(told)

    def tick(self, level: LevelResult) -> None:
        """End the load where the coordinator is gone."""
        self._end_if_forgotten()

    def _end_if_forgotten(self) -> None:
        if time.monotonic() - self._asked_s > SILENT_S:
            self.interrupt.set()
            self._told_to_start.set()

    def _strip(self, task: Task) -> Task:
        """Return a task without what only its sending needs."""
        return dataclasses.replace(
            task,
            number=self._order.part.number(task.number),
            body={"model": task.body.get("model")},
            headers={},
            follow=None,
            worker=self._order.worker,
        )


def make_ending(result: LevelResult) -> PartEnd:
    """Return what a part has come to."""
    return PartEnd(
        result.started_ns or 0,
        result.ended_ns or 0,
        result.cpu_s,
        result.slept_s,
        result.beats_late_ns,
        result.paused_s,
        result.held_s,
        result.digest_lag_s,
        result.pool_waits,
        result.unsent,
    )


class Agent:
    """Answers the coordinator; Dask calls it in the thread of its event loop."""

    def __init__(self) -> None:
        self._part: PartRun | None = None
        self._watching = Watching()

    async def answer(
        self, word: str, content: bytes = b""
    ) -> dict[str, int | bytes]:
        """Do what a word says and return the answer, between two readings of the clock."""
        received_ns = time.perf_counter_ns()
        if word == "take" and self._part is not None:
            await self._part.wait_for_news()
        if word in WATCHING_WORDS:
            found = await asyncio.to_thread(
                self._watching.answer, word, content
            )
        else:
            found = self._do(word, content)
        return {
            "content": found,
            "received_ns": received_ns,
            "answered_ns": time.perf_counter_ns(),
        }

    def _do(self, word: str, content: bytes) -> bytes:
        if word == "prepare":
            self._stop()
            self._part = PartRun(pickle.loads(content))
        elif word == "start" and self._part is not None:
            self._part.start(int(content))
        elif word == "take" and self._part is not None:
            batch = self._part.take()
            if batch.ending or batch.failure:
                self._part = None
            return pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
        elif word == "interrupt" and self._part is not None:
            self._part.interrupt.set()
        elif word == "stop":
            self._stop()
        return b""

    def _stop(self) -> None:
        if self._part is not None:
            self._part.stop()
            self._part = None


# Dask names the argument
def open_door(dask_worker: Any, ignores_interrupts: bool) -> None:
    """Have a worker answer the coordinator.

    ignores_interrupts: Ctrl-C in the coordinator's terminal reaches this process as well; the
    coordinator tells what it means.
    """
    dask_worker.handlers[DOOR] = Agent().answer
    if ignores_interrupts:
        # the event loop may be in another thread: then Ctrl-C does not come
        with contextlib.suppress(ValueError):
            for name in ("SIGINT", "SIGHUP"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)
