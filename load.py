"""load.py - when is the next request sent, and who is cut: one level, from its first byte to its last.

    level = load.Load(source, limits, workers=19)                  # a burst
    level = load.Load(source, limits, workers=19, planned=200)     # a closed loop: a finished one is replaced
    level = load.Load(source, limits, workers=64, arrivals=load.poisson(5.0, seed=1), until_s=60)   # an open loop
    level.run(observer)          # returns when every request has ended
    level.client_figures()       # how exact this client was

A worker's stream is received for it while it sleeps (see wire.py). What the answers say is
read one stream at a time: gently while others still stream, at full speed afterwards.
"""
from __future__ import annotations

import bisect
import contextlib
import dataclasses
import gc
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

import attempt
import wire
from attempt import Limits, Outcome, Task
from tally import Tally

READY_S = 60.0  # for all connections of a level to be made
CONNECT_AHEAD_S = 0.2  # a request is connected so long before it is due: servers close who is silent (llama-server after 5 s)
TICK_S = 0.25  # how often the watchdog looks and the console may draw
REFUSED_PAUSE_S = 0.25  # before a worker that could not even connect tries the next request
READING_SWITCH_S = 0.1  # nothing is urgent any more: the writer's many short turns would only cost
LATER_S = 0.25  # streams sent together often end together: a burst's answer is read for what it says so long after its end
GENTLE_PAUSE_S = 0.002  # while others stream, who reads an answer gives up the interpreter's lock for so long
HEARTBEAT_S = 0.02  # a thread that only sleeps shows how late a thread can wake
UNUSED = "not needed any more"  # a connected worker whose request was never sent


class Observer:
    """What a level tells while it runs; all calls come from the thread that called run()."""

    def ready(self, tasks: list[Task]) -> None:
        """Every first connection is made, nothing is sent yet."""

    def begun(self, task: Task) -> None:
        """A later request begins."""

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
    """A request that has its time: the conductor calls it, a worker takes it and connects, the conductor fires it."""

    number: int
    due_s: float
    is_taken: bool = False
    waited: bool = False  # it was due before a worker was free
    exchange: wire.Exchange | None = None  # once it could be fired


class Load:
    """A level: at most ``workers`` requests in flight.

    ``source(n)`` makes the task of the n-th question, from 1 on. Without ``planned`` and ``until_s``
    every worker asks one: a burst. ``planned`` ends the level after so many requests, ``until_s``
    sends none after so many seconds; what is in flight then may finish. A worker that is done
    asks the next at once (a closed loop), unless ``arrivals`` gives the second at which each is
    due (an open loop). ``ramp_s`` spreads the first requests of the workers. ``interrupt`` is an
    Event that cancels all.

    ``exchanges`` (those in flight; in a burst all) and ``tally`` may be looked at while it runs.
    ``outcomes`` holds those of a burst, by their number; a load that goes on keeps none.
    """

    def __init__(self, source: Callable[[int], Task], limits: Limits, workers: int, *, arrivals: Iterator[float] | None = None,
                 ramp_s: float = 0.0, planned: int | None = None, until_s: float | None = None,
                 interrupt: threading.Event | None = None) -> None:
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
        self.pool_waits = 0  # requests that were due while every worker was busy
        self.never_sent = 0  # those of them that still waited at the end
        self.exchanges: list[wire.Exchange] = []
        self.outcomes: list[Outcome] = []
        self.tally = Tally()
        self._due = arrivals if arrivals is not None else at_once(min(workers, self.planned or workers), ramp_s)
        self._next_due_s = next(self._due, None)
        self._calls: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._called: list[Arrival] = []  # and not sent, in the order of their due times
        self._told: set[int] = set()  # numbers of the requests that the observer knew before they were fired
        self._numbers = self._questions = 0
        self._live = True  # streams still come in: read answers gently
        self._closing = self._all_called = False
        self._lock = threading.Lock()  # of _numbers and _questions
        self._turn = threading.Lock()  # one answer at a time is read for what it says
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self._busy = workers  # workers that have not gone home

    def run(self, observer: Observer | None = None) -> None:
        """Fire, and wait until every request has ended."""
        observer = observer or Observer()
        reading = wire.Reader(LATER_S if self.is_burst else 0.0) if wire.READS_TOGETHER else contextlib.nullcontext()
        with reading as self._reader, ThreadPoolExecutor(self.workers, "stream") as pool:
            self._call(CONNECT_AHEAD_S)
            for _ in range(self.workers):
                pool.submit(self._work)
            early = self._prepare(observer)
            heart = Heart()
            gc.collect()
            gc.freeze()  # what is here stays: later collections look at new objects only
            if self.is_burst:
                gc.disable()
            self._interval_s = sys.getswitchinterval()
            try:
                self._cpu_before_s = time.process_time()
                self.started_ns = time.perf_counter_ns()
                self._conduct(observer, early)
            except BaseException:
                self._abandon()
                raise
            finally:
                sys.setswitchinterval(self._interval_s)
                gc.enable()
                gc.unfreeze()
                heart.stop()
                self.beats_late_ns = heart.late_ns(self.ended_ns or time.perf_counter_ns())
        self.outcomes.sort(key=lambda outcome: outcome.task.number)

    # -- the workers

    def _work(self) -> None:
        """A worker's whole life: one request after the other on a session of its own."""
        session = wire.session()
        try:
            while (arrival := self._calls.get()) is not None:
                self._take(arrival)
                task = self._ask(arrival.number)
                while task is not None:
                    outcome = self._make(task, session, arrival)
                    arrival = None
                    if outcome.status in ("refused", "client_error") and not self.is_burst:
                        time.sleep(REFUSED_PAUSE_S)
                    task = self._following(task, outcome)
        finally:
            session.close()
            self._events.put(("home", None, None))

    def _take(self, arrival: Arrival) -> None:
        arrival.is_taken = True
        arrival.waited = self.is_open and self.started_ns is not None and time.perf_counter_ns() > self._instant(arrival)

    def _ask(self, number: int) -> Task:
        """The next question, as the request of that number."""
        with self._lock:
            self._questions += 1
            question = self._questions
        task = self.source(question)
        return task if task.number == number else dataclasses.replace(task, number=number)

    def _following(self, task: Task, outcome: Outcome) -> Task | None:
        """What this worker asks without being called: the next turn of its conversation, or in a closed loop the next question."""
        goes_on = task.follow is not None and outcome.status == "completed"
        if self._closing or not goes_on and (self.is_burst or self.is_open or self._is_late()):
            return None
        if (number := self._number()) is None:
            return None
        return task.follow(number, outcome) if goes_on else self._ask(number)

    def _number(self) -> int | None:
        """The next request's number; None when there are as many as were planned."""
        with self._lock:
            if not self.is_burst and self.planned is not None and self._numbers >= self.planned:
                return None
            self._numbers += 1
            return self._numbers

    def _is_late(self) -> bool:
        """Is the time in which requests are sent over?"""
        return self.until_s is not None and self.started_ns is not None and time.perf_counter_ns() - self.started_ns >= self.until_s * 1e9

    def _make(self, task: Task, session, arrival: Arrival | None) -> Outcome:
        """One request; an arrival is held until the conductor fires it."""
        outcome = Outcome(task, waited=arrival is not None and arrival.waited)

        def ready(exchange: wire.Exchange) -> None:
            self._events.put(("ready", arrival, exchange))

        exchange = wire.Exchange(arrival is not None, self.limits.kernel_stamps, ready, self._turn, self._reader)
        exchange.task = task
        if arrival is None:
            self._events.put(("begun", task, exchange))
        try:
            attempt.make(outcome, session, exchange, self._pause)
        except Exception as error:  # whatever it is, it is this request's end and no other's
            outcome.status, outcome.error = "client_error", f"{type(error).__name__}: {error}"[:500]
        if arrival is not None and exchange.sent_ns is None:
            self._wait_until_due(outcome, arrival)
        if exchange.ended_ns is None:
            exchange.ended_ns = time.perf_counter_ns()
        outcome.ended_ns = max(outcome.ended_ns or exchange.ended_ns, outcome.intended_ns or 0, outcome.sent_ns or 0)
        if self.is_open:
            outcome.due_ns = outcome.intended_ns
        self._events.put(("ended", (arrival, outcome), exchange))
        return outcome

    def _wait_until_due(self, outcome: Outcome, arrival: Arrival) -> None:
        """A request that could not even connect, or was hung up on, has failed when it was due, and not before."""
        if self.is_open and self.started_ns is not None:
            outcome.intended_ns = self._instant(arrival)
            time.sleep(max(0.0, (outcome.intended_ns - time.perf_counter_ns()) / 1e9))

    def _instant(self, arrival: Arrival) -> int:
        return self.started_ns + int(arrival.due_s * 1e9)

    def _pause(self) -> None:
        if self._live and self.workers > 1 and not (self.is_burst and self._all_ended()):
            time.sleep(GENTLE_PAUSE_S)

    def _all_ended(self) -> bool:
        return all(exchange.ended_ns is not None for exchange in self.exchanges)

    # -- the conductor

    def _call(self, until_s: float) -> None:
        """Call whoever is due by then; send the workers home that nobody will call any more."""
        while self._next_due_s is not None and self._next_due_s <= until_s:
            late = self.until_s is not None and self._next_due_s >= self.until_s
            number = None if late or self._closing else self._number()
            if number is None:
                self._next_due_s = None
                break
            arrival = Arrival(number, self._next_due_s)
            self._called.append(arrival)
            self._calls.put(arrival)
            self._next_due_s = next(self._due, None)
        if self._next_due_s is None:
            self._call_no_more()

    def _call_no_more(self) -> None:
        """Send every worker home once it has taken what was called before."""
        if not self._all_called:
            self._all_called = True
            for _ in range(self.workers):
                self._calls.put(None)

    def _prepare(self, observer: Observer) -> list[tuple[Arrival, Outcome]]:
        """Wait until each request that is due at once is connected or has failed; those that have failed."""
        until, failed = time.monotonic() + READY_S, []
        first = list(self._called)
        waiting = min(len(first), self.workers)
        while waiting:
            try:
                kind, what, exchange = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            self._note(kind, what, exchange)
            waiting -= kind == "ready" or kind == "ended" and what[0] is not None and what[0].exchange is None  # a ready one may be hung up on
            if kind == "ended":
                failed.append(what)
        self.exchanges.sort(key=lambda exchange: exchange.task.number)
        tasks = [arrival.exchange.task for arrival in self._called if arrival.exchange is not None] + [outcome.task for _, outcome in failed]
        if not self.is_open:  # where a connected request may never be sent
            observer.ready(tasks)
            self._told = {task.number for task in tasks}
        return failed

    def _note(self, kind: str, what, exchange) -> None:
        if kind == "ready":
            what.exchange = exchange
            self.exchanges.append(exchange)
            if self._closing:
                exchange.cancel(UNUSED)
        elif kind == "begun":
            self.exchanges.append(exchange)
            if not self._live:  # the next turn of a burst's conversation
                self._live = True
                sys.setswitchinterval(self._interval_s)
        elif kind == "ended":
            self._note_end(*what, exchange)
        else:
            self._busy -= 1

    def _note_end(self, arrival: Arrival | None, outcome: Outcome, exchange: wire.Exchange) -> None:
        if arrival in self._called:  # it ended before it was fired
            self._called.remove(arrival)
            self.pool_waits += arrival.waited
        if self.is_burst:
            if exchange not in self.exchanges:
                self.exchanges.append(exchange)  # it failed before it was ready
            if exchange.cancelled != UNUSED:
                self.outcomes.append(outcome)
        elif exchange in self.exchanges:
            self.exchanges.remove(exchange)

    def _conduct(self, observer: Observer, early: list[tuple[Arrival, Outcome]]) -> None:
        """Send what is due, collect what ended, look around four times a second; ``early`` has failed before anything was due."""
        for arrival, outcome in early:
            if self.is_open:
                outcome.due_ns = outcome.intended_ns = self._instant(arrival)
            outcome.ended_ns = max(outcome.ended_ns, outcome.due_ns or self.started_ns)
            self._end(observer, outcome)
        next_tick = time.perf_counter() + TICK_S
        while self._busy:
            self._fire_due(observer)
            try:
                kind, what, exchange = self._events.get(timeout=max(0.0, self._wake_at(next_tick) - time.perf_counter()))
            except queue.Empty:
                pass
            else:
                self._note(kind, what, exchange)
                if kind == "begun":
                    observer.begun(what)
                elif kind == "ended" and exchange.cancelled != UNUSED:
                    self._end(observer, what[1])
            if time.perf_counter() >= next_tick:
                next_tick = time.perf_counter() + TICK_S
                self._look(time.perf_counter_ns())
                observer.tick(self)
            self._notice_end()
        observer.tick(self)

    def _abandon(self) -> None:
        """The observer failed: cut all, so that no worker waits for ever."""
        self._close()
        while self._busy:
            for exchange in list(self.exchanges):
                exchange.cancel("the run failed")
            with contextlib.suppress(queue.Empty):
                self._note(*self._events.get(timeout=TICK_S))

    def _end(self, observer: Observer, outcome: Outcome) -> None:
        self.tally.add(outcome)
        observer.ended(outcome)

    def _wake_at(self, next_tick: float) -> float:
        """When the conductor has something to do, unless an event comes before; seconds of time.perf_counter."""
        started_s, wake_at = self.started_ns / 1e9, next_tick
        if self._next_due_s is not None:
            wake_at = min(wake_at, started_s + self._next_due_s - CONNECT_AHEAD_S)
        waiting = next((arrival.due_s for arrival in self._called if arrival.exchange is not None), None)
        return wake_at if waiting is None else min(wake_at, started_s + waiting)

    def _fire_due(self, observer: Observer) -> None:
        """Call who will soon be due; fire every request whose time has come and that is connected."""
        self._call((time.perf_counter_ns() - self.started_ns) / 1e9 + CONNECT_AHEAD_S)
        left: list[Arrival] = []
        for place, arrival in enumerate(self._called):
            if not arrival.is_taken or time.perf_counter_ns() < self._instant(arrival):
                left += self._called[place:]  # nor are those after it
                break
            if arrival.exchange is None:
                left.append(arrival)
            else:
                self._fire(observer, arrival)
        self._called = left

    def _fire(self, observer: Observer, arrival: Arrival) -> None:
        exchange = arrival.exchange
        exchange.intended_ns = self._instant(arrival)
        exchange.fire()
        self.full_ns = exchange.sent_ns
        self.pool_waits += arrival.waited
        if arrival.number not in self._told:
            observer.begun(exchange.task)

    def _look(self, now_ns: int) -> None:
        """Stop sending when the time is over; cut what stalls, and all at the deadline or when interrupted."""
        limits, passed_s = self.limits, (now_ns - self.started_ns) / 1e9
        if self.interrupt.is_set() or limits.deadline_s and passed_s > limits.deadline_s:
            why = "interrupted" if self.interrupt.is_set() else f"deadline of {limits.deadline_s:g} s"
            self._close()
            for exchange in list(self.exchanges):
                exchange.cancel(why)
        elif self._is_late() and not self._closing:
            self._close()
        elif limits.stall_s is not None:
            self._cut_stalled(now_ns, now_ns - int(limits.stall_s * 1e9))

    def _close(self) -> None:
        """No further request: nobody is called, and who was not fired goes home."""
        if self._closing:
            return
        self._closing, self._next_due_s = True, None
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        passed_s = (time.perf_counter_ns() - self.started_ns) / 1e9
        self.never_sent = sum(arrival.due_s <= passed_s for arrival in self._called)
        self.pool_waits += self.never_sent
        for arrival in self._called:
            if arrival.exchange is not None:
                arrival.exchange.cancel(UNUSED)
        self._called, self._all_called = [], False
        self._call_no_more()

    def _cut_stalled(self, now_ns: int, silent_ns: int) -> None:
        """A stream is stalled when it has begun and is silent; one that only waits, when all are."""
        heard = [now_ns if exchange.digests else exchange.last_read_ns or 0 for exchange in self.exchanges]
        all_silent = max([*heard, self.full_ns or self.started_ns]) < silent_ns
        for exchange, last in zip(list(self.exchanges), heard):
            if exchange.sent_ns is not None and exchange.ended_ns is None and (0 < last < silent_ns or all_silent):
                exchange.cancel(f"stalled: nothing for {self.limits.stall_s:g} s")

    def _notice_end(self) -> None:
        """The last stream has ended: what is left is reading at full speed."""
        over = self.is_burst or self.is_open or self._closing or self.planned is not None and self._numbers >= self.planned
        if self._live and over and not self._called and self._next_due_s is None and self._all_ended():
            self._live = False
            sys.setswitchinterval(READING_SWITCH_S)
            self.cpu_s = time.process_time() - self._cpu_before_s
            self.ended_ns = max(self.started_ns, max((exchange.ended_ns for exchange in self.exchanges), default=time.perf_counter_ns()))

    # -- afterwards

    def steady_figures(self) -> dict:
        """The columns of the table level that say which part of it was steady; {} where there is none."""
        window = None if self.is_burst else self.tally.steady_window(self.workers, self.is_open)
        return dict(zip(("steady_start_ns", "steady_end_ns"), window)) if window else {}

    def client_figures(self) -> dict:
        """The columns of the table level that say how exact this client was."""
        wall_s = ((self.ended_ns or time.perf_counter_ns()) - self.started_ns) / 1e9  # 0 where all had failed before
        return self.tally.client_figures(self.is_burst, wall_s, self.cpu_s, self.beats_late_ns)


class Burst(Load):
    """The tasks of a list, all at once."""

    def __init__(self, tasks: list[Task], limits: Limits, interrupt: threading.Event | None = None) -> None:
        super().__init__(lambda number: tasks[number - 1], limits, len(tasks), interrupt=interrupt)


class Heart:
    """A thread that only sleeps; how late it wakes is how late any thread here can be."""

    def __init__(self) -> None:
        self._at_ns, self._late_ns = array("q"), array("q")
        self._is_over = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._is_over:
            due = time.perf_counter_ns() + int(HEARTBEAT_S * 1e9)
            time.sleep(HEARTBEAT_S)
            now = time.perf_counter_ns()
            self._at_ns.append(now)
            self._late_ns.append(max(0, now - due))

    def late_ns(self, until_ns: int) -> array:
        """How late each beat was that came by then."""
        return self._late_ns[: bisect.bisect_right(self._at_ns, until_ns)]

    def stop(self) -> None:
        self._is_over = True
        self._thread.join()
