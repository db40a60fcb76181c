"""One level of load, from its first byte to its last.

    level = Load(source, limits, workers=19)  # a burst
    level = Load(source, limits, workers=19, planned=200)  # a closed loop
    arrivals = poisson(5.0, seed=1)
    level = Load(source, limits, workers=64, arrivals=arrivals, until_s=60)  # an open loop
    people = People(19, ThinkTime(30.0), seed="1")
    level = Load(source, limits, workers=19, people=people, until_s=600)
    level.run(observer)  # returns when every request has ended
    level.client_figures()  # how exact this client was

Every request is made ready in a thread of the pool before it may leave (worker.py). It is sent
when it is due and a place is free (dispatcher.py). Its reply is received for its thread while
that sleeps (see the transport) and digested later, one at a time: gently while others still
stream, at full speed afterwards. The thread that calls run() conducts (conductor.py), cuts
(watchdog.py) and tells the observer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from ollama_bench.load.arrivals import at_once as at_once
from ollama_bench.load.arrivals import gamma as gamma
from ollama_bench.load.arrivals import poisson as poisson
from ollama_bench.load.balancer import Balancer as Balancer
from ollama_bench.load.client_limits import ClientFigures
from ollama_bench.load.conductor import Conductor
from ollama_bench.load.errors import LoadError as LoadError
from ollama_bench.load.errors import explain_missing_threads
from ollama_bench.load.flight import Flight, Transport
from ollama_bench.load.heartbeat import HEARTBEAT_S as HEARTBEAT_S
from ollama_bench.load.heartbeat import Heartbeat
from ollama_bench.load.observer import Observer as Observer
from ollama_bench.load.people import People as People
from ollama_bench.load.request import Limits as Limits
from ollama_bench.load.request import Outcome as Outcome
from ollama_bench.load.request import StopSignal
from ollama_bench.load.request import Task as Task
from ollama_bench.load.result import LevelResult as LevelResult
from ollama_bench.load.spec import LevelSpec
from ollama_bench.transport import capabilities, syscalls
from ollama_bench.transport.digest_queue import DigestQueue
from ollama_bench.transport.lines import Lines
from ollama_bench.transport.reader import Reader

# beside one for each request in flight and one for each that is ready
SPARE_THREADS = 64


class Load:
    """A level: at most ``workers`` requests in flight.

    ``source(n)`` makes the task of the n-th question, from 1 on. Without ``planned`` and
    ``until_s`` each of ``workers`` is asked once: a burst. ``planned`` ends the level after so
    many requests, ``until_s`` sends none after so many seconds; what is in flight then may
    finish. A reply that has ended is replaced at once (a closed loop), unless ``arrivals`` gives
    the second at which each request is due (an open loop), or ``people`` think before. ``ramp_s``
    spreads the first requests. ``in_bursts``: nothing is replaced before all have ended.
    spreads the first requests. An open loop that ``is_watched`` must have arrivals of an even
    rate; it is ended early once its queue grows, and who waits for a first token then is cut.
    ``balancer`` is told where requests are, and which server cannot be connected to; ``source``
    asks it for the server of each.
    ``interrupt`` cancels all when it is set. ``lines`` are connections that other levels use
    as well; without them the level makes its own and closes them. ``gate`` is called once all
    that leaves at first is ready: the level starts when it returns.

    ``result``, ``exchanges`` (those in flight; in a burst all) and ``tally`` may be looked at
    while it runs. ``outcomes`` holds those of a burst, by their number; other loads keep none.
    """

    def __init__(
        self,
        source: Callable[[int], Task],
        limits: Limits,
        workers: int,
        *,
        arrivals: Iterator[float] | None = None,
        ramp_s: float = 0.0,
        planned: int | None = None,
        until_s: float | None = None,
        people: People | None = None,
        in_bursts: bool = False,
        is_watched: bool = False,
        balancer: Balancer | None = None,
        interrupt: StopSignal | None = None,
        lines: Lines | None = None,
        gate: Callable[[], None] | None = None,
    ) -> None:
        self.spec = LevelSpec(
            source,
            limits,
            workers,
            interrupt or threading.Event(),
            arrivals,
            ramp_s,
            planned,
            until_s,
            people,
            in_bursts,
            is_watched,
            gate,
            balancer or Balancer(),
        )
        self.result = LevelResult(self.spec)
        self.exchanges: list[Flight] = self.result.exchanges
        self.outcomes: list[Outcome] = self.result.outcomes
        self.tally = self.result.tally
        self._lines = lines
        self._conductor: Conductor | None = None  # while it runs
        self._end_why = ""  # what end_early() was told

    def run(self, observer: Observer | None = None) -> LevelResult:
        """Send the requests, and wait until every one has ended.

        Raises LoadError when the system gives no threads or the receiving thread has died, and
        whatever the observer or the source of the tasks raises.
        """
        try:
            with contextlib.ExitStack() as stack:
                self._run(stack, observer or Observer())
        except RuntimeError as error:
            if "new thread" not in str(error):
                raise
            raise LoadError(
                explain_missing_threads(self.spec.workers)
            ) from None
        self.outcomes.sort(key=lambda outcome: outcome.task.number)
        return self.result

    def end_early(self, why: str) -> None:
        """Send nothing more; what is in flight ends as it does when ``until_s`` is over.

        Any thread may call it, at any time, and so may the observer. ``why`` is kept as
        ``result.ended_early``, unless the level was ending already.
        """
        self._end_why = self._end_why or why
        if self._conductor is not None:
            self._conductor.end_early(self._end_why)

    def _run(
        self, stack: contextlib.ExitStack, observer: Observer
    ) -> None:
        stack.enter_context(syscalls.short_ticks())
        transport = self._open_transport(stack)
        threads = self.spec.workers + self.spec.ready_ahead + SPARE_THREADS
        pool = stack.enter_context(ThreadPoolExecutor(threads, "stream"))
        heartbeat = Heartbeat()
        self.result.pauses = heartbeat.pauses
        try:
            self._conductor = Conductor(
                self.spec,
                self.result,
                transport,
                pool,
                heartbeat,
                observer,
            )
            if self._end_why:  # before there was a conductor
                self._conductor.end_early(self._end_why)
            self._conductor.run()
        finally:
            self._conductor = None
            heartbeat.stop()
            self.result.add_heartbeat(heartbeat)

    def _open_transport(self, stack: contextlib.ExitStack) -> Transport:
        lines = self._lines
        if lines is None:
            lines = Lines()
            stack.callback(lines.close)
        stack.callback(lines.rest)
        kernel_stamps = self.spec.limits.kernel_stamps
        reader = None
        if capabilities.READS_TOGETHER:
            reader = stack.enter_context(Reader(kernel_stamps))
        digests = DigestQueue(self.spec.digest_delay_s)
        return Transport(lines, digests, reader, kernel_stamps)

    # What the level has come to; see LevelResult.

    @property
    def started_ns(self) -> int | None:
        """When the level started, an instant of time.perf_counter_ns."""
        return self.result.started_ns

    @property
    def ended_ns(self) -> int | None:
        """When its last reply ended."""
        return self.result.ended_ns

    @property
    def pool_waits(self) -> int:
        """Requests that were due while every place was taken."""
        return self.result.pool_waits

    @property
    def never_sent(self) -> int:
        """Requests that were due and still not sent at the end."""
        return len(self.result.unsent)

    def steady_figures(self) -> dict[str, int]:
        """Return the instants between which the load was steady; {} where it never was."""
        return self.result.steady_figures()

    def client_figures(self) -> ClientFigures:
        """Return how exact this client was, and whether it was the limit of the level."""
        return self.result.client_figures()


class Burst(Load):
    """The tasks of a list, all at once."""

    def __init__(
        self,
        tasks: list[Task],
        limits: Limits,
        interrupt: StopSignal | None = None,
        lines: Lines | None = None,
    ) -> None:
        super().__init__(
            lambda number: tasks[number - 1],
            limits,
            len(tasks),
            interrupt=interrupt,
            lines=lines,
            balancer=Balancer(
                1 + max((task.host for task in tasks), default=0)
            ),
        )
