"""Runs a level: has requests made ready before they are due, tells the observer, and ends it."""

from __future__ import annotations

import contextlib
import math
import queue
import time
from concurrent.futures import ThreadPoolExecutor

from ollama_bench.load.dispatcher import Dispatcher
from ollama_bench.load.events import (
    Begun,
    Ended,
    Event,
    EventQueue,
    Ready,
    Returned,
)
from ollama_bench.load.flight import NOT_NEEDED, Arrival, Flight, Transport
from ollama_bench.load.heartbeat import Heartbeat
from ollama_bench.load.interpreter import Interpreter
from ollama_bench.load.observer import Observer
from ollama_bench.load.queue_watch import QueueWatch
from ollama_bench.load.request import Outcome
from ollama_bench.load.result import LevelResult
from ollama_bench.load.spec import LevelSpec
from ollama_bench.load.watchdog import Watchdog
from ollama_bench.load.worker import Worker
from ollama_bench.platforms import sleep_clock
from ollama_bench.transport import syscalls

READY_TIMEOUT_S = 60.0  # for all first connections of a level to be made
# A request is connected this long before it is due: servers close a line that stays silent
# (llama-server after 5 s).
CONNECT_AHEAD_S = 0.2
TICK_S = 0.25  # how often the watchdog looks and the console may draw
# an open loop is awake this long before a request is due: a thread wakes late
EARLY_S = 0.00015
# pause between two requests that are made ready while enough are
PREPARE_PAUSE_S = 0.01
# requests that are made ready at a time while others stream
PREPARE_AT_ONCE = 2
# why requests are cancelled when the level ends by an error
RUN_FAILED = "the run failed"


class Conductor:
    """Runs one level.

    The thread that calls run() owns every field, and calls the observer. Any thread may call
    end_early().
    """

    def __init__(
        self,
        spec: LevelSpec,
        result: LevelResult,
        transport: Transport,
        pool: ThreadPoolExecutor,
        heartbeat: Heartbeat,
        observer: Observer,
    ) -> None:
        self._spec = spec
        self._result = result
        self._digests = transport.digests
        self._pool = pool
        self._heartbeat = heartbeat
        self._observer = observer
        self._interpreter = Interpreter()
        self._events: EventQueue = queue.SimpleQueue()
        self._dispatcher = Dispatcher(
            spec, result, transport, self._events, self._interpreter
        )
        self._worker = Worker(
            spec, transport, self._dispatcher, self._events
        )
        self._watchdog = Watchdog(
            spec, result, transport, self._dispatcher, heartbeat
        )
        self._queue_watch = QueueWatch(
            self._dispatcher, result, self._watchdog
        )
        self._admissions = 0
        self._preparing = 0  # requests that are being made ready
        self._carried = 0  # arrivals whose workers have not returned
        # when the next may be made ready, of time.perf_counter
        self._next_admission_s = 0.0
        # requests that ended before anything was due
        self._early: list[Ended] = []
        self._cpu_before_s = 0.0
        # of sleep_clock.slept_ns; None: unknown
        self._slept_before_ns: int | None = None

    def run(self) -> None:
        """Run the level.

        Raises LoadError, RuntimeError when no thread can be started, and what the observer raises.
        """
        try:
            self._prepare()
            with self._interpreter.tuned(self._spec.is_burst):
                self._cpu_before_s = time.process_time()
                self._conduct()
        except BaseException:
            self._abandon()
            raise

    def end_early(self, why: str) -> None:
        """Send nothing more, and let what is in flight end."""
        self._dispatcher.end_early(why)

    # -- before the start

    def _prepare(self) -> None:
        """Make ready what is due at once and what replaces it; number it and tell the observer."""
        until_s = time.monotonic() + READY_TIMEOUT_S
        interrupt = self._spec.interrupt
        self._admit_due(CONNECT_AHEAD_S, at_once=math.inf)
        while (
            self._preparing
            and time.monotonic() < until_s
            and not interrupt.is_set()
        ):
            match self._wait_for_event(TICK_S):
                case None:
                    pass
                case Ended() as event:
                    self._early.append(event)
                case event:
                    self._handle(event)
        if (
            self._spec.is_timed
        ):  # a request that is ready may never be sent
            return
        first = self._dispatcher.number_first()
        self._result.exchanges.extend(first)
        self._observer.ready([flight.task for flight in first])

    # -- while it runs

    def _conduct(self) -> None:
        """Send what is due, collect what ended, look around four times a second."""
        syscalls.wake_in_time()
        started_ns = self._start()
        next_tick_s = time.perf_counter() + (
            0.0 if self._spec.interrupt.is_set() else TICK_S
        )
        while self._carried or self._dispatcher.next_due_s is not None:
            if time.perf_counter() >= next_tick_s or self._must_close():
                self._tick()
                next_tick_s = time.perf_counter() + TICK_S
            self._watchdog.patience.cut(time.perf_counter_ns())
            self._dispatcher.send_due()
            # may end the load: what is due has left
            if self._spec.is_watched:
                self._queue_watch.look(time.perf_counter_ns())
            passed_s = (time.perf_counter_ns() - started_ns) / 1e9
            self._admit_due(passed_s + CONNECT_AHEAD_S, PREPARE_AT_ONCE)
            wake_s = self._find_wake_s(started_ns / 1e9, next_tick_s)
            if event := self._wait_for_event(
                max(0.0, wake_s - time.perf_counter())
            ):
                self._handle(event)
            self._end_if_idle()
        self._end_if_idle()
        self._observer.tick(self._result)

    def _start(self) -> int:
        """Let requests leave; return the instant from which they are due."""
        if self._spec.gate is not None:
            self._spec.gate()
        self._slept_before_ns = sleep_clock.slept_ns()
        started_ns = time.perf_counter_ns()
        self._result.started_ns = started_ns
        self._dispatcher.start(started_ns)
        for event in self._early:
            self._handle_end(event)
        return started_ns

    def _must_close(self) -> bool:
        now_ns = time.perf_counter_ns()
        deadline_ns = self._watchdog.deadline_ns
        if deadline_ns is not None and now_ns >= deadline_ns:
            return True
        is_over = self._dispatcher.is_time_over(now_ns)
        return is_over and not self._dispatcher.is_closing

    def _tick(self) -> None:
        self._watchdog.look(time.perf_counter_ns())
        self._observer.tick(self._result)
        if not self._spec.is_burst:
            self._interpreter.collect_if_needed()

    def _find_wake_s(self, started_s: float, next_tick_s: float) -> float:
        """Return when there is something to do, unless an event comes before."""
        early_s = EARLY_S if self._spec.is_timed else 0.0
        wake_s = next_tick_s
        if (deadline_ns := self._watchdog.deadline_ns) is not None:
            wake_s = min(wake_s, deadline_ns / 1e9)
        if (leave_ns := self._watchdog.patience.next_ns) is not None:
            wake_s = min(wake_s, leave_ns / 1e9)
        if not self._dispatcher.is_closing:
            for due_s in self._find_due_s(started_s):
                wake_s = min(wake_s, started_s + due_s)
        return wake_s - early_s

    def _find_due_s(self, started_s: float) -> list[float]:
        """Return when something is to be done for the load, seconds since the start."""
        due_s = []
        if self._spec.until_s is not None:
            due_s.append(self._spec.until_s)
        send_s = self._dispatcher.find_next_send_s()
        if send_s is not None:
            due_s.append(send_s)
        admission_s = self._dispatcher.find_next_admission_s()
        if admission_s is not None and self._preparing < PREPARE_AT_ONCE:
            due_s.append(
                max(
                    admission_s - CONNECT_AHEAD_S,
                    self._next_admission_s - started_s,
                )
            )
        return due_s

    def _admit_due(self, until_s: float, at_once: float) -> None:
        """Have the requests made ready that are due by then, so many at a time."""
        while (
            due_s := self._dispatcher.next_due_s
        ) is not None and due_s <= until_s:
            is_time = self._next_admission_s <= time.perf_counter()
            arrival = self._dispatcher.admit_next(
                self._preparing < at_once and is_time
            )
            if arrival is None:
                return
            self._submit(arrival)

    def _submit(self, arrival: Arrival) -> None:
        self._admissions += 1
        self._preparing += 1
        self._carried += 1
        has_started = self._result.started_ns is not None
        # the fewer are ready, the sooner
        if has_started and not self._spec.is_timed:
            pause_s = (
                PREPARE_PAUSE_S * self._dispatcher.measure_ready_ratio()
            )
            self._next_admission_s = time.perf_counter() + pause_s
        try:
            self._pool.submit(self._worker.carry, arrival)
        except RuntimeError:
            # no further thread: another will do it, where there are enough
            if not has_started and self._admissions <= self._spec.workers:
                raise

    # -- events

    def _wait_for_event(self, timeout_s: float) -> Event | None:
        with contextlib.suppress(queue.Empty):
            return self._events.get(timeout=timeout_s)
        return None

    def _handle(self, event: Event) -> None:
        match event:
            case Ready(arrival):
                self._preparing -= 1
                arrival.is_ready = True
                self._dispatcher.accept(event)
            case Begun(flight):
                self._result.exchanges.append(flight)
                self._watchdog.patience.watch(flight)
                self._observer.begun(flight.task)
            case Ended():
                self._handle_end(event)
            case Returned(arrival):
                self._carried -= 1
                if not arrival.is_ready:
                    self._preparing -= 1
                self._dispatcher.discard(arrival)
                if event.error is not None:
                    raise event.error

    def _handle_end(self, event: Ended) -> None:
        outcome, flight = event.outcome, event.flight
        if not self._spec.is_burst:
            with contextlib.suppress(ValueError):
                self._result.exchanges.remove(flight)
        if flight.intended_ns is None:  # it was never sent
            if flight.cancelled == NOT_NEEDED and not flight.is_told:
                return
            self._complete_unsent(outcome, flight)
        if self._spec.is_burst:
            self._result.outcomes.append(outcome)
        self._result.tally.add(outcome, self._heartbeat.pauses)
        if self._spec.is_watched:
            self._queue_watch.note_end(outcome)
        self._observer.ended(outcome)

    def _complete_unsent(self, outcome: Outcome, flight: Flight) -> None:
        """Number a request that ended before it was sent: an error of ours, or an interruption."""
        self._dispatcher.number(flight)
        outcome.task = flight.task
        outcome.ended_ns = max(
            outcome.ended_ns or 0, self._result.started_ns or 0
        )

    # -- at the end

    def _end_if_idle(self) -> None:
        """Digest what is left at full speed once the last stream has ended."""
        if not self._dispatcher.end_if_idle():
            return
        self._interpreter.favor_digesting()
        self._digests.hurry()
        result = self._result
        result.cpu_s = time.process_time() - self._cpu_before_s
        result.ended_ns = max(
            result.started_ns or 0, self._dispatcher.last_end_ns
        )
        result.slept_s = sleep_clock.slept_s(
            self._slept_before_ns, sleep_clock.slept_ns()
        )

    def _abandon(self) -> None:
        """Cut everything, as the level has failed: no thread may wait for ever."""
        self._dispatcher.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._digests.hurry()
        while self._worker.is_busy:
            self._watchdog.cut_all(RUN_FAILED)
            match self._wait_for_event(TICK_S):
                case Ready(flight=flight) | Begun(flight=flight):
                    flight.cancel(RUN_FAILED)
