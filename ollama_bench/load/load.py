"""load.py - when is the next request sent, and who is cut: one level, from its first byte to its last.

    level = load.Load(source, limits, workers=19)                  # a burst
    level = load.Load(source, limits, workers=19, planned=200)     # a closed loop: a finished one is replaced
    level = load.Load(source, limits, workers=64, arrivals=load.poisson(5.0, seed=1), until_s=60)   # an open loop
    level.run(observer)          # returns when every request has ended
    level.client_figures()       # how exact this client was

Every request is made ready in a thread of the pool before it may leave: serialised, and connected
where a line is not at hand. It is sent when it is due and a place is free. A place is free when the
reply in it has ended, not when it was digested: whoever notices the end sends the next request, so
that a closed loop is an open one in which all are due at once. A reply is received for its thread
while that sleeps (see wire.py) and digested later, one at a time: gently while others still
stream, at full speed afterwards.
"""
from __future__ import annotations

import bisect
import collections
import contextlib
import dataclasses
import gc
import heapq
import itertools
import queue
import random
import sys
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Iterator
from urllib.parse import urlsplit

from ollama_bench.load import attempt
from ollama_bench.platforms import awake
from ollama_bench.transport import syscalls
from ollama_bench.transport import wire
from ollama_bench.load.attempt import Limits, Outcome, Task
from ollama_bench.load.tally import Tally

READY_S = 60.0  # for all connections of a level to be made
CONNECT_AHEAD_S = 0.2  # a request is connected so long before it is due: servers close who is silent (llama-server after 5 s)
TICK_S = 0.25  # how often the watchdog looks and the console may draw
EARLY_S = 0.00015  # who sends at a rate is awake so long before a request is due: a thread wakes late
REFUSED_PAUSE_S = 0.25  # a place stays taken so long by a request that could not even connect
LIVE_SWITCH_S = 0.0005  # whoever makes requests ready or digests replies gives way so soon to who receives and sends
READING_SWITCH_S = 0.1  # nothing is urgent any more: the writer's many short turns would only cost
LATER_S = 0.25  # streams sent together often end together: an answer is read for what it says so long after its end
GENTLE_PAUSE_S = 0.002  # while others stream, who reads an answer gives up the interpreter's lock for so long,
MANY_WAITING = 64  # but not where so many answers wait
MAKING_PAUSE_S = 0.01  # between two requests that are made ready while enough are
MAKING_AT_ONCE = 2  # requests that are made ready at a time while others stream
SPARE_THREADS = 64  # beside one for each request in flight and one for each that is ready
MOST_WAITING_BYTES = 512 << 20  # of replies that wait to be digested; beyond, no request is sent
MOST_GARBAGE = 500_000  # objects that have come to stay since the last collection, beyond those of requests in flight
HEARTBEAT_S = 0.02  # a thread that only sleeps shows how late a thread can wake
STOOD_STILL_S = 0.5  # a beat so late: this process was stopped, or the machine slept
UNUSED = "not needed any more"  # a request that was made ready and never sent


class LoadError(Exception):
    """A level cannot be fired; str() is one line for the user."""


class Observer:
    """What a level tells while it runs; all calls come from the thread that called run()."""

    def ready(self, tasks: list[Task]) -> None:
        """Every first connection is made, nothing is sent yet."""

    def begun(self, task: Task) -> None:
        """A later request has left."""

    def ended(self, outcome: Outcome) -> None:
        """A request has ended."""

    def tick(self, level: "Load") -> None:
        """Four times a second."""


def at_once(count: int, ramp_s: float = 0.0) -> Iterator[float]:
    """Due times of a burst, or of a ramp: evenly over so many seconds."""
    return (ramp_s * number / count for number in range(count))


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Due times of an open loop: independent arrivals at a mean rate, from a seed."""
    draw = random.Random(seed)
    return itertools.accumulate(draw.expovariate(rate_per_s) for _ in itertools.count())


@dataclass(eq=False)
class Arrival:
    """A request that is to come: a thread makes it ready, and whoever finds it due and a place free sends it."""

    order: int
    due_s: float
    flight: "Flight | None" = None  # once it has a question
    is_ready: bool = False
    has_waited: bool = False  # it was due while every place was taken

    def __lt__(self, other: "Arrival") -> bool:
        return self.order < other.order


class Flight(wire.Exchange):
    """A request of a level on the wire."""

    def __init__(self, task: Task, arrival: Arrival | None, before: "Flight | None", **options) -> None:
        super().__init__(marks=task.protocol.last_marks, is_last=task.protocol.is_last, **options)
        self.task, self.arrival, self.before = task, arrival, before  # before: the turn before
        self.is_urgent = task.follow is not None  # the next turn needs what it says
        self.due_ns: int | None = None
        self.is_replacement = False  # of a reply that has ended
        self.holds_place = False
        self.is_numbered = False  # until then the task's number is that of its question, or of the turn before
        self.is_told = False  # the observer knew it before it was fired

    def let_go(self) -> None:
        """It is done: what it was made with is freed without the garbage collector, which does not run while streams come in."""
        self.arrival = self.before = None
        self.release()


class Load:
    """A level: at most ``workers`` requests in flight.

    ``source(n)`` makes the task of the n-th question, from 1 on. Without ``planned`` and ``until_s``
    each of ``workers`` is asked once: a burst. ``planned`` ends the level after so many requests, ``until_s``
    sends none after so many seconds; what is in flight then may finish. A reply that has ended
    is replaced at once (a closed loop), unless ``arrivals`` gives the second at which each request is
    due (an open loop). ``ramp_s`` spreads the first requests. ``interrupt`` is an
    Event that cancels all. ``lines`` are connections that other levels use as well.

    ``exchanges`` (those in flight; in a burst all) and ``tally`` may be looked at while it runs.
    ``outcomes`` holds those of a burst, by their number; a load that goes on keeps none.
    """

    def __init__(self, source: Callable[[int], Task], limits: Limits, workers: int, *, arrivals: Iterator[float] | None = None,
                 ramp_s: float = 0.0, planned: int | None = None, until_s: float | None = None,
                 interrupt: threading.Event | None = None, lines: wire.Lines | None = None) -> None:
        self.source, self.limits, self.workers = source, limits, workers
        self.is_burst = planned is None and until_s is None  # everybody once, all at the same time
        self.is_open = arrivals is not None
        self.planned = workers if self.is_burst else planned
        self.until_s, self.interrupt = until_s, interrupt or threading.Event()
        self.started_ns: int | None = None
        self.full_ns: int | None = None  # the last request was sent: from here on the load only falls
        self.ended_ns: int | None = None
        self.cpu_s = 0.0
        self.beats_late_ns = array("q")  # while streams came in
        self.paused_s = 0.0  # this process itself stood still
        self.slept_s: float | None = None  # the machine slept; None: not known
        self._slept_ns: int | None = None  # awake.slept_ns() at the start
        self.held_s = 0.0  # nothing was sent since too many replies waited to be digested
        self.digest_lag_s = 0.0  # the longest from a reply's end to when it was digested, while others streamed
        self.pool_waits = 0  # requests that were due while every place was taken
        self.never_sent = 0  # requests that were due and still not sent at the end
        self.exchanges: list[wire.Exchange] = []
        self.outcomes: list[Outcome] = []
        self.tally = Tally()
        self._lines, self._owns_lines = lines or wire.Lines(), lines is None
        first = at_once(min(workers, self.planned or workers), ramp_s)
        self._due = arrivals if arrivals is not None else first if self.is_burst else itertools.chain(first, itertools.repeat(ramp_s))
        self._next_due_s = next(self._due, None)
        self._later_s = 0.0 if self.is_open else LATER_S
        self._ahead = 0 if self.is_burst else workers  # requests made ready before a place is free
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self._is_live = True  # streams still come in: read answers gently
        self._busy = 0  # requests that were called and whose threads have not come back
        self._sessions: collections.deque[wire.Session] = collections.deque()  # that no thread uses
        self._gate = threading.RLock()  # of all that follows: places are given by whoever notices that one is free
        self._called: dict[int, Arrival] = {}  # and not sent, by their order
        self._ready: list[Arrival] = []  # those of them that could be sent, a heap
        self._undecided: collections.deque[Arrival] = collections.deque()  # was it due while every place was taken?
        self._making = 0  # threads that make a request ready
        self._next_making = 0.0  # when the next may begin, seconds of time.perf_counter
        self._calls = self._questions = self._numbers = 0
        self._promised = 0  # requests that have left or are called
        self._inside = 0  # threads that carry a request
        self._early: list[tuple[Outcome, Flight]] = []  # ended before anything was due
        self._in_flight = 0  # places taken
        self._freed_ns: collections.deque[int] = collections.deque()  # when each place that was used before became free
        self._last_end_ns = 0
        self._is_closing = False
        self._held_since: int | None = None

    def run(self, observer: Observer | None = None) -> None:
        """Fire, and wait until every request has ended. Raises LoadError when the system gives no threads."""
        observer = observer or Observer()
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(syscalls.short_ticks())
                if self._owns_lines:
                    stack.callback(self._lines.close)
                stack.callback(self._lines.rest)
                self._digests = wire.DigestQueue(self._later_s)
                self._reader = stack.enter_context(wire.Reader(self.limits.kernel_stamps)) if wire.READS_TOGETHER else None
                self._pool = stack.enter_context(ThreadPoolExecutor(self.workers + self._ahead + SPARE_THREADS, "stream"))
                self._run(observer)
        except RuntimeError as error:
            if "new thread" not in str(error):
                raise
            raise LoadError(no_threads(self.workers)) from None
        self.outcomes.sort(key=lambda outcome: outcome.task.number)

    def _run(self, observer: Observer) -> None:
        self._heart = Heart()
        self._interval_s = sys.getswitchinterval()
        try:
            self._prepare(observer)
            gc.collect()
            gc.freeze()  # what is here stays: later collections look at new objects only
            gc.disable()  # one would stop all threads for tens of milliseconds
            if not self.is_burst:
                sys.setswitchinterval(LIVE_SWITCH_S)
            self._cpu_before_s = time.process_time()
            self._conduct(observer)
        except BaseException:
            self._abandon()
            raise
        finally:
            sys.setswitchinterval(self._interval_s)
            gc.enable()
            gc.unfreeze()
            self._heart.stop()
            span = self.started_ns or 0, self.ended_ns or time.perf_counter_ns()
            self.beats_late_ns, self.paused_s = self._heart.late_ns(*span), self._heart.paused_s(*span)

    # -- a request's thread

    def _carry(self, arrival: Arrival) -> None:
        """A question from its asking to its end, and the later turns of its conversation."""
        with self._gate:
            self._inside += 1
        session, before = self._session(), None
        try:
            task = self._ask()
            while task is not None:
                flight = Flight(task, arrival if before is None else None, before, **self._how(task, arrival if before is None else None))
                outcome = self._make(flight, session)
                self._let_go(before)
                before, task = flight, self._following(outcome)
                if task is None:
                    self._rest(outcome)
        finally:
            self._let_go(before)
            arrival.flight = None
            self._sessions.append(session)
            with self._gate:
                self._inside -= 1
            self._events.put(("home", arrival, None))

    def _let_go(self, flight: Flight | None) -> None:
        """It is done; a place that it still holds is free."""
        if flight is not None:
            self._free(flight)
            flight.let_go()

    def _session(self) -> wire.Session:
        with contextlib.suppress(IndexError):
            return self._sessions.pop()
        return wire.Session()

    def _ask(self) -> Task | None:
        """The next question; its number is that of the question until it leaves."""
        with self._gate:
            if self._is_closing:
                return None
            self._questions += 1
            question = self._questions
        return self.source(question)

    def _following(self, outcome: Outcome) -> Task | None:
        """The next turn of a conversation, as the next request."""
        if outcome.task.follow is None or outcome.status != "completed":
            return None
        with self._gate:
            if self._is_closing or self._is_over(time.perf_counter_ns()) or not self._has_room_for_turn():
                return None
            self._promised += 1
        return outcome.task.follow(outcome.task.number, outcome)  # it gets its own when it leaves

    def _has_room_for_turn(self) -> bool:
        """A conversation goes on instead of the question that would come last."""
        if self.is_burst or self.planned is None or self._promised < self.planned:
            return True
        last = max((order for order, arrival in self._called.items() if arrival.flight is None or not arrival.flight.is_told), default=None)
        if last is not None:
            self._drop(self._called[last])
        return last is not None

    def _how(self, task: Task, arrival: Arrival | None) -> dict:
        """What a flight needs of this level."""
        def ready(flight: Flight) -> None:
            if arrival is not None:
                self._events.put(("ready", arrival, flight))
            else:
                self._follow_on(flight)

        is_first = arrival is not None and (self.is_burst or self.is_open or arrival.order <= self.workers)
        return {"kernel_stamps": self.limits.kernel_stamps, "reader": self._reader, "lines": self._lines, "digests": self._digests,
                "on_ready": ready, "on_over": self._over, "needs_line": is_first or not self._lines.keeps(server_key(task.url))}

    def _make(self, flight: Flight, session: wire.Session) -> Outcome:
        """One request, sent as an arrival when that is due, or in the place of the turn before."""
        arrival, outcome = flight.arrival, Outcome(flight.task)
        with self._gate:
            if arrival is not None:
                arrival.flight = flight
                if arrival.order not in self._called:  # it is not needed any more
                    flight.cancel(UNUSED)
        try:
            attempt.make(outcome, session, flight, (lambda: None) if flight.is_urgent else self._pause)
        except Exception as error:  # whatever it is, it is this request's end and no other's
            outcome.status = "client_error"
            outcome.error = f"{type(error).__name__}: {attempt.words(error, flight.task.secret)}"
        if flight.recorder is None and flight.ended_ns is None:  # read live
            flight.ended_ns = time.perf_counter_ns()
            self._over(flight)
        self._note_digested(flight)
        if flight.ended_ns is None:
            flight.ended_ns = flight.intended_ns if flight.sent_ns is None and flight.intended_ns else time.perf_counter_ns()
        outcome.task = flight.task  # as it was numbered
        last_ns = outcome.chunk_ns[-1] if outcome.chunk_ns else 0  # some servers go on after the line that ends a reply
        outcome.ended_ns = max(flight.ended_ns, flight.intended_ns or 0, flight.sent_ns or 0, last_ns)
        if flight.sent_ns is not None and (self.is_burst or self.is_open or flight.is_replacement):
            outcome.send_lag_ns = max(0, flight.sent_ns - flight.intended_ns)
        if self.is_open and arrival is not None:
            outcome.due_ns = flight.due_ns
        self._events.put(("ended", outcome, flight))
        return outcome

    def _rest(self, outcome: Outcome) -> None:
        """Who could not even connect keeps its place for a moment: a server that is gone is not asked without end."""
        if outcome.status in ("refused", "client_error") and not self.is_burst and not self._is_closing:
            self.interrupt.wait(REFUSED_PAUSE_S)

    def _note_digested(self, flight: Flight) -> None:
        if self._is_live and not self.is_burst and flight.ended_ns is not None and flight.sent_ns is not None:
            self.digest_lag_s = max(self.digest_lag_s, (time.perf_counter_ns() - flight.ended_ns) / 1e9)

    def _pause(self) -> None:
        if self._is_live and self._in_flight:
            time.sleep(GENTLE_PAUSE_S / (1 + len(self._digests) / MANY_WAITING))

    # -- places; in whatever thread notices

    def _over(self, flight: Flight) -> None:
        """A reply has ended: its place and its line are free."""
        line = flight.free_line()
        with self._gate:
            self._last_end_ns = max(self._last_end_ns, flight.ended_ns)
            if flight.task.follow is not None and not self._is_closing:  # its place is for the next turn, if there is one
                if line is not None:
                    self._lines.put(line)
                return
            self._give_back_place(flight, flight.ended_ns)
            self._send_due(line)

    def _free(self, flight: Flight) -> None:
        """The same, of one that never was on the wire, or whose conversation does not go on."""
        with self._gate:
            if flight.holds_place:
                self._give_back_place(flight, time.perf_counter_ns() if flight.sent_ns is None else flight.ended_ns)
                self._send_due()

    def _give_back_place(self, flight: Flight, freed_ns: int) -> None:
        flight.holds_place = False
        self._in_flight -= 1
        self._freed_ns.append(freed_ns)
        if not self._in_flight and not self._called and self._next_due_s is None:
            self._digests.hurry()

    def _send_due(self, line: wire.Line | None = None) -> None:
        """Send what is due while places are free; a line that has become free goes to the first."""
        with self._gate:
            now_ns = time.perf_counter_ns()
            if self.started_ns is not None and not self._is_over(now_ns):
                self._decide(now_ns)
                while self._ready and self._in_flight < self.workers and not self._is_closing and self._instant(self._ready[0]) <= now_ns:
                    if self._must_hold():
                        break
                    self._fire(heapq.heappop(self._ready), line)
                    line = None
            if line is not None:
                self._lines.put(line)

    def _is_over(self, now_ns: int) -> bool:
        """Is the time in which requests are sent over?"""
        return self.until_s is not None and self.started_ns is not None and now_ns - self.started_ns >= self.until_s * 1e9

    def _must_hold(self) -> bool:
        """Memory is bounded: nothing is sent while too much waits to be digested."""
        now_ns, holds = time.perf_counter_ns(), not self.is_burst and self._digests.waiting_bytes > MOST_WAITING_BYTES
        if self._held_since is not None:
            self.held_s += (now_ns - self._held_since) / 1e9
        self._held_since = now_ns if holds else None
        return holds

    def _decide(self, now_ns: int) -> None:
        """Which arrivals were due while every place was taken: they wait for the pool, not for this client."""
        while self._undecided and self._instant(self._undecided[0]) <= now_ns:
            arrival = self._undecided.popleft()
            if arrival.order in self._called and self._in_flight >= self.workers:
                arrival.has_waited = True

    def _fire(self, arrival: Arrival, line: wire.Line | None) -> None:
        flight = arrival.flight
        del self._called[arrival.order]
        flight.due_ns = self._instant(arrival)
        freed_ns = self._freed_ns.popleft() if self._freed_ns else 0
        flight.intended_ns, flight.is_replacement = max(flight.due_ns, freed_ns), freed_ns > 0
        self.pool_waits += arrival.has_waited
        self._give_number(flight)
        self._launch(flight, line)

    def _follow_on(self, flight: Flight) -> None:
        """The next turn takes the place of the one before."""
        with self._gate:
            if self._is_closing:
                return flight.cancel(UNUSED)
            flight.intended_ns, flight.is_replacement = flight.before.ended_ns, True
            self._give_number(flight)
            if flight.before.holds_place:
                flight.before.holds_place = False
                self._in_flight -= 1
            self._launch(flight, None)

    def _launch(self, flight: Flight, line: wire.Line | None) -> None:
        flight.holds_place = True
        self._in_flight += 1
        if not self._is_live:  # the next turn of a burst's conversation
            self._is_live = True
            sys.setswitchinterval(self._interval_s)
            self._digests.delay(self._later_s)
        if not flight.is_told:
            self._events.put(("begun", flight.task, flight))
        flight.fire(self._line_for(flight, line))
        self.full_ns = flight.sent_ns or time.perf_counter_ns()

    def _line_for(self, flight: Flight, freed: wire.Line | None) -> wire.Line | None:
        """The line that has just become free, where its server keeps lines; None: its own, or a new one."""
        lines, key = self._lines, flight.key
        if freed is not None:
            if freed.key == key and lines.keeps(key) and freed.is_open():
                return freed
            lines.put(freed)
        return lines.take(key) if flight.line is None and key is not None else None

    def _give_number(self, flight: Flight) -> None:
        """Requests are numbered as they leave."""
        if not flight.is_numbered:
            self._numbers += 1
            flight.is_numbered, flight.task = True, dataclasses.replace(flight.task, number=self._numbers)

    def _instant(self, arrival: Arrival) -> int:
        return self.started_ns + int(arrival.due_s * 1e9)

    def _drop(self, arrival: Arrival) -> None:
        """It was called and is not sent."""
        if self._called.pop(arrival.order, None) is not None:
            self._promised -= 1
        if arrival in self._ready:
            self._ready.remove(arrival)
            heapq.heapify(self._ready)
        if arrival.flight is not None:
            arrival.flight.cancel(UNUSED)

    # -- the conductor

    def _call(self, until_s: float, most: int) -> None:
        """Have the requests made ready that are due by then, so many at a time."""
        while self._next_due_s is not None and self._next_due_s <= until_s:
            with self._gate:
                late = self._is_closing or self.until_s is not None and self._next_due_s >= self.until_s
                if late or self.planned is not None and self._promised >= self.planned:
                    self._next_due_s = None
                    return
                if self._making >= most or not self._has_room() or self._next_making > time.perf_counter():
                    return
                arrival = self._next_arrival()
                if self.started_ns is not None and not self.is_open:  # the fewer are ready, the sooner
                    self._next_making = time.perf_counter() + MAKING_PAUSE_S * len(self._ready) / (self._ahead or 1)
            try:
                self._pool.submit(self._carry, arrival)
            except RuntimeError:  # no thread more: another will do it, where there are enough
                if self.started_ns is None and self._calls <= self.workers:
                    raise

    def _has_room(self) -> bool:
        """May one more request be made ready?"""
        return len(self._called) < self._ahead + max(0, self.workers - self._in_flight)

    def _next_arrival(self) -> Arrival:
        self._calls += 1
        arrival = Arrival(self._calls, self._next_due_s)
        if self.is_open and self.started_ns is not None and self._instant(arrival) <= time.perf_counter_ns():
            arrival.has_waited = self._in_flight >= self.workers
        elif self.is_open:
            self._undecided.append(arrival)
        self._called[arrival.order] = arrival
        self._making += 1
        self._busy += 1
        self._promised += 1
        self._next_due_s = next(self._due, None)
        return arrival

    def _prepare(self, observer: Observer) -> None:
        """Make ready what is due at once, and what replaces it; number it and tell it."""
        until = time.monotonic() + READY_S
        self._call(CONNECT_AHEAD_S, sys.maxsize)
        while self._making and time.monotonic() < until and not self.interrupt.is_set():
            with contextlib.suppress(queue.Empty):
                kind, what, flight = self._events.get(timeout=TICK_S)
                if kind == "ended":
                    self._early.append((what, flight))
                else:
                    self._note(kind, what, flight, observer)
        if self.is_open:  # where a request that is ready may never be sent
            return
        self.exchanges = [arrival.flight for arrival in sorted(self._ready) if arrival.order <= self.workers]
        for flight in self.exchanges:
            self._give_number(flight)
            flight.is_told = True
        observer.ready([flight.task for flight in self.exchanges])

    def _note(self, kind: str, what, flight, observer: Observer) -> None:
        if kind == "ready":
            with self._gate:
                self._making -= 1
                what.is_ready = True
                if what.order not in self._called or self._is_closing:
                    flight.cancel(UNUSED)
                else:
                    heapq.heappush(self._ready, what)
        elif kind == "begun":
            self.exchanges.append(flight)
            observer.begun(what)
        elif kind == "ended":
            self._note_end(what, flight, observer)
        else:
            self._busy -= 1
            with self._gate:
                self._making -= not what.is_ready
                self._called.pop(what.order, None)

    def _note_end(self, outcome: Outcome, flight: Flight, observer: Observer) -> None:
        if not self.is_burst:
            with contextlib.suppress(ValueError):
                self.exchanges.remove(flight)
        if flight.intended_ns is None:  # it was never sent
            if flight.cancelled == UNUSED:
                return
            self._note_unsent(outcome, flight)
        if self.is_burst:
            self.outcomes.append(outcome)
        self.tally.add(outcome, self._heart.pauses)
        observer.ended(outcome)

    def _note_unsent(self, outcome: Outcome, flight: Flight) -> None:
        """It ended before it could be sent, by an error of our own or an interruption."""
        with self._gate:
            self._give_number(flight)
        outcome.task = flight.task
        outcome.ended_ns = max(outcome.ended_ns, self.started_ns)

    def _conduct(self, observer: Observer) -> None:
        """Send what is due, collect what ended, look around four times a second."""
        syscalls.wake_in_time()
        self._slept_ns, self.started_ns = awake.slept_ns(), time.perf_counter_ns()
        for outcome, flight in self._early:
            self._note_end(outcome, flight, observer)
        next_tick = time.perf_counter() + (0.0 if self.interrupt.is_set() else TICK_S)
        while self._busy or self._next_due_s is not None:
            if time.perf_counter() >= next_tick or self._is_over(time.perf_counter_ns()) and not self._is_closing:
                self._look(time.perf_counter_ns())
                next_tick = time.perf_counter() + TICK_S
                observer.tick(self)
                if not self.is_burst and gc.get_count()[0] > MOST_GARBAGE:
                    gc.collect()
            self._send_due()
            self._call((time.perf_counter_ns() - self.started_ns) / 1e9 + CONNECT_AHEAD_S, MAKING_AT_ONCE)
            with contextlib.suppress(queue.Empty):
                wake_at = self._wake_at(next_tick) - (EARLY_S if self.is_open else 0.0)
                self._note(*self._events.get(timeout=max(0.0, wake_at - time.perf_counter())), observer)
            self._notice_end()
        self._notice_end()
        observer.tick(self)

    def _abandon(self) -> None:
        """The level failed: cut all, so that no thread waits for ever."""
        self._close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._digests.hurry()
        while self._inside:
            for flight in list(self.exchanges):
                flight.cancel("the run failed")
            with contextlib.suppress(queue.Empty):
                kind, _, flight = self._events.get(timeout=TICK_S)
                if kind in ("ready", "begun"):
                    flight.cancel("the run failed")

    def _wake_at(self, next_tick: float) -> float:
        """When the conductor has something to do, unless an event comes before; seconds of time.perf_counter."""
        if self._is_closing:
            return next_tick
        due_s = [self.until_s] if self.until_s is not None else []
        with self._gate:
            if self._next_due_s is not None and self._making < MAKING_AT_ONCE and self._has_room():
                due_s.append(max(self._next_due_s - CONNECT_AHEAD_S, self._next_making - self.started_ns / 1e9))
            if self._ready and self._in_flight < self.workers and self._held_since is None:
                due_s.append(self._ready[0].due_s)
            if self._undecided:
                due_s.append(self._undecided[0].due_s)
        return min([next_tick, *(self.started_ns / 1e9 + second for second in due_s)])

    def _look(self, now_ns: int) -> None:
        """Stop sending when the time is over; cut what stalls, and all at the deadline or when interrupted."""
        limits, passed_s = self.limits, (now_ns - self.started_ns) / 1e9
        if self._reader is not None and self._reader.death is not None:
            raise LoadError(f"the thread that receives has died: {self._reader.death!r}")
        if self._reader is not None and self._reader.failure is not None:
            raise self._reader.failure
        self._digests.look()
        if self.interrupt.is_set() or limits.deadline_s and passed_s > limits.deadline_s:
            why = "interrupted" if self.interrupt.is_set() else f"deadline of {limits.deadline_s:g} s"
            self._close()
            for exchange in list(self.exchanges):
                exchange.cancel(why)
            return
        if self._is_over(now_ns):
            self._close()
        if limits.stall_s is not None:
            self._cut_stalled(now_ns, now_ns - int(limits.stall_s * 1e9))

    def _close(self) -> None:
        """No further request: nobody is called, and what was ready is not sent."""
        with self._gate:
            if self._is_closing:
                return
            self._is_closing = True
            passed_s = (time.perf_counter_ns() - self.started_ns) / 1e9 if self.started_ns else 0.0
            if self.is_open:
                self._count_never_sent(passed_s)
            self._next_due_s = None
            self._undecided.clear()
            for arrival in list(self._called.values()):
                self._drop(arrival)

    def _count_never_sent(self, passed_s: float) -> None:
        """Requests that were due and not sent: by the pool's size, else by this client, which then was as late as it is now."""
        passed_s = passed_s if self.until_s is None else min(passed_s, self.until_s)
        is_full = self._in_flight >= self.workers
        waits = [(arrival.due_s, arrival.has_waited or is_full) for arrival in self._called.values() if arrival.due_s <= passed_s]
        room = self.planned - self._promised if self.planned is not None else sys.maxsize
        while self._next_due_s is not None and self._next_due_s <= passed_s and room > 0:  # they were not even called
            waits.append((self._next_due_s, is_full))
            self._next_due_s, room = next(self._due, None), room - 1
        self.never_sent = len(waits)
        self.pool_waits += sum(waited for _, waited in waits)
        self.tally.add_unsent(int((passed_s - due_s) * 1e9) for due_s, waited in waits if not waited)

    def _cut_stalled(self, now_ns: int, silent_ns: int) -> None:
        """A stream is stalled when it has begun and is silent; one that only waits, when all are."""
        heard = [now_ns if exchange.pauses else exchange.last_read_ns or 0 for exchange in self.exchanges]
        since_ns = max(self.full_ns or self.started_ns, self._heart.last_pause_end_ns)  # while we stood still nobody could be heard
        all_silent = max([*heard, since_ns]) < silent_ns
        for exchange, last in zip(list(self.exchanges), heard):
            if exchange.sent_ns is not None and exchange.ended_ns is None and (0 < last and max(last, self._heart.last_pause_end_ns) < silent_ns or all_silent):
                exchange.cancel(f"stalled: nothing for {self.limits.stall_s:g} s")

    def _notice_end(self) -> None:
        """The last stream has ended: what is left is reading at full speed."""
        with self._gate:
            if not self._is_live or self._in_flight or self._called or self._next_due_s is not None:
                return
            self._is_live = False
        sys.setswitchinterval(READING_SWITCH_S)
        self._digests.hurry()
        self.cpu_s = time.process_time() - self._cpu_before_s
        self.ended_ns = max(self.started_ns, self._last_end_ns)
        self.slept_s = awake.slept_s(self._slept_ns, awake.slept_ns())

    # -- afterwards

    def steady_figures(self) -> dict:
        """The columns of the table level that say which part of it was steady; {} where there is none."""
        window = None if self.is_burst else self.tally.steady_window(self.workers, self.is_open)
        return dict(zip(("steady_start_ns", "steady_end_ns"), window)) if window else {}

    def client_figures(self) -> dict:
        """The columns of the table level that say how exact this client was."""
        kind = "burst" if self.is_burst else "open" if self.is_open else "closed"
        wall_s = ((self.ended_ns or time.perf_counter_ns()) - self.started_ns) / 1e9  # 0 where all had failed before
        return self.tally.client_figures(kind, self.workers, wall_s, self.cpu_s, self.beats_late_ns, self.paused_s, self.held_s,
                                         None if self.is_burst else self.digest_lag_s, self.slept_s)


def server_key(url: str) -> tuple:
    """What wire.py calls the server of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


class Burst(Load):
    """The tasks of a list, all at once."""

    def __init__(self, tasks: list[Task], limits: Limits, interrupt: threading.Event | None = None, lines: wire.Lines | None = None) -> None:
        super().__init__(lambda number: tasks[number - 1], limits, len(tasks), interrupt=interrupt, lines=lines)


class Heart:
    """A thread that only sleeps; how late it wakes is how late any thread here can be.

    A beat that comes very late, by the clock that goes on while the machine sleeps, means that this
    process stood still: ``pauses`` holds (from, to) of each, instants of time.perf_counter_ns.
    """

    def __init__(self) -> None:
        self._at_ns, self._late_ns = array("q"), array("q")
        self.pauses: list[tuple[int, int]] = []
        self._paused_ns: list[tuple[int, int]] = []  # when each ended, and how long it was
        self.last_pause_end_ns = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._is_over:
            before, going_before = time.perf_counter_ns(), awake.continuous_ns()
            time.sleep(HEARTBEAT_S)
            now = time.perf_counter_ns()
            late_ns = now - before - int(HEARTBEAT_S * 1e9)
            still_ns = max(late_ns, awake.continuous_ns() - going_before - int(HEARTBEAT_S * 1e9))
            if still_ns > STOOD_STILL_S * 1e9:
                self.pauses.append((before, now))
                self._paused_ns.append((now, still_ns))
                self.last_pause_end_ns = now
            self._at_ns.append(now)
            self._late_ns.append(max(0, late_ns))

    def late_ns(self, from_ns: int, until_ns: int) -> array:
        """How late each beat was that came in that time."""
        return self._late_ns[bisect.bisect_left(self._at_ns, from_ns) : bisect.bisect_right(self._at_ns, until_ns)]

    def paused_s(self, from_ns: int, until_ns: int) -> float:
        """How long this process stood still in that time, seconds."""
        return sum(long for (start, end), (_, long) in zip(self.pauses, self._paused_ns) if end >= from_ns and start <= until_ns) / 1e9

    def stop(self) -> None:
        self._is_over = True
        self._thread.join()


def no_threads(workers: int) -> str:
    """Which limit keeps a level from its threads, in one line."""
    limits = []
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        if soft != resource.RLIM_INFINITY:
            limits.append(f"ulimit -u is {soft}")
    for path in ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"):
        with contextlib.suppress(OSError):
            with open(path, encoding="ascii") as file:
                if (most := file.read().strip()) != "max":
                    limits.append(f"pids.max of the container is {most}")
                    break
    told = " and ".join(limits) or "no limit of its own is set; memory may be short"
    return f"level {workers} needs {workers} threads and the system gave no more: {told}; raise it, or fire fewer at once"
