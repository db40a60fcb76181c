"""A stand-in for a model server of known timing, and for powermetrics beside it.

    python sim.py                              an Ollama and OpenAI server as a study's M2 Pro ran it
    python sim.py --profile exact --itl 20     every token on the dot: to measure a client with
    python sim.py --log sim.jsonl --report     says when it really wrote each token
    python sim.py --fault stall:5              misbehaves; --fault help lists the ways
    python sim.py powermetrics -f plist -i 500 powermetrics for the machine this server pretends to be

It speaks /api/generate (NDJSON) and /v1/chat/completions (SSE), has slots, a queue and a
batch like the real ones, and knows its own energy: GET /sim/state.
"""

import argparse
import asyncio
import bisect
import collections
import datetime
import functools
import gc
import heapq
import http.client
import inspect
import itertools
import json
import os
import plistlib
import random
import re
import select
import selectors
import signal
import socket
import struct
import sys
import time
import urllib.parse
import zlib

import psutil
import uvicorn

try:
    import resource
except ImportError:  # Windows
    resource = None

SERVER_NAME = "ollama-bench-sim"  # in the header Server of every answer, so that a client can tell
OLLAMA_VERSION = "0.24.0"  # the behaviour played here is that of this version
CONTEXT_TOKENS = 4096  # context of one slot
MODEL_BYTES = 5_537_017_600  # what /api/ps says a loaded 7B takes
REASONING_RATIO = 0.4  # share of a reply that is reasoning when the model thinks
LOOKUP_S = 0.01  # load_duration of a model that is loaded: never quite zero in a real Ollama
DESCRIPTORS = 8192  # files and connections to be allowed
BACKLOG = 2048  # connections waiting to be accepted: a burst must not be refused
ERROR_STEP_NS = 10_000  # resolution of the schedule error's histogram
LOOK_LATER_S = (
    0.02  # exact: a burst is read to its end before its first request is looked into (60 µs each)
)
TURN_NS = 5_000_000  # longest turn of the writing before the sockets get theirs
PARENT_CHECK_S = 1.0  # how often --parent-pid is looked for

# Pieces of text, one a token, some of more than one byte a character.
VOCABULARY = (
    " time is the measure of change and of what does not change ; a naïve mind asks whether"
    " now can flow at all , or if before and after are only relations that we read into"
    " events . Augustine said : if no one asks me , I know ; 時間 is τάξις , an order —"
    " não há rio parado ⏳ in which all things happen once"
).split()

Profile = collections.namedtuple(
    "Profile", "model parameters slots rates prefill_s load_s tokens gpu_busy_w busy_mhz"
)
PROFILES = {
    # On a Mac mini M2 Pro, as measured in a published study: tokens/s of one stream by the number of streams.
    "m2pro-7b": Profile(
        "deepseek-r1:7b",
        "7.6B",
        19,
        {1: 53.1, 2: 30.7, 4: 19.9, 8: 12.9, 16: 9.8, 19: 9.1},
        0.3,
        2.0,
        (1250, 2850),
        20.0,
        1396,
    ),
    "m2pro-1.5b": Profile(
        "deepseek-r1:1.5b",
        "1.8B",
        19,
        {1: 130, 2: 90, 4: 64.5, 8: 41.4, 16: 27.5, 19: 26},
        0.12,
        1.0,
        (200, 2700),
        14.4,
        1395,
    ),
    # Every stream for itself: first token after --ttft, then one each --itl.
    "exact": Profile("deepseek-r1:7b", "7.6B", None, None, 0, 0, (100, 100), 20.0, 1396),
}
GPU_IDLE_W, CPU_BUSY_W, CPU_IDLE_W = 0.05, 1.5, 0.1  # the rest of its power, the same for all


class SimError(Exception):
    """str() is the one line for the user."""


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["powermetrics"]:
            return play_powermetrics(argv[1:])
        return serve(parse_args(argv))
    except SimError as error:
        print(f"sim.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog="sim.py",
        description="A stand-in for a model server of known timing, and for powermetrics beside it.",
    )
    add = parser.add_argument
    add(
        "--port",
        type=int,
        default=11434,
        help="port on 127.0.0.1; 0 takes a free one (default 11434)",
    )
    add(
        "--profile",
        choices=PROFILES,
        default="m2pro-7b",
        help="the machine and model to be (default m2pro-7b)",
    )
    add("--model", action="append", metavar="NAME", help="a model it has; may be repeated")
    add("--slots", type=int, metavar="N", help="requests served at a time (default: the profile's)")
    add(
        "--queue",
        type=int,
        metavar="N",
        help="requests that may wait; more get a 503 (default: any)",
    )
    add("--tokens", metavar="N|MIN-MAX", help="length of a reply (default: the profile's)")
    add(
        "--ttft",
        type=float,
        default=100,
        metavar="MS",
        help="exact: time to the first token (default 100)",
    )
    add(
        "--itl",
        type=float,
        default=20,
        metavar="MS",
        help="exact: time between tokens (default 20)",
    )
    add("--speed", type=float, default=1, metavar="X", help="run X times as fast (default 1)")
    add("--seed", type=int, default=0, help="for the lengths of replies (default 0)")
    add(
        "--thinking",
        choices=("on", "off"),
        default="on",
        help="the model reasons first (default on)",
    )
    add(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:ARG]",
        help="misbehave in every reply; 'help' lists",
    )
    add("--api-key", metavar="K", help="OpenAI requests need this bearer token")
    add("--tls", nargs=2, metavar=("CERT", "KEY"), help="speak https with these PEM files")
    add(
        "--log",
        metavar="FILE",
        help="append one JSON line per request: when each token was due and was written",
    )
    add("--report", action="store_true", help="print the schedule error at exit")
    add("--parent-pid", type=int, metavar="PID", help="end when this process is gone")
    args = parser.parse_args(argv)
    if "help" in args.fault:
        print(list_faults())
        parser.exit()
    try:
        args.tokens = parse_span(args.tokens) if args.tokens else PROFILES[args.profile].tokens
        args.fault = [parse_fault(text) for text in args.fault]
    except ValueError as error:
        parser.error(str(error))
    if not (
        args.speed > 0
        and args.itl >= 0
        and args.ttft >= 0
        and 0 <= args.port < 65536
        and args.slots != 0
    ):
        parser.error(
            "--speed and --slots must be above 0, --itl and --ttft not below, --port below 65536"
        )
    return args


def parse_span(text):
    """'20' -> (20, 20), '20-40' -> (20, 40)."""
    low, _, high = text.partition("-")
    span = int(low), int(high or low)
    if not 0 <= span[0] <= span[1]:
        raise ValueError(f"--tokens {text}: must be N or MIN-MAX")
    return span


def serve(args):
    """Serve until SIGTERM, Ctrl-C or the parent's end."""
    try:
        listener = socket.create_server(("127.0.0.1", args.port), backlog=BACKLOG)
    except OSError as error:
        raise SimError(
            f"port {args.port}: {error.strerror}; take another with --port, 0 for a free one"
        ) from None
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(0)
    )  # uvicorn hands the signal on to us at its end
    allow_descriptors()
    loop = new_event_loop()
    sim = Sim(args, loop)
    server = Server(uvicorn_config(sim))
    sim.watch_parent(args.parent_pid, server)
    gc.freeze()  # the modules' objects stay: no reason to look at them again while tokens are due
    try:
        loop.run_until_complete(server.serve(sockets=[listener]))
    finally:
        sim.close()
        loop.close()
    return 0


class Server(uvicorn.Server):
    """uvicorn, which says when it is ready: listening, and with its signal handlers in place."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        scheme = "https" if self.config.is_ssl else "http"
        print(f"listening on {scheme}://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)


def uvicorn_config(sim):
    """uvicorn holds the sockets, TLS, the signals and the end; its HTTP class is replaced by ours.

    A token through its own took 24 µs against 6 through ours, and a burst of 256 requests 107 ms
    to be read against 30: too coarse for a witness.
    """
    cert, key = sim.args.tls or (None, None)
    config = uvicorn.Config(
        None,
        http=functools.partial(Connection, sim),
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_level="warning",
        backlog=BACKLOG,
        ssl_certfile=cert,
        ssl_keyfile=key,
        timeout_graceful_shutdown=1,
    )
    try:
        config.load()
    except OSError as error:
        raise SimError(f"--tls {cert} {key}: {error}") from None
    return config


def allow_descriptors():
    """A connection is a file: macOS allows 256 of them unless asked."""
    if resource:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def new_event_loop():
    """asyncio's selector loop, on Linux with timers of microseconds instead of whole milliseconds."""
    if hasattr(selectors, "EpollSelector"):
        return asyncio.SelectorEventLoop(FineSelector())
    return asyncio.new_event_loop()


if hasattr(selectors, "EpollSelector"):

    class FineSelector(selectors.EpollSelector):
        """epoll sleeps whole milliseconds, rounded up; select() on epoll's descriptor sleeps to the microsecond."""

        def select(self, timeout=None):
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)


class Sim:
    """All that the connections share."""

    def __init__(self, args, loop):
        profile = PROFILES[args.profile]
        self.args, self.loop, self.profile = args, loop, profile
        self.models = [full_name(name) for name in args.model or [profile.model]]
        self.load_ns = int(profile.load_s * 1e9 / args.speed)
        self.loaded_ns = {}  # the instant from which a model is ready
        self.meter = Meter(profile.gpu_busy_w)
        self.agenda = Agenda(loop)
        slots = args.slots or profile.slots or sys.maxsize
        self.machine = Machine(self.agenda, self.meter, profile, slots, args)
        self.errors = ScheduleError()
        self.log = SendLog(args.log)
        self.numbers = itertools.count(1)

    def load(self, model, now_ns):
        """The instant from which the model is ready; the first to ask makes it load."""
        return self.loaded_ns.setdefault(model, now_ns + self.load_ns)

    def state(self):
        now_ns = time.perf_counter_ns()
        return {
            "t_ns": now_ns,
            "active": len(self.machine.active),
            "queued": len(self.machine.waiting),
            **self.meter.read(now_ns),
            "busy_mhz": self.profile.busy_mhz,
            "schedule_error_s": {"n": self.errors.n, **self.errors.read()},
        }

    def ended(self, stream):
        """A stream is over, well or not: free its slot and keep its record."""
        self.machine.leave(stream)
        self.log.add(stream.record())
        if not self.machine.active:
            self.loop.call_soon(self.log.flush)

    def watch_parent(self, pid, server):
        if pid is None:
            return
        try:
            parent = psutil.Process(pid)
            alive = parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            alive = False
        server.should_exit = server.should_exit or not alive
        self.loop.call_later(PARENT_CHECK_S, self.watch_parent, pid, server)

    def close(self):
        self.log.close()
        if self.args.report:
            print(
                f"schedule error of {self.errors.n} writes: "
                + ", ".join(
                    f"{name} {value * 1e3:.2f} ms" for name, value in self.errors.read().items()
                ),
                file=sys.stderr,
            )


# The machine: when things happen.


class Agenda:
    """Calls what is due, in order, from one heap and one timer: a timer per stream costs too much."""

    def __init__(self, loop):
        self.loop, self.heap, self.timer, self.armed_ns = loop, [], None, None
        self.ties = itertools.count()

    def at(self, due_ns, action):
        """Call action(due_ns) at that instant of time.perf_counter_ns()."""
        heapq.heappush(self.heap, (due_ns, next(self.ties), action))
        if self.armed_ns is None or due_ns < self.armed_ns:
            self._arm()

    def _arm(self):
        if self.timer:
            self.timer.cancel()
        self.timer = self.armed_ns = None
        if self.heap:
            self.armed_ns = self.heap[0][0]
            delay_s = max(0, self.armed_ns - time.perf_counter_ns()) / 1e9
            self.timer = self.loop.call_later(delay_s, self._run)

    def _run(self):
        self.armed_ns = 0  # nothing due can be earlier: no arming while this runs
        until_ns = time.perf_counter_ns() + TURN_NS
        while self.heap and self.heap[0][0] <= min(time.perf_counter_ns(), until_ns):
            due_ns, _, action = heapq.heappop(self.heap)
            action(due_ns)
        self._arm()


class Meter:
    """The machine's energy, exact at every instant because power only changes with busy."""

    def __init__(self, gpu_busy_w):
        self.gpu_busy_w, self.busy, self.since_ns = gpu_busy_w, False, time.perf_counter_ns()
        self.busy_ns = self.idle_ns = 0

    def set_busy(self, busy, now_ns):
        self._advance(now_ns)
        self.busy = busy

    def _advance(self, now_ns):
        if self.busy:
            self.busy_ns += now_ns - self.since_ns
        else:
            self.idle_ns += now_ns - self.since_ns
        self.since_ns = now_ns

    def read(self, now_ns):
        """Cumulative joules and nanoseconds, and the power of this instant."""
        self._advance(now_ns)
        gpu_j = (self.gpu_busy_w * self.busy_ns + GPU_IDLE_W * self.idle_ns) / 1e9
        cpu_j = (CPU_BUSY_W * self.busy_ns + CPU_IDLE_W * self.idle_ns) / 1e9
        power_w = self.gpu_busy_w + CPU_BUSY_W if self.busy else GPU_IDLE_W + CPU_IDLE_W
        return {
            "power_w": power_w,
            "energy_j": gpu_j + cpu_j,
            "gpu_energy_j": gpu_j,
            "cpu_energy_j": cpu_j,
            "busy_ns": self.busy_ns,
            "idle_ns": self.idle_ns,
        }


class Machine:
    """Slots, a queue first come first served, and continuous batching.

    With k requests decoding each gets rate(k): one step gives every one of them a token.
    Where the profile has no rates each stream goes at its own pace.
    Not so in a real one: prefill takes as long beside others as alone, and never slows them.
    """

    def __init__(self, agenda, meter, profile, slots, args):
        self.agenda, self.meter, self.slots, self.queue_limit = agenda, meter, slots, args.queue
        self.rates = profile.rates and sorted(profile.rates.items())
        self.speed = args.speed
        self.prefill_ns = int(
            (profile.prefill_s if self.rates else args.ttft / 1e3) * 1e9 / args.speed
        )
        self.lookup_ns = int(LOOKUP_S * 1e9 / args.speed) if self.rates else 0
        self.itl_ns = max(1000, int(args.itl * 1e6 / args.speed))
        self.active, self.waiting, self.decoding = set(), collections.deque(), []
        self.stepping = False

    def submit(self, stream):
        """Take a request in; False when the queue is full."""
        if len(self.active) < self.slots:
            self._admit(stream, stream.request.read_ns)
        elif self.queue_limit is not None and len(self.waiting) >= self.queue_limit:
            return False
        else:
            self.waiting.append(stream)
        return True

    def leave(self, stream):
        """The stream is over: its slot goes to whoever waits longest."""
        now_ns = time.perf_counter_ns()
        if stream in self.waiting:
            self.waiting.remove(stream)
        if stream in self.decoding:
            self.decoding.remove(stream)
        self.active.discard(stream)
        if self.waiting and len(self.active) < self.slots:
            self._admit(self.waiting.popleft(), now_ns)
        if not self.active:
            self.meter.set_busy(False, now_ns)

    def _admit(self, stream, now_ns):
        if not self.active:
            self.meter.set_busy(True, time.perf_counter_ns())
        self.active.add(stream)
        stream.admitted_ns = now_ns
        stream.load_ns = max(0, stream.ready_ns - now_ns) + self.lookup_ns
        begin = self._join if self.rates else self._alone
        self.agenda.at(now_ns + stream.load_ns + self.prefill_ns, functools.partial(begin, stream))

    def _alone(self, stream, due_ns):
        if not stream.over:
            stream.tick(due_ns)
        if not stream.over:
            self.agenda.at(due_ns + self.itl_ns, functools.partial(self._alone, stream))

    def _join(self, stream, due_ns):
        if stream.over:
            return
        self.decoding.append(stream)
        if not self.stepping:
            self.stepping = True
            self._step(due_ns)

    def _step(self, due_ns):
        for stream in list(self.decoding):
            stream.tick(due_ns)
        self.stepping = bool(self.decoding)
        if self.stepping:
            self.agenda.at(due_ns + int(1e9 / self.rate(len(self.decoding))), self._step)

    def rate(self, k):
        """Tokens per second of one stream among k, interpolated in the profile's table."""
        at = bisect.bisect_left(self.rates, (k,))
        if at == len(self.rates):  # beyond the table the machine's total is spent
            most, rate = self.rates[-1]
            return rate * most / k * self.speed
        k1, rate1 = self.rates[at]
        if k1 == k:
            return rate1 * self.speed
        k0, rate0 = self.rates[at - 1]
        return (rate0 + (rate1 - rate0) * (k - k0) / (k1 - k0)) * self.speed


class ScheduleError:
    """How late the writes were: a histogram, cheap to add to and to read."""

    def __init__(self):
        self.counts, self.n, self.max_ns = collections.Counter(), 0, 0

    def add(self, error_ns):
        self.counts[error_ns // ERROR_STEP_NS] += 1
        self.n += 1
        self.max_ns = max(self.max_ns, error_ns)

    def read(self):
        """p50, p99 (rounded up to 10 µs) and max in seconds; nothing before the first write."""
        if not self.n:
            return {}
        return {
            "p50": self._percentile(0.50),
            "p99": self._percentile(0.99),
            "max": self.max_ns / 1e9,
        }

    def _percentile(self, share):
        left = share * self.n
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return (step + 1) * ERROR_STEP_NS / 1e9


class SendLog:
    """One JSON line per request, written while nothing streams."""

    def __init__(self, path):
        self.rows, self.file = [], None
        if path:
            try:
                self.file = open(path, "ab", buffering=0)  # a batch of lines is one write
            except OSError as error:
                raise SimError(f"--log {path}: {error.strerror}") from None

    def add(self, row):
        if self.file:
            self.rows.append(row)

    def flush(self):
        if self.rows:
            rows, self.rows = self.rows, []
            self.file.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    def close(self):
        self.flush()
        if self.file:
            self.file.close()


# HTTP: bytes in, requests out; and the bytes of an answer.


class Request:
    """One HTTP request, read to its end."""

    def __init__(self, number, method, target, version, headers, body, read_ns):
        self.number, self.method, self.headers, self.body, self.read_ns = (
            number,
            method,
            headers,
            body,
            read_ns,
        )
        self.path = urllib.parse.urlsplit(target).path
        self.keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"

    def json(self):
        """The body as a dict; ValueError when it is none."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError("the body is no JSON object")
        return value


class Connection(asyncio.Protocol):
    """uvicorn's HTTP class: reads requests and lets a stream write its own bytes to the transport."""

    def __init__(self, sim, config, server_state, app_state, _loop=None):
        self.sim, self.peers = sim, server_state.connections
        self.buffer, self.stream, self.transport = bytearray(), None, None

    def connection_made(self, transport):
        self.transport = transport
        self.peers.add(self)

    def connection_lost(self, exc):
        self.peers.discard(self)
        if self.stream:
            self.stream.close("disconnected")

    def shutdown(self):
        """uvicorn's word that the server ends."""
        self.transport.abort()

    def data_received(self, data):
        self.buffer += data
        self.came_ns = time.perf_counter_ns()
        if self.sim.machine.rates is None and data.startswith(b"POST "):
            self.sim.loop.call_later(LOOK_LATER_S, self.next_request)
        else:
            self.next_request()

    def next_request(self):
        """Take a whole request off the buffer, if there is one, and answer it."""
        if self.stream:
            return
        head, blank, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not blank:
            return
        try:
            (method, target, version), headers = parse_head(head)
            length = int(headers.get("content-length", 0))
        except ValueError:
            self.answer(None, 400, "text/plain", b"400 Bad Request")
            self.transport.close()
            return
        if headers.get("expect") and not rest:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(rest) >= length:
            read_ns = self.came_ns
            self.buffer = bytearray(rest[length:])
            respond(
                self,
                Request(
                    next(self.sim.numbers), method, target, version, headers, rest[:length], read_ns
                ),
            )

    def answer(self, request, status, content_type, body, *extra):
        """A whole answer at once; extra are header lines."""
        head = response_head(status, content_type, f"Content-Length: {len(body)}", *extra)
        self.transport.write(head + (b"" if request and request.method == "HEAD" else body))
        if request and not request.keep_alive:
            self.transport.close()
        elif self.buffer:
            self.sim.loop.call_soon(self.next_request)

    def answer_json(self, request, status, value):
        self.answer(request, status, "application/json; charset=utf-8", dump(value))

    def stream_ended(self, keep_alive):
        self.stream = None
        if not keep_alive:
            self.transport.close()
        elif self.buffer:
            self.sim.loop.call_soon(self.next_request)

    def reset(self):
        """Close with a TCP reset instead of a goodbye."""
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self.transport.abort()


def parse_head(head):
    """bytes -> ([method, target, version], {lower-case name: value}); ValueError when it is no HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise ValueError(first)
    return words, {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }


REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


def response_head(status, content_type, *lines):
    head = [f"HTTP/1.1 {status} {REASONS[status]}", f"Server: {SERVER_NAME}"]
    head += [f"Content-Type: {content_type}"] * bool(content_type)
    return "\r\n".join([*head, *lines, "", ""]).encode()


# One for all: json.dumps makes a new one at each call, which costs as much as using it.
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump(value):
    return ENCODER.encode(value).encode()


class Chunked:
    """The framing of a stream over HTTP/1.1."""

    keeps_open = True

    def start(self, status, content_type):
        return response_head(status, content_type, "Transfer-Encoding: chunked")

    def piece(self, data):
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def finish(self):
        return b"0\r\n\r\n"


class UntilEof:
    """The framing of HTTP/1.0: the body ends where the connection does."""

    keeps_open = False

    def start(self, status, content_type):
        return response_head(status, content_type, "Connection: close")

    def piece(self, data):
        return data

    def finish(self):
        return b""


class Buffered:
    """No stream at all: everything in one answer with its length (plus an error, for a fault)."""

    def __init__(self, length_error=0):
        self.length_error, self.pieces, self.keeps_open = length_error, [], not length_error

    def start(self, status, content_type):
        self.status, self.content_type = status, content_type
        return b""

    def piece(self, data):
        self.pieces.append(data)
        return b""

    def finish(self):
        body = b"".join(self.pieces)
        return (
            response_head(
                self.status, self.content_type, f"Content-Length: {len(body) + self.length_error}"
            )
            + body
        )


# What the servers answer.


def respond(connection, request):
    """Answer one request by its path."""
    route = ROUTES.get(("GET" if request.method == "HEAD" else request.method, request.path))
    if route is None and any(path == request.path for _, path in ROUTES):
        connection.answer(request, 405, "text/plain", b"405 method not allowed")
        return
    if route is None:
        connection.answer(request, 404, "text/plain", b"404 page not found")
        return
    try:
        route(connection, request)
    except (ValueError, TypeError) as error:  # what the client asked for made no sense
        whole = (
            openai_error(str(error)) if request.path.startswith("/v1/") else {"error": str(error)}
        )
        connection.answer_json(request, 400, whole)


def full_name(name):
    return name if ":" in name else name + ":latest"


def get_root(connection, request):
    connection.answer(request, 200, "text/plain; charset=utf-8", b"Ollama is running")


def get_version(connection, request):
    connection.answer_json(request, 200, {"version": OLLAMA_VERSION})


def get_tags(connection, request):
    sim = connection.sim
    connection.answer_json(
        request, 200, {"models": [describe_model(sim, name) for name in sim.models]}
    )


def describe_model(sim, name):
    return {
        "name": name,
        "model": name,
        "modified_at": "2025-10-26T17:15:24.097767Z",
        "size": 4_683_075_271,
        "digest": digest(name),
        "details": details(sim),
    }


def details(sim):
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen2",
        "families": ["qwen2"],
        "parameter_size": sim.profile.parameters,
        "quantization_level": "Q4_K_M",
    }


def digest(name):
    return f"{random.Random(name).getrandbits(256):064x}"


def get_ps(connection, request):
    more = {
        "size": MODEL_BYTES,
        "size_vram": MODEL_BYTES,
        "context_length": CONTEXT_TOKENS,
        "expires_at": "2286-11-20T17:46:39Z",
    }
    loaded = [
        {**describe_model(connection.sim, name), **more}
        for name in sorted(connection.sim.loaded_ns)
    ]
    connection.answer_json(request, 200, {"models": loaded})


def post_show(connection, request):
    if ollama_model(connection, request, request.json()):
        thinks = connection.sim.args.thinking == "on"
        connection.answer_json(
            request,
            200,
            {
                "parameters": "temperature 0.6",
                "details": details(connection.sim),
                "model_info": {
                    "general.architecture": "qwen2",
                    "general.parameter_count": 7_615_616_512,
                    "general.file_type": 15,
                    "qwen2.context_length": 131072,
                    "qwen2.block_count": 28,
                },
                "capabilities": ["completion", *["thinking"] * thinks],
            },
        )


def post_pull(connection, request):
    """Every model can be had, at once."""
    name = full_name(str(request.json().get("model") or ""))
    whole = 4_683_075_271
    steps = [
        {"status": "pulling manifest"},
        *(
            {
                "status": f"pulling {digest(name)[:12]}",
                "digest": "sha256:" + digest(name),
                "total": whole,
                "completed": whole * part // 4,
            }
            for part in range(5)
        ),
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    ]
    if name not in connection.sim.models:
        connection.sim.models.append(name)
    connection.answer(
        request, 200, "application/x-ndjson", b"".join(dump(step) + b"\n" for step in steps)
    )


def get_state(connection, request):
    connection.answer_json(request, 200, connection.sim.state())


def get_models(connection, request):
    if authorised(connection, request):
        models = [
            {"id": name, "object": "model", "created": 1761498924, "owned_by": "sim"}
            for name in connection.sim.models
        ]
        connection.answer_json(request, 200, {"object": "list", "data": models})


def get_props(connection, request):
    """llama-server's word on its slots."""
    slots = connection.sim.machine.slots
    connection.answer_json(
        request,
        200,
        {
            "total_slots": min(slots, 2**31),
            "model_path": connection.sim.models[0],
            "default_generation_settings": {"n_ctx": CONTEXT_TOKENS},
        },
    )


def authorised(connection, request):
    key = connection.sim.args.api_key
    if key is None or request.headers.get("authorization") == f"Bearer {key}":
        return True
    connection.answer_json(
        request, 401, openai_error("Invalid API Key", "authentication_error", 401)
    )
    return False


def openai_error(message, kind="api_error", code=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def ollama_model(connection, request, body):
    """The full name of the model asked for; None when there is none, and then 404 was answered."""
    asked = str(body.get("model") or "")
    if full_name(asked) in connection.sim.models:
        return full_name(asked)
    connection.answer_json(request, 404, {"error": f"model '{asked}' not found"})
    return None


def post_generate(connection, request):
    body = request.json()
    model = ollama_model(connection, request, body)
    if model is None:
        return
    if not body.get("prompt"):
        answer_load(connection, request, body, model)
        return
    thinks = connection.sim.args.thinking == "on"
    think = body.get("think", thinks)  # unset is on for a model that can, since 0.12.4
    if think and not thinks:
        connection.answer_json(
            request, 400, {"error": f'"{body["model"]}" does not support thinking'}
        )
        return
    limit = int((body.get("options") or {}).get("num_predict") or 0)
    start_stream(connection, request, Ollama(body), str(body["prompt"]), model, bool(think), limit)


def answer_load(connection, request, body, model):
    """An empty prompt loads the model; with keep_alive 0 it unloads it."""
    sim = connection.sim
    unload = body.get("keep_alive") in (0, "0", "0s")
    delay_s = 0 if unload else max(0, sim.load(model, request.read_ns) - request.read_ns) / 1e9
    if unload:
        sim.loaded_ns.pop(model, None)
    reply = {
        "model": body["model"],
        "created_at": now_rfc3339(),
        "response": "",
        "done": True,
        "done_reason": "unload" if unload else "load",
    }
    sim.loop.call_later(delay_s, connection.answer_json, request, 200, reply)


def post_chat_completions(connection, request):
    if not authorised(connection, request):
        return
    body = request.json()
    model = full_name(str(body.get("model") or ""))
    if model not in connection.sim.models:
        connection.answer_json(
            request, 404, openai_error(f"model '{body.get('model')}' not found", "not_found_error")
        )
        return
    prompt = " ".join(str(message.get("content", "")) for message in body.get("messages") or [])
    limit = int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
    wanted = (body.get("chat_template_kwargs") or {}).get(
        "enable_thinking", True
    )  # llama-server's switch
    thinks = connection.sim.args.thinking == "on" and bool(wanted)
    start_stream(connection, request, OpenAI(request, body), prompt, model, thinks, limit)


ROUTES = {
    ("GET", "/"): get_root,
    ("GET", "/api/version"): get_version,
    ("GET", "/api/tags"): get_tags,
    ("GET", "/api/ps"): get_ps,
    ("POST", "/api/show"): post_show,
    ("POST", "/api/pull"): post_pull,
    ("POST", "/api/generate"): post_generate,
    ("GET", "/v1/models"): get_models,
    ("POST", "/v1/chat/completions"): post_chat_completions,
    ("GET", "/props"): get_props,
    ("GET", "/sim/state"): get_state,
}


def start_stream(connection, request, voice, prompt, model, thinks, limit):
    stream = Stream(connection, request, voice, prompt, model, thinks, limit)
    asked = filter(None, request.headers.get("x-sim-fault", "").split(","))
    for spoil in [*connection.sim.args.fault, *map(parse_fault, asked)]:
        spoil(stream)
    if stream.over:
        return
    connection.stream = stream
    if not stream.held and not connection.sim.machine.submit(stream):
        stream.refuse(
            503,
            "application/json",
            dump(voice.error("server busy, please try again.  maximum pending requests exceeded")),
        )


class Stream:
    """One reply: its tokens, its bytes, and the record of when they left."""

    def __init__(self, connection, request, voice, prompt, model, thinks, limit):
        self.connection, self.request, self.voice, self.sim = (
            connection,
            request,
            voice,
            connection.sim,
        )
        self.transport = connection.transport
        chance = random.Random(self.sim.args.seed * 1_000_003 + request.number)
        planned = chance.randint(*self.sim.args.tokens)
        self.count = min(planned, limit) if limit > 0 else planned
        self.done_reason = "length" if 0 < limit < planned else "stop"
        self.reasoning_count = int(planned * REASONING_RATIO) if thinks else 0
        self.first_word, self.stride = chance.randrange(len(VOCABULARY)), chance.randrange(1, 12)
        self.prompt, self.prompt_tokens = prompt, len(prompt.split())
        self.ready_ns = self.sim.load(model, request.read_ns)
        self.admitted_ns = self.load_ns = self.end_ns = None
        self.due_ns, self.writes_ns, self.outcome, self.started, self.held = (
            [],
            [],
            None,
            False,
            False,
        )
        self.framing = Chunked() if request.keep_alive else UntilEof()
        if not voice.streams:
            self.framing = Buffered()

    @property
    def over(self):
        return self.outcome is not None

    def tick(self, due_ns):
        """Write the token that is due, and the end after the last one."""
        n = len(self.writes_ns)
        if n < self.count:
            payload = self.payload(n)
            now_ns = time.perf_counter_ns()
            self.due_ns.append(due_ns)
            self.writes_ns.append(now_ns)
            self.write(payload)
            self.sim.errors.add(now_ns - due_ns)
        if n + 1 >= self.count:
            self.finish()

    def write(self, payload):
        data = self.framing.piece(payload)
        if not self.started:
            data = self.start() + data
        if data:
            self.transport.write(data)

    def start(self):
        """The head of the answer, the first time: it travels with the first token."""
        started, self.started = self.started, True
        return b"" if started else self.framing.start(200, self.voice.content_type)

    def text(self, n):
        return " " + VOCABULARY[(self.first_word + n * self.stride) % len(VOCABULARY)]

    def payload(self, n):
        """The bytes of token n."""
        return self.voice.token(self.text(n), n < self.reasoning_count)

    def finish(self):
        self.end_ns = time.perf_counter_ns()
        for piece in self.voice.closing(self):
            self.write(piece)
        self.transport.write(self.framing.finish())
        self.close("done")

    def refuse(self, status, content_type, body, *lines):
        """Answer at once with something else."""
        self.connection.answer(self.request, status, content_type, body, *lines)
        self.close("refused")

    def close(self, outcome):
        """The end, once: the slot is free, the record kept, the connection ready for the next request."""
        if self.over:
            return
        self.outcome = outcome
        self.end_ns = self.end_ns or time.perf_counter_ns()
        self.sim.ended(self)
        if outcome != "disconnected":
            self.connection.stream_ended(self.framing.keeps_open and self.request.keep_alive)

    def durations_ns(self):
        """total, load, prefill, decode as the real servers split them; the rest of total is the queue."""
        first_ns, last_ns = (
            (self.writes_ns[0], self.writes_ns[-1])
            if self.writes_ns
            else (self.end_ns, self.end_ns)
        )
        return (
            self.end_ns - self.request.read_ns,
            self.load_ns,
            first_ns - self.admitted_ns - self.load_ns,
            last_ns - first_ns,
        )

    def record(self):
        return {
            "number": self.request.number,
            "id": self.request.headers.get("x-request-id"),
            "prompt_prefix": self.prompt[:80],
            "outcome": self.outcome,
            "read_ns": self.request.read_ns,
            "admitted_ns": self.admitted_ns,
            "end_ns": self.end_ns,
            "due_ns": self.due_ns,
            "writes_ns": self.writes_ns,
        }


@functools.lru_cache(maxsize=2)
def rfc3339_second(second):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def now_rfc3339():
    """The wall clock as Go writes it: nine digits without trailing zeros."""
    second, ns = divmod(time.time_ns(), 1_000_000_000)
    return f"{rfc3339_second(second)}.{ns:09d}".rstrip("0").rstrip(".") + "Z"


class Ollama:
    """/api/generate: one JSON object a line."""

    content_type = "application/x-ndjson"
    ping = b"\n"

    def __init__(self, body):
        self.model, self.raw, self.streams = (
            str(body["model"]),
            bool(body.get("raw")),
            body.get("stream", True),
        )
        self.said = {True: [], False: []}
        if not self.streams:
            self.content_type = "application/json; charset=utf-8"

    def token(self, text, reasoning):
        if not self.streams:
            self.said[reasoning].append(text)
            return b""
        return self.line(
            {"response": "", "thinking": text} if reasoning else {"response": text}, False
        )

    def line(self, fields, done):
        return (
            dump({"model": self.model, "created_at": self.created_at(), **fields, "done": done})
            + b"\n"
        )

    def created_at(self):
        return now_rfc3339()

    def closing(self, stream):
        fields = {"response": "".join(self.said[False])}
        if self.said[True]:
            fields["thinking"] = "".join(self.said[True])
        line = {
            "model": self.model,
            "created_at": self.created_at(),
            **fields,
            "done": True,
            "done_reason": stream.done_reason,
        }
        if not self.raw:
            line["context"] = [1, 2, 3]
        line.update(
            (name, value) for name, value in self.counters(stream).items() if value
        )  # Go's omitempty
        return [dump(line) + b"\n" * bool(self.streams)]

    def counters(self, stream):
        total_ns, load_ns, prefill_ns, decode_ns = stream.durations_ns()
        return {
            "total_duration": total_ns,
            "load_duration": load_ns,
            "prompt_eval_count": stream.prompt_tokens,
            "prompt_eval_duration": prefill_ns,
            "eval_count": stream.count,
            "eval_duration": decode_ns,
        }

    def error(self, message):
        return {"error": message}

    def error_line(self, message):
        return dump(self.error(message)) + b"\n"


class OpenAI:
    """/v1/chat/completions: server-sent events, with llama-server's timings at the end."""

    content_type = "text/event-stream"
    ping = b":\n\n"

    def __init__(self, request, body):
        self.streams = bool(body.get("stream"))
        self.usage_wanted = bool((body.get("stream_options") or {}).get("include_usage"))
        self.id, self.model, self.created = (
            f"chatcmpl-{request.number}",
            str(body["model"]),
            int(time.time()),
        )
        self.said = {True: [], False: []}
        self.role_sent = False
        if not self.streams:
            self.content_type = "application/json; charset=utf-8"

    def token(self, text, reasoning):
        if not self.streams:
            self.said[reasoning].append(text)
            return b""
        return self.event({"reasoning_content" if reasoning else "content": text})

    def event(self, delta, finish_reason=None, **more):
        """One event; before the first one that with the role alone."""
        role = b""
        if not self.role_sent:
            self.role_sent = True
            role = self.event({"role": "assistant", "content": None})
        choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
        return role + b"data: " + dump({**self.frame(), "choices": choices, **more}) + b"\n\n"

    def frame(self):
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_sim",
        }

    def closing(self, stream):
        usage = {"usage": self.usage(stream)}
        timings = {"timings": self.timings(stream)}
        if not self.streams:
            return [self.whole(stream, {**usage, **timings})]
        last = self.event({}, stream.done_reason, **({} if self.usage_wanted else timings))
        if self.usage_wanted:
            last += b"data: " + dump({**self.frame(), "choices": [], **usage, **timings}) + b"\n\n"
        return [last, b"data: [DONE]\n\n"]

    def whole(self, stream, more):
        message = {"role": "assistant", "content": "".join(self.said[False])}
        if self.said[True]:
            message["reasoning_content"] = "".join(self.said[True])
        choices = [{"index": 0, "message": message, "finish_reason": stream.done_reason}]
        return dump({**self.frame(), "object": "chat.completion", "choices": choices, **more})

    def usage(self, stream):
        return {
            "prompt_tokens": stream.prompt_tokens,
            "completion_tokens": stream.count,
            "total_tokens": stream.prompt_tokens + stream.count,
        }

    def timings(self, stream):
        _, _, prefill_ns, decode_ns = stream.durations_ns()
        return {
            "cache_n": 0,
            "prompt_n": stream.prompt_tokens,
            "prompt_ms": prefill_ns / 1e6,
            "predicted_n": stream.count,
            "predicted_ms": decode_ns / 1e6,
        }

    def error(self, message):
        return openai_error(message)

    def error_line(self, message):
        return b"data: " + dump(self.error(message)) + b"\n\n"


# Faults: each changes one stream before it begins. n counts tokens from 0.

FAULTS = {}


def fault(name):
    def register(function):
        FAULTS[name] = function
        return function

    return register


def parse_fault(text):
    """'stall:5' -> a function of the stream; ValueError when there is none of that name."""
    name, _, argument = text.strip().partition(":")
    if name not in FAULTS:
        raise ValueError(f"no fault '{name}'; --fault help lists them")
    return functools.partial(FAULTS[name], **({"argument": argument} if argument else {}))


def list_faults():
    """The text of --fault help."""
    lines = []
    for name, function in FAULTS.items():
        text = inspect.getdoc(function) or ""  # python -OO has no docstrings
        lines.append(f"{name:22} {text.partition(chr(10))[0]}".rstrip())
    return "\n".join(lines)


def at_token(stream, argument, action):
    """Do action() instead of writing token n, again and again if the stream goes on."""
    n, tick = max(0, min(int(argument), stream.count - 1)), stream.tick
    stream.tick = lambda due_ns: action() if len(stream.writes_ns) == n else tick(due_ns)


def change_payload(stream, change):
    """Pass every token's bytes through change(n, payload)."""
    payload = stream.payload
    stream.payload = lambda n: change(n, payload(n))


def change_closing(stream, change):
    """Pass the list of the last payloads through change(pieces)."""
    closing = stream.voice.closing
    stream.voice.closing = lambda of: change(closing(of))


def change_counters(stream, change):
    """Pass every counter of the server through change(value)."""
    for name in ("counters", "usage", "timings"):
        if hasattr(stream.voice, name):
            setattr(stream.voice, name, changed_counters(getattr(stream.voice, name), change))


def changed_counters(counters, change):
    return lambda stream: {name: change(value) for name, value in counters(stream).items()}


# ... that answer at once, and never queue.


def answer_instead(status, content_type, body, *lines):
    def answer(stream):
        stream.refuse(status, content_type, body, *lines)

    answer.__doc__ = f"{status} {REASONS[status]} " + " ".join(lines)
    return answer


FAULTS.update(
    {
        "html_502": answer_instead(
            502, "text/html", b"<html><h1>502 Bad Gateway</h1><hr>nginx</html>\r\n"
        ),
        "redirect": answer_instead(302, "text/html", b"", "Location: /elsewhere"),
        "401": answer_instead(401, "application/json", b'{"error":"unauthorized"}'),
        "403_empty": answer_instead(403, "", b""),
        "404_style1": answer_instead(
            404, "application/json", b'{"error":"model \'x\' not found, try pulling it first"}'
        ),
        "404_style2": answer_instead(
            404, "application/json", b'{"error":"model \\"x\\" not found, try pulling it first"}'
        ),
        "404_text": answer_instead(404, "text/plain", b"404 page not found"),
        "429": answer_instead(
            429, "application/json", b'{"error":"too many requests"}', "Retry-After: 7"
        ),
        "500": answer_instead(
            500,
            "application/json",
            b'{"error":"llama runner process has terminated: signal: killed"}',
        ),
        "503": answer_instead(
            503,
            "application/json",
            b'{"error":"server busy, please try again.  maximum pending requests exceeded"}',
            "Retry-After: 7",
        ),
    }
)


@fault("accept_silence")
def accept_silence(stream):
    """takes the request and never answers"""
    stream.held = True


# ... of the connection.


@fault("reset_before_headers")
def reset_before_headers(stream):
    """TCP reset where the first byte was due"""
    at_token(stream, 0, stream.connection.reset)


@fault("reset_after_headers")
def reset_after_headers(stream):
    """the headers, then a TCP reset"""
    at_token(stream, 0, lambda: cut(stream, stream.start()))


@fault("reset_mid_line")
def reset_mid_line(stream, argument="3"):
    """half of the line of token N (3), then a TCP reset"""
    at_token(
        stream, argument, lambda: cut(stream, half_piece(stream, lambda piece: len(piece) // 2))
    )


@fault("reset_mid_utf8")
def reset_mid_utf8(stream, argument="3"):
    """the first byte of a two-byte character in token N (3), then a TCP reset"""
    stream.text = lambda n: " não"
    at_token(
        stream,
        argument,
        lambda: cut(stream, half_piece(stream, lambda piece: piece.index("ã".encode()) + 1)),
    )


def half_piece(stream, where):
    piece = stream.framing.piece(stream.payload(len(stream.writes_ns)))
    return stream.start() + piece[: where(piece)]


def cut(stream, data):
    stream.transport.write(data)
    stream.connection.reset()


@fault("half_close")
def half_close(stream, argument="3"):
    """closes its sending side after N (3) tokens, in mid-stream, and lingers"""

    def close():
        if stream.transport.can_write_eof():
            stream.transport.write_eof()

    at_token(stream, argument, close)


@fault("stall")
def stall(stream, argument="3"):
    """sends nothing any more after N (3) tokens"""
    at_token(stream, argument, lambda: None)


@fault("crash")
def crash(stream, argument="3"):
    """the whole server dies after N (3) tokens of this stream"""

    def die():
        stream.sim.log.flush()
        os._exit(70)

    at_token(stream, argument, die)


@fault("slow_drip")
def slow_drip(stream, argument="1"):
    """all bytes one by one, one each S (1) seconds"""
    stream.transport = Drip(stream, int(float(argument) * 1e9))


class Drip:
    """Takes the transport's place and lets a byte out now and then."""

    def __init__(self, stream, gap_ns):
        self.stream, self.transport, self.gap_ns = stream, stream.transport, gap_ns
        self.bytes = collections.deque()

    def write(self, data):
        if not self.bytes:
            self.stream.sim.agenda.at(time.perf_counter_ns(), self._drop)
        self.bytes.extend(data)

    def _drop(self, due_ns):
        self.transport.write(bytes([self.bytes.popleft()]))
        if self.bytes and not self.transport.is_closing():
            self.stream.sim.agenda.at(due_ns + self.gap_ns, self._drop)


@fault("empty_chunks")
def empty_chunks(stream, argument="1000000"):
    """N (1000000) chunks without text before the first token"""
    left, tick = int(argument), stream.tick

    def pump(due_ns):
        nonlocal left
        if stream.over:
            return
        if stream.transport.get_write_buffer_size() < 1 << 20:
            some = min(left, 1000)  # a slice, so that other streams get their turn
            left -= some
            stream.write(stream.voice.token("", False))
            stream.transport.write(stream.framing.piece(stream.voice.token("", False)) * (some - 1))
        if left > 0:
            stream.sim.agenda.at(due_ns + 1_000_000, pump)
        else:
            stream.tick = tick

    def begin(due_ns):
        stream.tick = lambda due_ns: None  # the tokens wait
        pump(due_ns)

    stream.tick = begin


@fault("pings")
def pings(stream, argument="3"):
    """headers at once, then N (3) comment lines before each token (blank lines in NDJSON)"""
    ping = stream.framing.piece(stream.voice.ping)
    stream.transport.write(stream.start() + ping)
    change_payload(stream, lambda n, payload: stream.voice.ping * int(argument) + payload)


# ... of the framing.


@fault("until_eof")
def until_eof(stream):
    """no chunks, no length: the body ends where the connection does"""
    stream.framing = UntilEof()


@fault("content_length")
def content_length(stream):
    """the whole stream at its end, in one piece with its length"""
    stream.framing = Buffered()


@fault("wrong_content_length")
def wrong_content_length(stream, argument="long"):
    """a Content-Length 10 too 'short' or (default) too 'long'"""
    stream.framing = Buffered(-10 if argument == "short" else 10)


@fault("gzip")
def gzip_stream(stream):
    """Content-Encoding: gzip, flushed at every token"""
    stream.framing = Gzip()


class Gzip(Chunked):
    """Chunks of one gzip stream."""

    def __init__(self):
        self.packer = zlib.compressobj(wbits=31)

    def start(self, status, content_type):
        return response_head(
            status, content_type, "Transfer-Encoding: chunked", "Content-Encoding: gzip"
        )

    def piece(self, data):
        return super().piece(self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH))

    def finish(self):
        return super().piece(self.packer.flush()) + super().finish()


# ... of the text.


@fault("garbage")
def garbage(stream, argument="1"):
    """bytes that are no JSON and no UTF-8 in place of token N (1)"""
    change_payload(
        stream,
        lambda n, payload: b"\xff\xfe<<< {\x00 garbage\n\n" if n == int(argument) else payload,
    )


@fault("huge_line")
def huge_line(stream, argument="5000000"):
    """a line of N (5000000) bytes in place of token 1"""
    text = stream.text
    stream.text = lambda n: "x" * int(argument) if n == 1 else text(n)


@fault("merged_tokens")
def merged_tokens(stream, argument="2"):
    """N (2) tokens in each chunk, so that chunks are fewer than tokens"""
    every, text, payload = int(argument), stream.text, stream.payload
    stream.text = lambda n: "".join(text(i) for i in range(n - n % every, n + 1))
    stream.payload = lambda n: (
        payload(n) if n % every == every - 1 or n == stream.count - 1 else b""
    )


@fault("inline_think")
def inline_think(stream):
    """the reasoning within the text, between <think> and </think>, as servers did before 2025-05"""
    end, text, stream.reasoning_count = stream.reasoning_count, stream.text, 0
    stream.text = lambda n: {0: "<think>", end: "</think>"}.get(n) or text(n)


@fault("no_text")
def no_text(stream):
    """done with no text at all"""
    stream.count = 0


@fault("escape_codes")
def escape_codes(stream, argument="text"):
    """terminal escapes in model and text, with 'error' also in an error at the end"""
    evil = "\x1b[31m\x1b]0;owned\x07\x9b2J\r"
    text = stream.text
    stream.text = lambda n: evil + text(n)
    stream.voice.model = stream.voice.model + evil
    if argument == "error":
        change_closing(stream, lambda pieces: [stream.voice.error_line(evil + "it broke")])


# ... of the end.


@fault("error_first")
def error_first(stream):
    """200 and an error where the first token was due"""
    stream.count = 0
    error_last(stream)


@fault("error_last")
def error_last(stream):
    """200, the text, then an error in place of the end"""
    change_closing(
        stream,
        lambda pieces: [
            stream.voice.error_line(
                "an error was encountered while running the model: unexpected EOF"
            )
        ],
    )


@fault("no_done")
def no_done(stream):
    """the connection closes after the last token, the body unfinished"""
    change_closing(stream, lambda pieces: [])
    stream.framing.finish = bytes
    stream.framing.keeps_open = False


@fault("no_done_stop")
def no_done_stop(stream):
    """a clean end of the body, but no done"""
    change_closing(stream, lambda pieces: [])


@fault("done_twice")
def done_twice(stream):
    """the end comes twice"""
    change_closing(stream, lambda pieces: pieces * 2)


@fault("text_after_done")
def text_after_done(stream):
    """one more token after the end"""
    change_closing(stream, lambda pieces: [*pieces, stream.voice.token(" late", False)])


@fault("created_at_backwards")
def created_at_backwards(stream):
    """created_at goes back a second with every token (Ollama only)"""
    steps = itertools.count()
    stream.voice.created_at = lambda: f"{rfc3339_second(int(time.time()) - next(steps))}Z"


@fault("missing_counters")
def missing_counters(stream):
    """the end without any counter"""
    for name in ("counters", "usage", "timings"):
        setattr(stream.voice, name, lambda stream: {})


@fault("missing_usage")
def missing_usage(stream):
    """no usage and no timings even if asked for (Ollama: no eval_count)"""
    stream.voice.usage_wanted = False
    stream.voice.timings = lambda stream: {}
    if hasattr(stream.voice, "counters"):
        counters = stream.voice.counters
        stream.voice.counters = lambda of: {**counters(of), "eval_count": 0}


@fault("counters_as_strings")
def counters_as_strings(stream):
    """every counter as a string"""
    change_counters(stream, str)


@fault("counters_negative")
def counters_negative(stream):
    """every counter below zero"""
    change_counters(stream, lambda value: -value - 1)


@fault("counters_nan")
def counters_nan(stream):
    """every counter NaN, as Python's json writes it"""
    change_counters(stream, lambda value: float("nan"))


@fault("counters_huge")
def counters_huge(stream):
    """every counter 1e400, which no double holds"""
    change_counters(stream, lambda value: float("inf"))
    change_closing(
        stream, lambda pieces: [piece.replace(b"Infinity", b"1e400") for piece in pieces]
    )


# powermetrics: the same machine's power, in Apple's words.

POWERMETRICS_USAGE = 64  # its exit code for a wrong command line
SAMPLERS = {
    "tasks",
    "battery",
    "network",
    "disk",
    "interrupts",
    "cpu_power",
    "gpu_power",
    "thermal",
    "ane_power",
    "sfi",
    "all",
    "default",
}
GPU_STATES_MHZ = (444, 612, 808, 968, 1110, 1236, 1338, 1398)
CPU_STATES_MHZ = {
    "E": (912, 1284, 1752, 2004, 2256, 2424),
    "P": (
        702,
        948,
        1188,
        1452,
        1704,
        1968,
        2208,
        2400,
        2568,
        2724,
        2868,
        2988,
        3096,
        3204,
        3324,
        3408,
        3504,
    ),
}
CPU_BUSY_MHZ = 2100
# Cores by cluster of an M2 Pro and of an M2 Ultra, whose documents take 65 KB.
CHIPS = {
    "small": {"E-Cluster": 4, "P0-Cluster": 3, "P1-Cluster": 3},
    "ultra": dict.fromkeys([f"{name}-Cluster" for name in ("E0", "P0", "P1", "E1", "P2", "P3")], 4),
}
POWERMETRICS_FAULTS = (
    "no_root",
    "unrecognized",
    "silent",
    "stall",
    "die",
    "truncated",
    "zero_cpu",
    "split",
    "duplicate_idle",
)
HW_MODELS = {"small": "Mac14,10", "ultra": "Mac14,14"}


def play_powermetrics(argv):
    """Write documents to stdout as powermetrics does, until told to stop."""
    args = parse_powermetrics_args(argv)
    fault_name, _, argument = args.fault.partition(":")
    if fault_name == "no_root":
        print("powermetrics must be invoked as the superuser", file=sys.stderr)
        return 1
    unknown = [name for name in args.samplers.split(",") if name not in SAMPLERS]
    if unknown or fault_name == "unrecognized":
        print(
            f"powermetrics: unrecognized sampler: {(unknown or ['gpu_power'])[0]}", file=sys.stderr
        )
        return POWERMETRICS_USAGE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Powermetrics(args, fault_name, int(argument or 1)).run(sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains at its end
    return 0


def parse_powermetrics_args(argv):
    parser = argparse.ArgumentParser(
        prog="sim.py powermetrics", description="a stand-in for macOS' powermetrics"
    )
    add = parser.add_argument
    add(
        "--port",
        type=int,
        default=11434,
        help="the simulator whose power it is; idle when there is none",
    )
    add(
        "--chip", choices=CHIPS, default="small", help="small: an M2 Pro; ultra: documents of 65 KB"
    )
    add(
        "--fault",
        default="",
        metavar="NAME[:N]",
        help=f"{', '.join(POWERMETRICS_FAULTS)}; N: the document it is about",
    )
    add("--samplers", "-s", default="cpu_power,gpu_power,thermal")
    add("--format", "-f", choices=("text", "plist"), default="text")
    add("--buffer-size", "-b", type=int, default=0)
    add("--sample-rate", "-i", type=int, default=5000, metavar="MS")
    add("--sample-count", "-n", type=int, default=-1)
    try:
        args = parser.parse_args(argv)
        if args.fault and args.fault.partition(":")[0] not in POWERMETRICS_FAULTS:
            parser.error(f"no fault '{args.fault}'; there are {', '.join(POWERMETRICS_FAULTS)}")
        return args
    except SystemExit as end:
        raise SystemExit(POWERMETRICS_USAGE if end.code else 0) from None


class Powermetrics:
    """One run of it: samples the simulator's state and writes what changed."""

    def __init__(self, args, fault_name, fault_count):
        self.args, self.fault, self.fault_count = args, fault_name, fault_count
        self.source = StateSource(args.port)
        self.state = self.first = self.source.read()
        self.told_mj = {"cpu": 0, "gpu": 0}  # millijoules already reported since the start

    def run(self, out):
        if self.args.format == "text":
            out.write(text_header(self.args.chip))
        for number in itertools.count():
            out.flush()
            if number == self.args.sample_count or (
                self.fault == "die" and number == self.fault_count
            ):
                return
            time.sleep(self.args.sample_rate / 1e3)
            if self.fault == "silent" or (self.fault == "stall" and number >= self.fault_count):
                continue
            sample = self.sample()
            document = (plist_document if self.args.format == "plist" else text_document)(
                sample, self.args, number
            )
            self.write(out, document, number)
            if self.fault == "truncated" and number + 1 == self.fault_count:
                return

    def sample(self):
        """The window since the last sample: ns and whole mJ, whose sums keep to the simulator's own."""
        before, now = self.state, self.source.read()
        self.state = now
        sample = {
            "elapsed_ns": now["t_ns"] - before["t_ns"],
            "busy_ns": now["busy_ns"] - before["busy_ns"],
            "idle_ns": now["idle_ns"] - before["idle_ns"],
            "busy_mhz": now["busy_mhz"],
        }
        for part in self.told_mj:
            key = f"{part}_energy_j"
            total_mj = round((now[key] - self.first[key]) * 1000)
            sample[f"{part}_mj"] = total_mj - self.told_mj[part]
            self.told_mj[part] = total_mj
        if self.fault == "zero_cpu":
            sample["cpu_mj"] = 0
        return sample

    def write(self, out, document, number):
        if self.fault == "duplicate_idle":
            idle = re.search(rb"(?s)<key>gpu</key>.*?(<key>idle_ns</key>.*?</real>\n)", document)
            head, key, tail = document.rpartition(b"<key>gpu_energy</key>")
            document = head + idle[1] + key + tail
        if self.fault == "truncated" and number + 1 == self.fault_count:
            document = document[: len(document) // 2]
        middle = document.find(b"_energy</key>") + 3 if self.fault == "split" else 0
        out.write(document[:middle])
        out.flush()
        if middle:
            time.sleep(0.05)
        out.write(document[middle:])
        out.flush()


class StateSource:
    """The simulator's state over HTTP; without one, a machine that idles."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        self.last = {
            "t_ns": time.perf_counter_ns(),
            "busy_mhz": 0,
            **Meter(0).read(time.perf_counter_ns()),
        }

    def read(self):
        try:
            self.connection.request("GET", "/sim/state")
            self.last = json.loads(self.connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()
            self.last = idled(self.last, time.perf_counter_ns())
        return self.last


def idled(state, now_ns):
    """The state after idling from then to now."""
    passed_ns = now_ns - state["t_ns"]
    return {
        **state,
        "t_ns": now_ns,
        "idle_ns": state["idle_ns"] + passed_ns,
        "gpu_energy_j": state["gpu_energy_j"] + GPU_IDLE_W * passed_ns / 1e9,
        "cpu_energy_j": state["cpu_energy_j"] + CPU_IDLE_W * passed_ns / 1e9,
    }


def state_shares(states_mhz, mhz):
    """How the time splits over neighbouring states so that their mean is mhz."""
    shares = [0.0] * len(states_mhz)
    at = min(max(bisect.bisect_left(states_mhz, mhz), 1), len(states_mhz) - 1)
    low, high = states_mhz[at - 1], states_mhz[at]
    shares[at] = min(max((mhz - low) / (high - low), 0.0), 1.0)
    shares[at - 1] = 1 - shares[at]
    return shares


def residency(sample, states_mhz, mhz, unit):
    """The keys that clusters, CPUs and the GPU have in common; unit turns MHz into their freq_hz."""
    used = [share * sample["busy_ns"] for share in state_shares(states_mhz, mhz)]
    elapsed_ns = sample["elapsed_ns"]
    return {
        "freq_hz": float(mhz * unit if sample["busy_ns"] else 0),
        "idle_ns": sample["idle_ns"],
        "idle_ratio": sample["idle_ns"] / elapsed_ns,
        "dvfm_states": [
            {"freq": state, "used_ns": int(ns), "used_ratio": ns / elapsed_ns}
            for state, ns in zip(states_mhz, used)
        ],
    }


def plist_document(sample, args, number):
    """One document as powermetrics -f plist writes it; a NUL stands before all but the first."""
    mw = {part: sample[f"{part}_mj"] * 1e9 / sample["elapsed_ns"] for part in ("cpu", "gpu")}
    names = args.samplers.split(",")
    utc = datetime.datetime.fromtimestamp(int(time.time()), datetime.timezone.utc)
    document = {
        "is_delta": True,
        "elapsed_ns": sample["elapsed_ns"],
        "hw_model": HW_MODELS[args.chip],
        "kern_osversion": "25D125",
        "kern_bootargs": "",
        "kern_boottime": 1770931249,
        "timestamp": utc.replace(tzinfo=None),
    }
    if "cpu_power" in names:
        document["processor"] = {
            "clusters": clusters(sample, CHIPS[args.chip]),
            "cpu_energy": sample["cpu_mj"],
            "cpu_power": mw["cpu"],
            "gpu_energy": sample["gpu_mj"],
            "gpu_power": mw["gpu"],
            "ane_energy": 0,
            "ane_power": 0.0,
            "combined_power": mw["cpu"] + mw["gpu"],
        }
    if "thermal" in names:
        document["thermal_pressure"] = "Nominal"
    if "gpu_power" in names:
        document["gpu"] = {
            **residency(sample, GPU_STATES_MHZ, sample["busy_mhz"], 1),  # its freq_hz is in MHz
            "gpu_energy": sample["gpu_mj"],
        }
    xml = plistlib.dumps(document, sort_keys=False).replace(b"\t", b"")
    xml = re.sub(rb"</key>\n(?=<(?:integer|real|string|date|true|false))", b"</key>", xml)
    return (b"\0" if number else b"") + xml


def clusters(sample, cores_by_cluster):
    numbers = itertools.count()
    result = []
    for name, cores in cores_by_cluster.items():
        shares = residency(sample, CPU_STATES_MHZ[name[0]], CPU_BUSY_MHZ, 1_000_000)
        result.append(
            {
                "name": name,
                **shares,
                "cpus": [{"cpu": next(numbers), **shares} for _ in range(cores)],
            }
        )
    return result


def text_header(chip):
    return (
        f"Machine model: {HW_MODELS[chip]}\nOS version: 25D125\nBoot arguments: \n"
        "Boot time: Thu Feb 12 16:20:49 2026\n\n\n\n"
    ).encode()


def text_document(sample, args, number):
    """One sample as powermetrics -f text writes it."""
    elapsed_ms, names = sample["elapsed_ns"] / 1e6, args.samplers.split(",")
    cpu_mw, gpu_mw = (round(sample[f"{part}_mj"] * 1e3 / elapsed_ms) for part in ("cpu", "gpu"))
    when = time.strftime("%a %b %e %H:%M:%S %Y +0000", time.gmtime())
    lines = [f"*** Sampled system activity ({when}) ({elapsed_ms:.2f}ms elapsed) ***", "", ""]
    if "cpu_power" in names:
        lines += [
            "**** Processor usage ****",
            "",
            f"CPU Power: {cpu_mw} mW",
            f"GPU Power: {gpu_mw} mW",
            "ANE Power: 0 mW",
            f"Combined Power (CPU + GPU + ANE): {cpu_mw + gpu_mw} mW",
            "",
        ]
    if "thermal" in names:
        lines += ["**** Thermal pressure ****", "", "Current pressure level: Nominal", ""]
    if "gpu_power" in names:
        lines += ["**** GPU usage ****", "", *gpu_text(sample), f"GPU Power: {gpu_mw} mW", "", ""]
    return ("\n".join(lines) + "\n").encode()


def gpu_text(sample):
    busy_ratio = sample["busy_ns"] / sample["elapsed_ns"]
    shares = state_shares(GPU_STATES_MHZ, sample["busy_mhz"])
    states = " ".join(
        f"{mhz} MHz:{percent(share * busy_ratio)}%" for mhz, share in zip(GPU_STATES_MHZ, shares)
    )
    mhz = sample["busy_mhz"] if sample["busy_ns"] else 0
    return [
        f"GPU HW active frequency: {mhz} MHz",
        f"GPU HW active residency: {busy_ratio:6.2%} ({states})",
        f"GPU idle residency: {1 - busy_ratio:6.2%}",
    ]


def percent(share):
    """Two digits that matter, without a leading zero, as the real one prints them."""
    text = f"{share * 100:.2g}" if share < 0.1 else f"{share * 100:.0f}"
    return f"{text.lstrip('0') if '.' in text else text:>4}"


if __name__ == "__main__":
    sys.exit(main())
