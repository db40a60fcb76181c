"""load.py - when is the next request sent, and who is cut: one level, from its first byte to its last.

    level = load.Load(source, limits, workers=19)                  # a burst
    level = load.Load(source, limits, workers=19, planned=200)     # a closed loop: a finished one is replaced
    level = load.Load(source, limits, workers=64, due=load.poisson(5.0, seed=1), until_s=60)   # an open loop
    level.run(observer)          # returns when every request has ended
    level.client_figures()       # how exact this client was

Worker threads only receive bytes and note instants (see wire.py). What the answers say is
read one stream at a time: gently while others still stream, at full speed afterwards.
"""
from __future__ import annotations

import bisect
import collections
import contextlib
import gc
import itertools
import queue
import random
import sys
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator

import attempt
import wire
from attempt import Limits, Outcome, Task

READY_S = 60.0  # for all connections of a level to be made
TICK_S = 0.25  # how often the watchdog looks and the console may draw
REFUSED_PAUSE_S = 0.25  # before a worker that could not even connect tries the next request
GENTLE_PAUSE_S = 0.002  # while others stream, who reads an answer gives up the interpreter's lock for so long
SWITCH_S = 0.1  # how often a thread that waits for the interpreter asks for it: at Python's 5 ms hundreds of
# waiting readers wake each other so much that they fill two cores and fall behind for seconds
HEARTBEAT_S = 0.02  # a thread that only sleeps shows how late a thread can wake
P95_FLOOR, P99_FLOOR = 20, 100  # values a percentile needs, as in schema.sql
RESAMPLES, MANY = 1000, 500  # of a bootstrap, a tenth of it from so many values on
UNUSED = "not needed any more"  # a connected worker whose request was never sent

CPU_LIMIT_RATIO = 0.9  # of one core: the interpreter runs one thread at a time
SEND_LAG_LIMIT_S = 0.05  # a burst that takes longer to leave is no burst
READ_LAG_LIMIT_S = 0.01  # stamps of our own that are this late at p99 spoil inter-token times
KEEP_UP_LIMIT_S = 0.25  # with the kernel's stamps lateness is harmless until the buffers fill


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


class Load:
    """A level: at most ``workers`` requests in flight.

    ``source(number)`` makes the task of each number from 1 on. ``due`` gives the second at
    which each request should leave; a request beyond its end leaves as soon as a worker is
    free. Without ``planned`` and ``until_s`` every worker makes one request: a burst.
    ``planned`` ends it after so many requests, ``until_s`` sends none after so many seconds;
    what is in flight then may finish. ``interrupt`` is an Event that cancels all.

    ``exchanges`` (those in flight; in a burst all) may be looked at while it runs.
    """

    def __init__(self, source: Callable[[int], Task], limits: Limits, workers: int, *,
                 due: Iterator[float] | None = None, planned: int | None = None, until_s: float | None = None,
                 interrupt: threading.Event | None = None) -> None:
        self.source, self.limits, self.workers = source, limits, workers
        self.is_burst = planned is None and until_s is None  # everybody once, all at the same time
        self.planned = workers if self.is_burst else planned
        self.until_s, self.interrupt = until_s, interrupt or threading.Event()
        self.started_ns: int | None = None
        self.full_ns: int | None = None  # the last request was sent: from here on the load only falls
        self.ended_ns: int | None = None
        self.cpu_s = 0.0
        self.beats_late_ns = array("q")
        self.pool_waits = 0  # requests that were due while every worker was busy
        self.exchanges: list[wire.Exchange] = []
        self.outcomes: list[Outcome] = []
        self._due = due if due is not None else at_once(workers)
        self._is_open = due is not None and not self.is_burst
        self._live = True  # streams still come in: read answers gently
        self._numbers = 0
        self._closing = False
        self._lock = threading.Lock()  # of _numbers
        self._turn = threading.Lock()  # one answer at a time is read for what it says
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self._ready: collections.deque[wire.Exchange] = collections.deque()
        self._busy = workers  # workers that have not gone home

    def run(self, observer: Observer | None = None) -> None:
        """Fire, and wait until every request has ended."""
        observer = observer or Observer()
        reading = wire.Reader() if wire.READS_TOGETHER else contextlib.nullcontext()
        with reading as self._reader, ThreadPoolExecutor(self.workers, "stream") as pool:
            for _ in range(self.workers):
                pool.submit(self._work)
            first = self._first_tasks()
            observer.ready([] if self._is_open else first)  # in an open loop a connected request may never be sent
            heart = Heart(self.beats_late_ns)
            gc.collect()
            gc.freeze()  # what is here stays: later collections look at new objects only
            if self.is_burst:
                gc.disable()
            interval_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            try:
                self._cpu_before_s = time.process_time()
                self.started_ns = time.perf_counter_ns()
                self._conduct(observer)
            finally:
                sys.setswitchinterval(interval_s)
                gc.enable()
                gc.unfreeze()
                heart.stop()
        self.outcomes.sort(key=lambda outcome: outcome.task.number)

    # -- the workers

    def _work(self) -> None:
        """A worker's whole life: one request after the other on a session of its own."""
        session = wire.session()
        try:
            task = self._next()
            while task is not None:
                outcome, exchange = self._make(task, session)
                self._events.put(("ended", outcome, exchange))
                if outcome.status in ("refused", "client_error") and not self.is_burst:
                    time.sleep(REFUSED_PAUSE_S)
                task = task.follow(self._number(), outcome) if self._goes_on(task, outcome) else self._next()
        finally:
            session.close()
            self._events.put(("home", None, None))

    def _number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def _next(self) -> Task | None:
        with self._lock:
            if self._closing or self._is_late() or self.planned is not None and self._numbers >= self.planned:
                return None
            self._numbers += 1
            number = self._numbers
        return self.source(number)

    def _is_late(self) -> bool:
        """Is the time in which requests are sent over?"""
        return self.until_s is not None and self.started_ns is not None and time.perf_counter_ns() - self.started_ns >= self.until_s * 1e9

    def _goes_on(self, task: Task, outcome: Outcome) -> bool:
        return task.follow is not None and outcome.status == "completed" and not self._closing

    def _make(self, task: Task, session) -> tuple[Outcome, wire.Exchange]:
        outcome = Outcome(task)
        hold = task.turn == 1 and (self._is_open or task.number <= self.workers)
        exchange = wire.Exchange(hold, self.limits.kernel_stamps, lambda ready: self._events.put(("ready", task, ready)), self._turn, self._reader)
        exchange.task = task
        if not hold:
            self._events.put(("begun", task, exchange))
        try:
            attempt.make(outcome, session, exchange, self._pause)
        except Exception as error:  # whatever it is, it is this request's end and no other's
            outcome.status, outcome.error = "client_error", f"{type(error).__name__}: {error}"[:500]
        if exchange.ended_ns is None:
            exchange.ended_ns = time.perf_counter_ns()
        outcome.ended_ns = outcome.ended_ns or exchange.ended_ns
        if self._is_open:
            outcome.due_ns = outcome.intended_ns
        return outcome, exchange

    def _pause(self) -> None:
        if self._live and self.workers > 1:
            time.sleep(GENTLE_PAUSE_S)

    # -- the conductor

    def _first_tasks(self) -> list[Task]:
        """The tasks of the first requests, once each is connected or has failed."""
        expected = min(self.workers, self.planned or self.workers)
        until, tasks = time.monotonic() + READY_S, []
        while len(tasks) < expected and self._busy:
            try:
                kind, what, exchange = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            self._note(kind, what, exchange)
            if kind != "home":
                tasks.append(what if kind == "ready" else what.task)
        self._ready = collections.deque(sorted(self._ready, key=lambda exchange: exchange.task.number))
        self.exchanges.sort(key=lambda exchange: exchange.task.number)
        return tasks

    def _note(self, kind: str, what, exchange) -> None:
        if kind == "ready":
            self.exchanges.append(exchange)
            if self._closing:
                exchange.cancel(UNUSED)
            else:
                self._ready.append(exchange)
        elif kind == "begun":
            self.exchanges.append(exchange)
        elif kind == "ended":
            if exchange.cancelled != UNUSED:
                self.outcomes.append(what)
            if exchange in self.exchanges:
                if not self.is_burst:
                    self.exchanges.remove(exchange)
            elif self.is_burst:
                self.exchanges.append(exchange)  # it failed before it was ready
        else:
            self._busy -= 1

    def _conduct(self, observer: Observer) -> None:
        """Send what is due, collect what ended, look around four times a second."""
        due_s, waited = next(self._due, None), False
        for outcome in self.outcomes:  # failed before anything was sent
            observer.ended(outcome)
        next_tick = time.perf_counter() + TICK_S
        while self._busy:
            due_s, waited = self._send(observer, due_s, waited)
            timeout = next_tick - time.perf_counter()
            if due_s is not None and self._ready:
                timeout = min(timeout, self.started_ns / 1e9 + due_s - time.perf_counter())
            try:
                kind, what, exchange = self._events.get(timeout=max(0.0, timeout))
            except queue.Empty:
                pass
            else:
                self._note(kind, what, exchange)
                self._tell(observer, kind, what, exchange)
            if time.perf_counter() >= next_tick:
                next_tick = time.perf_counter() + TICK_S
                self._look(time.perf_counter_ns())
                observer.tick(self)
            self._notice_end()
        observer.tick(self)

    def _tell(self, observer: Observer, kind: str, what, exchange) -> None:
        if kind == "begun":
            observer.begun(what)
        elif kind == "ended" and exchange.cancelled != UNUSED:
            observer.ended(what)

    def _send(self, observer: Observer, due_s: float | None, waited: bool) -> tuple[float | None, bool]:
        """Fire every request whose time has come; the next due time, and whether it waits for a worker."""
        while due_s is not None and not self._closing and (self.until_s is None or due_s < self.until_s):
            intended_ns = self.started_ns + int(due_s * 1e9)
            if time.perf_counter_ns() < intended_ns:
                break
            if not self._ready:
                self.pool_waits += self._is_open and not waited
                return due_s, True
            exchange = self._ready.popleft()
            exchange.intended_ns = intended_ns
            exchange.fire()
            self.full_ns = exchange.sent_ns
            if self._is_open:
                observer.begun(exchange.task)
            due_s, waited = next(self._due, None), False
        if due_s is not None and self.until_s is not None and due_s >= self.until_s:
            due_s = None
        return due_s, waited

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
        """No further request; workers that were connected and wait for their turn go home."""
        self._closing = True
        while self._ready:
            self._ready.popleft().cancel(UNUSED)

    def _cut_stalled(self, now_ns: int, silent_ns: int) -> None:
        """A stream is stalled when it has begun and is silent; one that only waits, when all are."""
        heard = [now_ns if exchange.digests else exchange.last_read_ns or 0 for exchange in self.exchanges]
        all_silent = max([*heard, self.full_ns or self.started_ns]) < silent_ns
        for exchange, last in zip(list(self.exchanges), heard):
            if exchange.sent_ns is not None and exchange.ended_ns is None and (0 < last < silent_ns or all_silent):
                exchange.cancel(f"stalled: nothing for {self.limits.stall_s:g} s")

    def _notice_end(self) -> None:
        """The last stream has ended: what is left is reading at full speed."""
        if self._live and (self.is_burst or self._closing or self._numbers == self.planned) \
                and all(exchange.ended_ns is not None for exchange in self.exchanges):
            self._live = False
            self.cpu_s = time.process_time() - self._cpu_before_s
            self.ended_ns = time.perf_counter_ns()

    # -- afterwards

    def steady_figures(self) -> dict:
        """From when every worker has sent once to the last sending; {} for a burst."""
        sent = sorted(((o.sent_ns, o) for o in self.outcomes if o.sent_ns is not None), key=lambda pair: pair[0]) if not self.is_burst else []
        if len(sent) <= self.workers:
            return {}
        start_ns, end_ns = sent[self.workers - 1][0], sent[-1][0]
        tokens = 0.0
        for _, outcome in sent:
            inside = bisect.bisect_right(outcome.chunk_ns, end_ns) - bisect.bisect_left(outcome.chunk_ns, start_ns)
            tokens += inside * outcome.tokens_per_chunk
        return {"steady_start_ns": start_ns, "steady_end_ns": end_ns, "steady_output_tokens": tokens}

    def client_figures(self) -> dict:
        """The columns of the table level that say how exact this client was."""
        sent = [o.sent_ns for o in self.outcomes if o.sent_ns is not None]
        lags = sorted(o.sent_ns - o.intended_ns for o in self.outcomes if o.intended_ns is not None and o.sent_ns is not None)
        read_lags = sorted(itertools.chain.from_iterable(o.read_lags_ns for o in self.outcomes))
        stall_s = high_percentile(sorted(self.beats_late_ns))
        wall_s = max((self.ended_ns or time.perf_counter_ns()) - self.started_ns, 1) / 1e9
        figures = {
            "client_send_skew_s": (max(sent) - min(sent)) / 1e9 if sent and self.is_burst else None,
            "client_send_lag_p99_s": high_percentile(lags),
            "client_read_lag_p99_s": high_percentile(read_lags) if read_lags else stall_s,
            "client_read_lag_source": "kernel" if read_lags else None if stall_s is None else "heartbeat",
            "client_stamps": "kernel" if read_lags else "user",
            "client_cpu_s": self.cpu_s, "client_cpu_ratio": self.cpu_s / wall_s,
            "client_stall_p99_s": stall_s,
        }
        why = limited_why(figures, self.pool_waits)
        return figures | {"client_limited": int(bool(why)), "client_limited_why": why}


class Burst(Load):
    """The tasks of a list, all at once."""

    def __init__(self, tasks: list[Task], limits: Limits, interrupt: threading.Event | None = None) -> None:
        super().__init__(lambda number: tasks[number - 1], limits, len(tasks), interrupt=interrupt)


def limited_why(figures: dict, pool_waits: int = 0) -> str | None:
    """Which limit of the client a level has passed, with the figure; None when none was."""
    kernel = figures["client_stamps"] == "kernel"
    lag_limit_s = KEEP_UP_LIMIT_S if kernel else READ_LAG_LIMIT_S
    found = []
    if figures["client_cpu_ratio"] > CPU_LIMIT_RATIO:
        found.append(f"the client used {figures['client_cpu_ratio']:.0%} of a core")
    if (figures["client_send_lag_p99_s"] or 0) > SEND_LAG_LIMIT_S:
        cause = f" ({pool_waits} waited for the pool: more at once are needed)" if pool_waits else ""
        found.append(f"requests left up to {figures['client_send_lag_p99_s'] * 1e3:.0f} ms late{cause}")
    if (figures["client_read_lag_p99_s"] or 0) > lag_limit_s:
        found.append(f"answers were read up to {figures['client_read_lag_p99_s'] * 1e3:.0f} ms late")
    return "; ".join(found) or None


class Heart:
    """A thread that only sleeps; how late it wakes is how late any thread here can be."""

    def __init__(self, late_ns: array) -> None:
        self._late_ns = late_ns
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while True:
            due = time.perf_counter_ns() + int(HEARTBEAT_S * 1e9)
            if self._over.wait(HEARTBEAT_S):
                return
            self._late_ns.append(max(0, time.perf_counter_ns() - due))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def nearest_rank(values: list, percent: int):
    """The value at rank ceil(percent/100 * n) of sorted values."""
    return values[(percent * len(values) + 99) // 100 - 1]


def high_percentile(values: list[int]) -> float | None:
    """p99 of sorted nanoseconds in seconds; the worst below 100 values; None without any."""
    return nearest_rank(values, 99 if len(values) >= P99_FLOOR else 100) / 1e9 if values else None


def itl_figures(outcomes: list[Outcome]) -> dict:
    """Inter-token latency of a level: every gap between chunks of the completed streams, pooled."""
    gaps: list[int] = []
    for outcome in outcomes:
        if outcome.status == "completed":
            at = outcome.chunk_ns
            gaps.extend(map(int.__sub__, at[1:], at))
    gaps.sort()
    n = len(gaps)
    return {
        "itl_chunks": n,
        "itl_mean_s": sum(gaps) / n / 1e9 if n else None,
        "itl_p50_s": nearest_rank(gaps, 50) / 1e9 if n else None,
        "itl_p95_s": nearest_rank(gaps, 95) / 1e9 if n >= P95_FLOOR else None,
        "itl_p99_s": nearest_rank(gaps, 99) / 1e9 if n >= P99_FLOOR else None,
        "itl_max_s": gaps[-1] / 1e9 if n else None,
    }


def interval_figures(outcomes: list[Outcome], seed: int = 0) -> dict:
    """95 % intervals of the mean TTFT and the mean speed of the completed requests."""
    completed = [o for o in outcomes if o.status == "completed" and o.sent_ns is not None]
    ttft_s = [(o.chunk_ns[0] - (o.due_ns or o.sent_ns)) / 1e9 for o in completed]
    speeds = [(tokens - 1) * 1e9 / span for o in completed
              if (tokens := o.output_tokens) > 1 and (span := o.chunk_ns[-1] - o.chunk_ns[0]) > 0]
    figures = {}
    for name, values in (("ttft_mean_{}_s", ttft_s), ("tokens_per_s_mean_{}", speeds)):
        figures[name.format("low")], figures[name.format("high")] = bootstrap(values, seed)
    return figures


def bootstrap(values: list[float], seed: int) -> tuple[float | None, float | None]:
    """Percentile bootstrap of the mean, 95 % (Efron 1979); unknown below two values."""
    n = len(values)
    if n < 2:
        return None, None
    choose = random.Random(seed).choices
    means = sorted(sum(choose(values, k=n)) / n for _ in range(RESAMPLES if n < MANY else RESAMPLES // 10))
    return means[len(means) * 25 // 1000], means[len(means) * 975 // 1000]
