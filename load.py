"""load.py - fires one level: so many streaming requests at once, each timed, each told how it ended.

    level = load.Burst(tasks, protocol, limits)
    level.run(tick=console.draw)          # returns when every request has ended
    for outcome in level.outcomes: ...    # a row of the table request, and its chunks

Worker threads only receive bytes and note instants (see wire.py). What the answers say is
read one stream at a time: gently while others still stream, at full speed afterwards.
"""
from __future__ import annotations

import errno
import gc
import http.client
import itertools
import json
import queue
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests
import urllib3

import api
import wire

CONNECT_S = 10.0  # a server that does not even accept for so long is refused
READY_S = 60.0  # for all connections of a level to be made
TICK_S = 0.25  # how often the watchdog looks and the console may draw
GENTLE_PIECES = 16  # while others stream, the lock of the interpreter is given up after so many ...
GENTLE_PAUSE_S = 0.002  # ... for so long: 0.2 ms of work, then the readers have their turn
HEARTBEAT_S = 0.02  # a thread that only sleeps shows how late a thread can wake
ERROR_BYTES = 65_536  # of an error's body that are read
P95_FLOOR, P99_FLOOR = 20, 100  # values a percentile needs, as in schema.sql

CPU_LIMIT_RATIO = 0.9  # of one core: the interpreter runs one thread at a time
SEND_LAG_LIMIT_S = 0.05  # a burst that takes longer to leave is no burst
READ_LAG_LIMIT_S = 0.01  # stamps of our own that are this late at p99 spoil inter-token times
KEEP_UP_LIMIT_S = 0.25  # with the kernel's stamps lateness is harmless until the buffers fill


@dataclass(frozen=True)
class Task:
    """One request to make."""

    number: int  # 1 to n within its level
    url: str
    body: dict
    prefix: str | None = None
    target_id: int | None = None


@dataclass(frozen=True)
class Limits:
    """When to give up, and how to read; seconds, None is never."""

    stall_s: float | None = 300.0  # silence of a stream that had begun, or of a whole level
    deadline_s: float | None = None  # of a level
    kernel_stamps: bool = True
    headers: dict[str, str] = field(default_factory=dict)  # sent with every request, e.g. an API key


@dataclass
class Outcome:
    """How one request went. Instants are of time.perf_counter_ns, None did not happen."""

    task: Task
    status: str = "client_error"
    http_status: int | None = None
    error: str | None = None
    answer: str = ""
    reasoning: str = ""
    final: object = None  # api.Final
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    ended_ns: int | None = None
    chunk_ns: array = field(default_factory=lambda: array("q"))  # instant of each chunk with text
    chunk_is_reasoning: bytearray = field(default_factory=bytearray)
    read_lags_ns: array = field(default_factory=lambda: array("q"))

    def row(self, origin_ns: int) -> dict:
        """The columns of the table request that a finished one fills."""
        def since(at_ns):
            return None if at_ns is None else at_ns - origin_ns

        final, chunks = self.final, len(self.chunk_ns)
        first_answer = self.chunk_is_reasoning.find(0)
        tokens = final.output_tokens if final else None
        return {
            "status": self.status, "http_status": self.http_status, "error": self.error,
            "done_reason": final and final.done_reason,
            "sent_ns": since(self.sent_ns), "first_byte_ns": since(self.first_byte_ns), "ended_ns": since(self.ended_ns),
            "first_text_ns": since(self.chunk_ns[0]) if chunks else None,
            "first_answer_ns": since(self.chunk_ns[first_answer]) if first_answer >= 0 else None,
            "last_text_ns": since(self.chunk_ns[-1]) if chunks else None,
            "chunks": chunks, "reasoning_chunks": sum(self.chunk_is_reasoning),
            "output_tokens": chunks if tokens is None else tokens,
            "output_tokens_source": "chunks" if tokens is None else "server",
            **{name: getattr(final, name, None) for name in (
                "prompt_tokens", "cached_tokens", "server_total_ns", "server_load_ns",
                "server_prefill_ns", "server_decode_ns")},
        }


class Burst:
    """All requests of a level at once: connected first, then sent in one loop.

    ``exchanges`` may be looked at while it runs; ``outcomes`` fills as requests end, in
    the order of their numbers at the end. ``interrupt`` is an Event that cancels all.
    """

    def __init__(self, tasks: list[Task], protocol, limits: Limits, interrupt: threading.Event | None = None) -> None:
        self.tasks, self.protocol, self.limits = tasks, protocol, limits
        self.interrupt = interrupt or threading.Event()
        self.live = True  # streams still come in: digest gently
        self.started_ns: int | None = None
        self.ended_ns: int | None = None
        self.cpu_s = 0.0
        self.beats_late_ns = array("q")
        self.exchanges: list[wire.Exchange] = []
        self.outcomes: list[Outcome] = []
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._ended: queue.SimpleQueue = queue.SimpleQueue()
        self._turn = threading.Lock()  # one stream at a time is read for what it says

    def run(self, tick=lambda level: None, before_fire=lambda: None) -> None:
        """Fire, and wait until every request has ended."""
        with ThreadPoolExecutor(len(self.tasks), "stream") as pool:
            for task in self.tasks:
                exchange = wire.Exchange(True, self.limits.kernel_stamps, self._ready.put, self._turn)
                self.exchanges.append(exchange)
                pool.submit(self._attempt, task, exchange)
            self._wait_ready()
            before_fire()
            heart = Heart(self.beats_late_ns)
            gc.collect()
            gc.disable()
            try:
                self._fire()
                self._watch(tick)
            finally:
                gc.enable()
                heart.stop()
        self.outcomes.sort(key=lambda outcome: outcome.task.number)

    def _wait_ready(self) -> None:
        """Every worker is connected and waits for its answer, or has failed already."""
        until = time.monotonic() + READY_S
        for _ in self.tasks:
            try:
                self._ready.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break

    def _fire(self) -> None:
        self._cpu_before_s = time.process_time()
        self.started_ns = time.perf_counter_ns()
        for exchange in self.exchanges:
            if exchange.recorded and exchange.cancelled is None:
                exchange.fire()
            else:
                exchange.cancel("not connected in time")

    def _watch(self, tick) -> None:
        """Collect outcomes; cut what stalls, what passes the deadline, all when interrupted."""
        next_tick = time.monotonic() + TICK_S
        while len(self.outcomes) < len(self.tasks):
            try:
                self.outcomes.append(self._ended.get(timeout=max(0.0, next_tick - time.monotonic())))
            except queue.Empty:
                next_tick = time.monotonic() + TICK_S
                self._cut(time.perf_counter_ns())
                tick(self)
            if self.live and all(exchange.ended_ns is not None for exchange in self.exchanges):
                self.live = False
                self.cpu_s = time.process_time() - self._cpu_before_s
                self.ended_ns = time.perf_counter_ns()

    def _cut(self, now_ns: int) -> None:
        limits = self.limits
        if self.interrupt.is_set():
            return self._cancel_all("interrupted")
        if limits.deadline_s and now_ns - self.started_ns > limits.deadline_s * 1e9:
            return self._cancel_all(f"deadline of {limits.deadline_s:g} s")
        if limits.stall_s is None:
            return
        silent_ns = now_ns - int(limits.stall_s * 1e9)
        heard = [exchange.last_read_ns or 0 for exchange in self.exchanges]
        all_silent = max(heard + [self.started_ns]) < silent_ns
        for exchange, last in zip(self.exchanges, heard):
            if exchange.ended_ns is None and (0 < last < silent_ns or all_silent):
                exchange.cancel(f"stalled: nothing for {limits.stall_s:g} s")

    def _cancel_all(self, why: str) -> None:
        for exchange in self.exchanges:
            exchange.cancel(why)

    def _attempt(self, task: Task, exchange: wire.Exchange) -> None:
        outcome = Outcome(task)
        try:
            attempt(outcome, exchange, self.protocol, self.limits, self._pause)
        except Exception as error:  # whatever it is, it is this request's end and no other's
            outcome.status, outcome.error = "client_error", f"{type(error).__name__}: {error}"[:500]
        finally:
            if exchange.ended_ns is None:
                exchange.ended_ns = time.perf_counter_ns()
            exchange.on_ready(exchange)  # it may have failed before
            self._ended.put(outcome)

    def _pause(self) -> None:
        if self.live:
            time.sleep(GENTLE_PAUSE_S)

    def client_figures(self) -> dict:
        """The columns of the table level that say how exact this client was."""
        sent = [o.sent_ns for o in self.outcomes if o.sent_ns is not None]
        lags = sorted(at - self.started_ns for at in sent)
        read_lags = sorted(itertools.chain.from_iterable(o.read_lags_ns for o in self.outcomes))
        beats = sorted(self.beats_late_ns)
        stall_s = high_percentile(beats)
        wall_s = max((self.ended_ns or time.perf_counter_ns()) - self.started_ns, 1) / 1e9
        figures = {
            "client_send_skew_s": (max(sent) - min(sent)) / 1e9 if sent else None,
            "client_send_lag_p99_s": high_percentile(lags),
            "client_read_lag_p99_s": high_percentile(read_lags) if read_lags else stall_s,
            "client_read_lag_source": "kernel" if read_lags else "heartbeat" if beats else None,
            "client_stamps": "kernel" if read_lags else "user",
            "client_cpu_s": self.cpu_s, "client_cpu_ratio": self.cpu_s / wall_s,
            "client_stall_p99_s": stall_s,
        }
        why = limited_why(figures)
        return figures | {"client_limited": int(bool(why)), "client_limited_why": why}


def limited_why(figures: dict) -> str | None:
    """Which limit of the client a level has passed, with the figure; None when none was."""
    kernel = figures["client_stamps"] == "kernel"
    lag_limit_s = KEEP_UP_LIMIT_S if kernel else READ_LAG_LIMIT_S
    found = []
    if figures["client_cpu_ratio"] > CPU_LIMIT_RATIO:
        found.append(f"the client used {figures['client_cpu_ratio']:.0%} of a core")
    if (figures["client_send_lag_p99_s"] or 0) > SEND_LAG_LIMIT_S:
        found.append(f"requests left up to {figures['client_send_lag_p99_s'] * 1e3:.0f} ms late")
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


def attempt(outcome: Outcome, exchange: wire.Exchange, protocol, limits: Limits, pause=lambda: None) -> None:
    """Make one request and fill its outcome."""
    stream = protocol.stream()
    broken: Exception | None = None
    session = wire.session(limits.headers)
    try:
        prepared = session.prepare_request(requests.Request("POST", outcome.task.url, json=outcome.task.body))
        with exchange:
            response = session.send(prepared, stream=True, timeout=(CONNECT_S, None), allow_redirects=False)
            outcome.http_status = response.status_code
            if response.status_code == 200:
                read_stream(outcome, exchange, response, stream, pause)
            else:
                outcome.error = error_body(response)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        broken = error
    finally:
        session.close()
    outcome.final, outcome.answer, outcome.reasoning = stream.final, stream.answer, stream.reasoning
    outcome.sent_ns, outcome.first_byte_ns, outcome.ended_ns = exchange.sent_ns, exchange.first_read_ns, exchange.ended_ns
    outcome.read_lags_ns = exchange.read_lags_ns
    outcome.status, outcome.error = judge(outcome, exchange.cancelled, broken)


def read_stream(outcome: Outcome, exchange: wire.Exchange, response, stream, pause) -> None:
    """The chunks of a stream with their instants."""
    at_ns, kinds = outcome.chunk_ns, outcome.chunk_is_reasoning
    at = None
    for number, (at, data) in enumerate(exchange.pieces(response)):
        for chunk in stream.feed(data):
            at_ns.append(at)
            kinds.append(chunk.is_reasoning)
        if number % GENTLE_PIECES == 0:
            pause()
    for chunk in stream.close():  # the last line may lack its line feed; half a line of a broken stream is none
        at_ns.append(at)
        kinds.append(chunk.is_reasoning)


def error_body(response: requests.Response) -> str:
    """What the body of an error says, one line; where to go, for a redirect."""
    if location := response.headers.get("Location"):
        return f"redirects to {location}"[: api.LONGEST_ERROR]
    body = response.raw.read(ERROR_BYTES, decode_content=True)
    try:
        return api.error_text(json.loads(body))
    except ValueError:
        return api.error_text(body.decode("utf-8", "replace"))


def judge(outcome: Outcome, cancelled: str | None, broken: Exception | None) -> tuple[str, str | None]:
    """The one status of a request, and what went wrong."""
    final = outcome.final
    if final.done and final.error is None and outcome.http_status == 200:
        return ("completed", None) if len(outcome.chunk_ns) else ("empty", "done without any text")
    if cancelled:
        return ("stalled" if cancelled.startswith("stalled") else "cancelled"), cancelled
    if outcome.http_status not in (None, 200):
        return "http_error", outcome.error or f"HTTP {outcome.http_status} without a word"
    if final.error:
        return "stream_error", final.error
    if broken is not None:
        return broken_status(broken), words(broken)
    return "truncated", "the stream ended without its last line"


def broken_status(error: BaseException) -> str:
    """What a failed connection or a broken stream is called."""
    causes = list(chain(error))
    if any(isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL) for cause in causes):
        return "client_error"
    if any(isinstance(cause, (ConnectionRefusedError, urllib3.exceptions.NewConnectionError, requests.ConnectTimeout,
                              requests.exceptions.SSLError)) for cause in causes):
        return "refused"
    if any(isinstance(cause, (ConnectionError, http.client.IncompleteRead)) for cause in causes):
        return "reset"
    if any(isinstance(cause, (http.client.HTTPException, urllib3.exceptions.DecodeError,
                              urllib3.exceptions.InvalidChunkLength)) for cause in causes):
        return "stream_error"
    return "reset" if isinstance(error, (OSError, urllib3.exceptions.HTTPError)) else "client_error"


def chain(error: BaseException | None):
    """An exception and all that it was made of."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def words(error: BaseException) -> str:
    """The innermost words of an exception, one line."""
    innermost = list(chain(error))[-1]
    text = getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__
    return " ".join(str(text).split())[:500]


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
