"""wire.py - sends a prepared request and records its answer: bytes and instants, nothing else.

Everything that can wait, waits. While streams come in, one thread only receives and
notes the clock: no parsing, no object for a line, no lock. Then requests, urllib3 and
http.client read the very same bytes from the recording as if from the wire, so that
status line, headers, framing and decompression stay theirs, and each piece of the body
carries the instant of the read in which its last byte came.

    session = wire.Session()
    exchange = wire.Exchange(on_ready=ready.put)      # in a worker thread:
    with exchange:
        response = session.send(prepared, stream=True, allow_redirects=False)
        for at_ns, data in exchange.pieces(response): ...
    exchange.fire()                                   # in any thread, once it is ready

An exchange that is ready is serialised and connected, its thread waits, and its bytes leave
in one piece when it is fired: a burst of hundreds leaves within milliseconds, and t0 is read
just before each write. Connections are Lines of their own: what is recorded needs none any
more, so the next request can leave on a line while the reply before it still waits to be
digested.
"""
from __future__ import annotations

import collections
import contextlib
import http.client
import io
import json
import os
import queue
import re
import select
import socket
import threading
import time
from array import array
from operator import le, sub
from time import perf_counter_ns
from typing import Callable, Iterator

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util import wait_for_read, wait_for_write

from ollama_bench.transport import syscalls
from ollama_bench.transport.syscalls import NO_STAMP, READ_BYTES, SO_TIMESTAMPNS, TIMESPEC

PIECE_BYTES = 65_536  # handed out at once: a small answer can be packed gigabytes
SMALL_BYTES = 65_536  # a request that the socket's buffer takes at once, whether or not the server reads
EPISODE_BYTES = 8 << 20  # a longer answer is digested in episodes, so that memory stays bounded
HEAD_BYTES = 1 << 20  # a head longer than this is no HTTP
MOST_HEADERS = 100  # http.client takes no more
KERNEL_STAMPS = syscalls.STAMPS and syscalls.Receiver is not None
STEP_NS = 20_000  # the wall clock moved by more against ours: its stamps are not used
END_GRACE_S = 0.003  # after a reply's last line its framing may take so long to end, else the line is dropped
KEPT_AFTER_S = 0.02  # a server that has not hung up so long after a reply keeps its connections
FRESH_S = 1.0  # a connection so young is written to without a look at it
CANCEL_LOOK_S = 0.1  # how often a thread that connects looks whether it still should
SHUTDOWN_WAKES = os.name != "nt"  # winsock lets who receives sleep until the other side reacts
CUT_LOOK_S = 0.5  # how often such a one looks whether its stream was cut
NAP_S = 0.001  # with the kernel's stamps: between two rounds of reading, so that a round finds several tokens
NAP_SHARE = 0.06  # of the mean gap between the reads of a stream: a nap is shorter, or there is none
NAP_EVERY_S = 0.25  # how often that is judged

READS_TOGETHER = syscalls.Receiver is not None and (hasattr(select, "epoll") or hasattr(select, "kqueue"))  # select() holds 512 sockets at most
MOST_EVENTS = 512  # of one round
STAMP_BYTES = socket.CMSG_SPACE(TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
LONGEST_LENGTH = 15  # digits of a length or a chunk's size; more is none
NEVER = b"\0never\0"  # an ending that no body comes to
LINE_END = re.compile(rb"[\r\n]")
BLANK_LINE = re.compile(rb"\n\r?\n")
VERSIONS = (b"HTTP/1.", b"HTTP/0.9")
PLAIN_HEADERS = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r?\n)*\r?\n")  # no folded, no odd line

RECORDS = hasattr(PoolManager(), "pool_classes_by_scheme") and hasattr(HTTPResponse, "read1")  # else: the plain way

DIAL, RECEIVE, FAIL, DIGEST = "dial", "receive", "fail", "digest"  # what an exchange's thread is woken for

_current = threading.local()  # the exchange this thread is busy with


class Session(requests.Session):
    """A requests session whose answers are recorded, or read live; it obeys no proxy variable."""

    def __init__(self, records: bool = True) -> None:
        super().__init__()
        self.trust_env = False  # requests would send 127.0.0.1 through HTTP_PROXY
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True  # for a certificate of one's own
        self._templates: dict[tuple, requests.PreparedRequest] = {}
        if RECORDS and records:
            for scheme in ("http://", "https://"):
                self.mount(scheme, RecordingAdapter())

    def get_redirect_target(self, _) -> None:
        """Never: else requests reads a redirect's whole body, though it is not to follow."""

    def prepare_post(self, url: str, body: dict, headers: dict[str, str]) -> requests.PreparedRequest:
        """A POST of a JSON body; all but the body is prepared once for each URL. Raises ValueError for NaN."""
        key = url, *headers.items()
        if key not in self._templates:
            self._templates[key] = self.prepare_request(requests.Request("POST", url, json={}, headers=headers))
        prepared = self._templates[key].copy()
        prepared.body = json.dumps(body, allow_nan=False).encode()
        prepared.headers["Content-Length"] = str(len(prepared.body))
        return prepared


class Line:
    """A connection to a server. It carries one exchange at a time."""

    def __init__(self, sock: socket.socket, key: tuple, kernel_stamps: bool = False) -> None:
        self.sock, self.key = sock, key
        self.is_plain = type(sock) is socket.socket  # TLS: one object must not read and write at once
        self.has_stamps = kernel_stamps and self.is_plain and ask_for_stamps(sock)
        self.number = sock.fileno()
        self.since = time.monotonic()  # it is idle since
        self.has_served = False
        self.has_ended = False  # the server has hung up while nobody had asked anything
        self.has_said = False  # it has sent something then

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self.since

    def is_open(self) -> bool:
        """Has the server neither hung up nor said anything that nobody asked for?"""
        if self.has_ended or self.has_said:
            return False
        if self.is_plain and syscalls.peek is not None:
            return syscalls.peek(self.number) < 0
        try:
            return not wait_for_read(self.sock, timeout=0.0)
        except (OSError, ValueError):
            return False

    def shutdown(self) -> None:
        """End it for both sides; who reads sees the end of file."""
        shutdown(self.sock)

    def close(self) -> None:
        try:
            self.sock.close()
        except OSError:
            pass


def shutdown(sock: socket.socket) -> None:
    """End a connection for both sides, without a word of TLS; who reads sees the end of file."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # it was not connected any more


class Lines:
    """The idle connections to some servers, and whether each server keeps a connection after a reply.

    A server that has hung up right after a reply without a word makes the next request on that
    line fail. So a line is used again only where the server is known to keep it.
    """

    def __init__(self) -> None:
        self._idle: dict[tuple, list[Line]] = {}
        self._keeps: dict[tuple, bool] = {}
        self._addresses: dict[tuple, list] = {}
        self._lock = threading.Lock()

    def keeps(self, key: tuple) -> bool:
        """Is the server known to keep a connection after a reply?"""
        with self._lock:
            idle = self._idle.get(key, ())
            while key not in self._keeps and idle and idle[0].idle_s >= KEPT_AFTER_S:
                if idle[0].has_served and idle[0].is_open():
                    self._keeps[key] = True
                    break
                line = idle.pop(0)
                if line.has_served and line.idle_s < FRESH_S:  # later it may just have been idle for too long
                    self._keeps[key] = False
                line.close()
            return self._keeps.get(key, False)

    def hung_up(self, key: tuple) -> None:
        """The server has closed a line that was to be used again."""
        with self._lock:
            self._keeps[key] = False

    def put(self, line: Line) -> None:
        line.since = time.monotonic()
        with self._lock:
            self._idle.setdefault(line.key, []).append(line)

    def take(self, key: tuple) -> Line | None:
        """An idle line that may be used and is open, the one used last; None where a new one must be made."""
        keeps = self.keeps(key)
        while True:
            with self._lock:
                idle = self._idle.get(key, [])
                place = next((i for i in reversed(range(len(idle))) if keeps or not idle[i].has_served), None)
                if place is None:
                    return None
                line = idle.pop(place)
            if line.is_open():
                return line
            line.close()

    def rest(self) -> None:
        """Close all but one line of each server: idle ones occupy some servers' threads."""
        with self._lock:
            for idle in self._idle.values():
                while len(idle) > 1:
                    idle.pop().close()

    def close(self) -> None:
        with self._lock:
            for idle in self._idle.values():
                while idle:
                    idle.pop().close()

    def addresses(self, host: str, port: int) -> list:
        """What the name means, asked once. Raises OSError."""
        key = host, port
        if key not in self._addresses:
            self._addresses[key] = socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM)
        return self._addresses[key]


class Exchange:
    """One request on the wire.

    ``sent_ns`` (t0), ``first_read_ns``, ``last_read_ns`` and ``ended_ns`` are instants of
    time.perf_counter_ns, None before they happened. ``reads`` counts what came so far.
    All of them may be looked at while the stream runs.

    ``on_ready`` is called by the worker when the request can be fired; without it the worker
    fires at once. ``on_over`` is called when the last byte has come, before anything is digested,
    by the thread that received it; it may take the line (``free_line``). ``is_last`` tells a
    reply's last line from its bytes; one of ``marks`` is surely in it. ``needs_line`` False: it
    is fired on somebody's line, or connects then.
    """

    def __init__(self, kernel_stamps: bool = True, reader: "Reader | None" = None, lines: Lines | None = None,
                 digests: "DigestQueue | None" = None, on_ready: Callable[["Exchange"], None] | None = None,
                 on_over: Callable[["Exchange"], None] | None = None, marks: tuple[bytes, ...] = (),
                 is_last: Callable[[bytes], bool] = lambda _: False, needs_line: bool = True) -> None:
        self.kernel_stamps = kernel_stamps and KERNEL_STAMPS
        self.reader, self.lines, self.digests = reader, lines, digests
        self.on_ready, self.on_over = on_ready, on_over
        self.needs_line = needs_line
        self.is_urgent = False  # digested before others: somebody waits for what it says
        self.intended_ns: int | None = None  # when it should leave, where that was planned
        self.sent_ns: int | None = None
        self.first_read_ns: int | None = None
        self.ended_ns: int | None = None  # the last byte, the end of file or the error
        self.cancelled: str | None = None  # why the client itself cut the stream
        self.recorder = Recorder(marks, is_last) if RECORDS else None
        self.pauses = False  # an episode is digested while the server may go on: silence is then our own
        self.resumed_ns: int | None = None  # a later episode began
        self.at_ns: int | None = None  # instant of the bytes handed out last
        self.key: tuple | None = None  # of its server
        self._handshake: socket.socket | None = None  # a connection that is not usable yet
        self.line: Line | None = None
        self._plain_stamps = array("q")  # of reads without a recording
        self._payload = b""  # headers and body, as http.client writes them
        self._parts: list[bytes] = []
        self._dial: Callable[["Exchange"], socket.socket] | None = None
        self._error: Exception | None = None  # why it could not connect
        self._steps: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._state = threading.Lock()  # of fire against cancel
        self._fired = threading.Event()
        self._has_turn = False
        self._is_fired = False

    def __enter__(self) -> "Exchange":
        _current.exchange = self
        if not RECORDS:
            self._begin_plainly()
        return self

    def __exit__(self, *_) -> None:
        _current.exchange = None
        self.leave_turn()
        if self.line is not None:
            self.line.close()

    @property
    def reads(self) -> int:
        return self.recorder.earlier_reads + self.recorder.reads if self.recorder is not None else len(self._plain_stamps)

    @property
    def first_ns(self) -> int | None:
        """Instant of the first read, before anything of it is known."""
        return self.first_read_ns or (self.recorder.first_ns if self.recorder is not None else None)

    @property
    def last_read_ns(self) -> int | None:
        last_ns = self.recorder.last_ns if self.recorder is not None else self._plain_stamps[-1] if self._plain_stamps else None
        return last_ns or self.resumed_ns or self.first_read_ns

    @property
    def read_lags_ns(self) -> array:
        """User-space stamp minus kernel stamp, a read each."""
        return self.recorder.read_lags_ns if self.recorder is not None else array("q")

    @property
    def recorded_bytes(self) -> int:
        return len(self.recorder.data) if self.recorder is not None else 0

    # -- without a recording

    def _begin_plainly(self) -> None:
        """Without a recording requests itself writes, right after this."""
        if self.on_ready is not None:
            self.on_ready(self)
            self._fired.wait()
        else:
            self.sent_ns = time.perf_counter_ns()

    # -- in the worker's thread

    def collect(self, data: bytes) -> None:
        """Bytes of the request, as http.client writes them."""
        self._parts.append(bytes(data))

    def open(self, key: tuple, dial: Callable[["Exchange"], socket.socket]) -> io.BufferedReader:
        """The file that http.client reads the answer from; ``dial`` connects to its server."""
        if self.cancelled:
            raise ConnectionAbortedError(self.cancelled)
        self.key, self._dial, self._payload = key, dial, b"".join(self._parts)
        return io.BufferedReader(Replay(self), READ_BYTES)

    def record(self) -> None:
        """Have the answer, or an episode of it, recorded; returns when it may be digested."""
        self.leave_turn()
        recorder = self.recorder
        recorder.forget()
        if not self._is_fired:
            self._get_ready()
        else:
            self.resumed_ns = time.perf_counter_ns()
            self.pauses = False
            self._listen()
        while (step := self._steps.get()) is not DIGEST:
            if step is DIAL:
                self._connect()
                with self._state:
                    if self.cancelled:
                        raise ConnectionAbortedError(self.cancelled)
                    self._send()
            elif step is RECEIVE:
                recorder.receive_alone(self.line.sock, lambda: self.cancelled is not None)
                self.finish()
            else:
                raise self._error
        self._has_turn = self.digests is not None and self.sent_ns is not None
        if recorder.is_early(self.sent_ns):
            recorder.refuse_early()
        recorder.settle(self.sent_ns)
        if self.first_read_ns is None:
            self.first_read_ns = recorder.first_instant()
        if recorder.has_ended and recorder.end_read is not None and recorder.reads:
            self.ended_ns = recorder.instant(recorder.end_read)

    def _get_ready(self) -> None:
        if self.needs_line or self.on_ready is None:
            try:
                self._connect()
            except Exception as error:  # it has failed when it was due, not before
                if self.on_ready is None:
                    raise
                self._error = error
        if self.on_ready is not None:
            self.on_ready(self)
        else:
            self.fire()

    def _connect(self) -> None:
        if self.line is not None:  # the server hung up before it was asked
            self.line.close()
        self.line = self.lines.take(self.key) if self.lines is not None else None
        if self.line is None:
            self.line = Line(self._dial(self), self.key, self.kernel_stamps)
            if self.reader is not None and self.line.is_plain:
                self.reader.know(self.line)

    def begin_handshake(self, sock: socket.socket) -> None:
        """TLS takes the socket over; whoever cancels ends the handshake through another descriptor of it."""
        with self._state:
            self._handshake = sock.dup()
            if self.cancelled:
                shutdown(self._handshake)

    def end_handshake(self) -> None:
        with self._state:
            if self._handshake is not None:
                self._handshake.close()
            self._handshake = None

    def leave_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.digests.done()

    # -- in the thread that fires

    def fire(self, line: Line | None = None) -> None:
        """Write the request, on this line or its own. t0 is read just before. Without a line its thread connects first."""
        with self._state:
            if self.cancelled or self._is_fired:
                if line is not None:
                    line.close()
                return
            self._is_fired = True
            if not RECORDS:
                self.sent_ns = time.perf_counter_ns()
                return self._fired.set()
            spare, self.line = self.line, line or self.line
            if spare is not None and spare is not self.line:  # its server keeps connections: there are enough
                spare.close()
            if self.line is None and self._error is not None:
                return self._steps.put(FAIL)
            if self.line is None or self.line.has_ended or line is None and self.line.idle_s > FRESH_S and not self.line.is_open():
                return self._steps.put(DIAL)
            self._send()

    def _send(self) -> None:
        line = self.line
        self.recorder.begin(line)
        if not line.is_plain or syscalls.send is None:
            return self._send_all(line)
        self._listen()
        self.sent_ns = time.perf_counter_ns()
        try:
            sent = syscalls.send(line.number, self._payload)
        except OSError:
            return  # who receives meets the same broken connection and reports it
        if sent < len(self._payload):  # who fires has others to fire and to watch
            threading.Thread(target=self._write, args=(line.sock, self._payload[sent:]), name="sender", daemon=True).start()

    def _send_all(self, line: Line) -> None:
        self.sent_ns = time.perf_counter_ns()
        if len(self._payload) <= SMALL_BYTES:
            self._write(line.sock, self._payload)
            return self._listen()

        def work() -> None:
            self._write(line.sock, self._payload)
            self._listen()

        threading.Thread(target=work, name="sender", daemon=True).start()

    def _write(self, sock: socket.socket, data: bytes) -> None:
        try:
            if SHUTDOWN_WAKES:
                sock.sendall(data)
            else:
                self._write_in_steps(sock, memoryview(data))
        except OSError:
            pass  # who receives meets the same broken connection and reports it

    def _write_in_steps(self, sock: socket.socket, data: memoryview) -> None:
        """As sendall, but look now and then whether it still should. Raises OSError."""
        sock.settimeout(CUT_LOOK_S)
        while data and not self.cancelled:
            with contextlib.suppress(TimeoutError):
                data = data[sock.send(data):]
        sock.settimeout(None)

    def _listen(self) -> None:
        if self.reader is not None and self.line.is_plain:
            self.reader.watch(self)
        else:
            self.receive_alone()

    def receive_alone(self) -> None:
        """Have its own thread receive."""
        self._steps.put(RECEIVE)

    def cancel(self, why: str) -> None:
        """Cut the stream; its thread sees the end of file."""
        with self._state:
            if self.cancelled is not None or self.ended_ns is not None:
                return
            self.cancelled = why
            self._fired.set()
            if self._handshake is not None:
                shutdown(self._handshake)
            if not self._is_fired:
                self._is_fired = True
                if self.recorder is not None:
                    self.recorder.stop()
                    self._steps.put(DIGEST)
            elif self.line is not None:
                self.line.shutdown()

    # -- in the thread that receives

    def finish(self) -> None:
        """An episode of the answer, or all of it, is recorded."""
        recorder = self.recorder
        self.pauses = not recorder.has_ended
        if recorder.has_ended:
            self.ended_ns = recorder.end_instant()
            if not recorder.reads and self.line.has_served and self.lines is not None and not self.cancelled:
                self.lines.hung_up(self.key)  # the next request does not trust such a line
            if self.on_over is not None:
                self.on_over(self)
            else:
                self.give_back_line()
        if self.digests is not None:
            self.digests.offer(self)
        else:
            self.begin_digest()

    def begin_digest(self) -> None:
        """Wake its thread to read what was recorded."""
        self._steps.put(DIGEST)

    def free_line(self) -> Line | None:
        """The line for the next request; None, and closed, where the reply has left none."""
        line, self.line = self.line, None
        if line is None:
            return None
        if self.cancelled or not self.recorder.leaves_line:
            line.close()
            return None
        line.has_served, line.since = True, time.monotonic()
        return line

    def give_back_line(self) -> None:
        """Keep the line for a later request, or close it."""
        if (line := self.free_line()) is not None:
            if self.lines is None:
                line.close()
            else:
                self.lines.put(line)

    # -- reading what was recorded

    def pieces(self, response: requests.Response) -> Iterator[tuple[int, bytes]]:
        """The decoded body as (instant, bytes). Raises what urllib3 raises on a broken stream."""
        raw = response.raw
        if self.recorder is not None and raw.chunked and "Content-Encoding" not in response.headers:
            yield from self.recorder.chunks()
        if raw.chunked and raw.supports_chunked_reads():
            parts = raw.read_chunked(PIECE_BYTES, decode_content=True)  # half the cost of read1 for each chunk
        else:
            parts = iter(lambda: raw.read1(PIECE_BYTES, decode_content=True), b"")
        for data in parts:
            if self.recorder is None:
                self.at_ns = time.perf_counter_ns()
                self.first_read_ns = self.first_read_ns or self.at_ns
                self._plain_stamps.append(self.at_ns)
            yield self.at_ns, data


class Replay(io.RawIOBase):
    """The file that http.client reads an answer from: it has it recorded first."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        exchange = self._exchange
        recorder = exchange.recorder
        if recorder.is_read and not recorder.has_ended:
            exchange.record()
        taken, exchange.at_ns = recorder.read(buffer)
        return taken

    def close(self) -> None:
        """All was handed out: http.client's connection holds on to this object until its next answer, so free what is large."""
        self._exchange.recorder.free()
        super().close()


class Recorder:
    """The bytes of an answer and the instant of each read, and where it ends."""

    __slots__ = ("data", "_log", "_kernel", "_stamped", "_is_early", "_marks", "_mark_at", "_framing", "_is_last", "_says_last", "_error", "_last_ns",
                 "_offset_ns", "_stopped_ns", "_next", "_position", "_ends", "_settled", "has_ended", "end_read", "earlier_reads", "read_lags_ns")

    def __init__(self, marks: tuple[bytes, ...], is_last: Callable[[bytes], bool]) -> None:
        self._marks, self._is_last = marks, is_last
        self.has_ended = False
        self.end_read: int | None = None  # the read in which the answer's last line, or its last byte, lay
        self.earlier_reads = 0
        self.read_lags_ns = array("q")
        self._log = array("q")
        self._settled = array("q")
        self._framing = Framing()
        self._error: Exception | None = None
        self._last_ns = 0  # instant of the last read of an earlier episode
        self._stamped = self._is_early = False
        self._offset_ns = self._stopped_ns = 0
        self.forget()

    def forget(self) -> None:
        """Begin an episode."""
        self.earlier_reads += self.reads
        self._last_ns = self.last_ns or self._last_ns
        self.data = bytearray()
        self._log = array("q")  # for each read our instant, and where its bytes end
        self._kernel = bytearray()  # a timespec for each read, zeros where there was none
        self._settled = array("q")  # instants of the reads once they are recorded
        self._ends = array("q")
        self._next, self._position = 0, 0
        self._says_last = False
        self._mark_at: int | None = None  # a mark lies here, in a line that has not come whole

    def free(self) -> None:
        self.data, self._kernel, self._framing = bytearray(), bytearray(), Framing()

    def begin(self, line: Line) -> None:
        """A request is about to be sent on this line."""
        self._stamped, self._is_early = line.has_stamps, line.has_said
        if self._stamped:
            self._offset_ns = clock_offset_ns()

    # -- while it comes

    @property
    def reads(self) -> int:
        """Reads of this episode."""
        return len(self._log) >> 1

    @property
    def first_ns(self) -> int | None:
        return self._log[0] if self._log else None

    @property
    def last_ns(self) -> int | None:
        log = self._log  # somebody may look between the two numbers of a read
        return self._settled[-1] if self._settled else log[len(log) - 1 & ~1] if log else None

    def note(self, new: memoryview, at_ns: int, stamp=None) -> bool:
        """Bytes have come, none at the end of file; is the episode over? The hot path."""
        try:
            if not new:
                return self.stop()
            data, log = self.data, self._log
            start = len(data)
            data += new
            log.append(at_ns)
            log.append(len(data))
            if stamp is not None:
                self._kernel += stamp
            for mark in self._marks:
                if self._mark_at is not None or (found := data.find(mark, start - 16 if start > 16 else 0)) >= 0:
                    self._look_for_last(start, found if self._mark_at is None else self._mark_at)
                    break
            framing = self._framing
            if data.endswith(framing.ending) and (self._says_last and data.endswith(b"\r\n0\r\n\r\n") and framing.trust_end() or framing.ends(data)):
                return self.stop()
            if start > EPISODE_BYTES and (framing.is_between(data) or start > 2 * EPISODE_BYTES):
                framing.drop(data)
                return True
        except Exception as error:  # it must end this stream and no other
            return self.fail(error)
        return False

    def fail(self, error: Exception) -> bool:
        """The connection broke."""
        self._error = error
        return self.stop()

    def _look_for_last(self, start: int, mark_at: int) -> None:
        """Does one of the lines that came now say that the reply has ended?"""
        data = self.data
        begin = max(data.rfind(b"\n", 0, mark_at), data.rfind(b"\r", 0, mark_at)) + 1
        if data.find(b"\n", max(start, begin)) < 0 and data.find(b"\r", max(start, begin)) < 0:
            self._mark_at = mark_at  # its end has not come
            return
        *lines, rest = LINE_END.split(data[begin:])
        if any(self._is_last(bytes(line)) for line in lines if any(mark in line for mark in self._marks)):
            self._says_last, self._marks = True, ()
            self.end_read = self.reads - 1
        self._mark_at = len(data) - len(rest) if any(mark in rest for mark in self._marks) else None

    @property
    def says_last(self) -> bool:
        """Has the reply's last line come?"""
        return self._says_last

    def receive_alone(self, sock: socket.socket, is_cut: Callable[[], bool] = lambda: False) -> None:
        """Record in the stream's own thread: TLS, and where many sockets can't be waited for together."""
        over = False
        try:
            if not SHUTDOWN_WAKES:
                sock.settimeout(CUT_LOOK_S)
            while not over:
                try:
                    over = self._receive(sock)
                except TimeoutError as error:  # with a number it is the system's own
                    is_over = SHUTDOWN_WAKES or error.errno is not None or self._says_last
                    over = (is_over or is_cut()) and self.stop()
        except Exception as error:
            self.fail(error)
        if self._says_last or not SHUTDOWN_WAKES:
            sock.settimeout(None)

    def _receive(self, sock: socket.socket) -> bool:
        """Receive until the episode is over. Raises OSError."""
        buffer = bytearray(READ_BYTES)
        view, over = memoryview(buffer), False
        while not over:
            if self._says_last:
                sock.settimeout(END_GRACE_S)
            if self._stamped:
                got, ancillary, _, _ = sock.recvmsg_into([buffer], STAMP_BYTES)
                over = self.note(view[:got], perf_counter_ns(), ancillary[0][2] if ancillary else NO_STAMP)
            else:
                got = sock.recv_into(buffer)
                over = self.note(view[:got], perf_counter_ns())
        return over

    def stop(self) -> bool:
        """Nothing more is received."""
        self.has_ended = True
        if self._framing.complete and self.end_read is None and self._log:
            self.end_read = self.reads - 1
        self._stopped_ns = time.perf_counter_ns()
        return True

    @property
    def leaves_line(self) -> bool:
        """Has the answer ended as it should, so that the line can carry another?"""
        return self._framing.complete and self._framing.keeps and self._error is None

    def end_instant(self) -> int:
        """When the answer ended: the kernel's instant where it has one."""
        if self.end_read is None:
            return self._stopped_ns
        at = self._log[2 * self.end_read]
        if self._stamped and self._clock_stands():
            seconds, nanoseconds = TIMESPEC.unpack_from(self._kernel, self.end_read * TIMESPEC.size)
            kernel_at = seconds * 1_000_000_000 + nanoseconds - self._offset_ns
            at = kernel_at if 0 <= at - kernel_at < 10**9 else at
        return at

    # -- once it is recorded

    def instant(self, read: int) -> int:
        return self._settled[read]

    def is_early(self, sent_ns: int | None) -> bool:
        """Did anything come before the request was sent?"""
        if not self._log or self.earlier_reads or sent_ns is None:
            return False
        has_stamp = self._stamped and any(self._kernel[: TIMESPEC.size]) and self._clock_stands()
        return self._is_early or (self._kernel_instants()[0] + STEP_NS if has_stamp else self._log[0]) < sent_ns

    def refuse_early(self) -> None:
        self.forget()
        self.has_ended, self._error = True, http.client.HTTPException("the server answered before it was asked")

    def first_instant(self) -> int | None:
        """The instant of the first byte of the answer, without informational ones before."""
        start = self._framing.head_start
        return next((at for at, end in zip(self._settled, self._ends) if end > start), None)

    def settle(self, sent_ns: int | None) -> None:
        """Put the kernel's instants in place of ours, and keep the difference as read lag."""
        self._settled, self._ends = ours, _ = self._log[::2], self._log[1::2]
        if not self.earlier_reads:
            self._skip_informational()
        if not (self._stamped and ours and self._clock_stands()):
            return
        at = self._kernel_instants()
        lags = array("q", map(sub, ours, at))
        earliest = max(sent_ns or 0, self._last_ns)
        if min(lags) >= 0 and at[0] >= earliest and all(map(le, at, at[1:])):
            self.read_lags_ns.extend(lags)
            self._settled = array("q", at)
            return
        for i, kernel_at in enumerate(at):  # seldom: a read without a stamp, or a clock that was set
            if earliest <= kernel_at <= ours[i]:
                self.read_lags_ns.append(ours[i] - kernel_at)
                ours[i] = earliest = kernel_at

    def _kernel_instants(self) -> list[int]:
        pairs, offset_ns = array("q"), self._offset_ns
        pairs.frombytes(self._kernel)
        return [seconds * 1_000_000_000 + nanoseconds - offset_ns for seconds, nanoseconds in zip(pairs[::2], pairs[1::2])]

    def _clock_stands(self) -> bool:
        return abs(clock_offset_ns() - self._offset_ns) <= STEP_NS

    def _skip_informational(self) -> None:
        """http.client skips 100 Continue and no other informational answer."""
        self._position = self._framing.head_start
        while self._next < len(self._ends) and self._ends[self._next] <= self._position:
            self._next += 1

    @property
    def is_read(self) -> bool:
        """Was everything that is recorded handed out?"""
        return self._next == len(self._ends)

    def read(self, buffer) -> tuple[int, int | None]:
        """Hand out recorded bytes, and their instant: the head alone, then never those of two reads at once."""
        if self.is_read:
            if self._error is not None:
                raise self._error
            return 0, self._settled[-1] if self._settled else None
        read_end, head_end = self._ends[self._next], self._framing.head_end
        end = head_end if self._position < head_end < read_end else read_end
        taken = min(len(buffer), end - self._position)
        buffer[:taken] = self.data[self._position : self._position + taken]
        at_ns = self._settled[self._next]
        self._position += taken
        if self._position == read_end:
            self._next += 1
        return taken, at_ns

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Each whole chunk of the body as (instant, bytes), where nothing but the head was handed out.

        Stops before the last chunk, the empty one, and before anything odd: urllib3 goes on from there.
        """
        if self._position != self._framing.head_end:
            return
        data, stamps, ends = bytes(self.data), self._settled, self._ends
        find, position = data.find, self._position
        read, last, length = self._next, len(ends) - 1, len(data)
        while (line_end := find(b"\r\n", position)) >= 0:
            digits = data[position:line_end]
            try:
                size = int(digits, 16) if digits.isalnum() and len(digits) < 8 else chunk_size(digits)
            except ValueError:
                break
            if not size:
                break
            end = line_end + 2 + size
            if end + 2 > length or data[end : end + 2] != b"\r\n":
                break
            while read < last and ends[read] < end:
                read += 1
            yield stamps[read], data[line_end + 2 : end]
            position = end + 2
        self._position = position
        while read < len(ends) and ends[read] <= position:
            read += 1
        self._next = read


class DigestQueue:
    """Lets one recording at a time be read for what it says, while others still come in.

    What a thread does then takes the interpreter from the others' last tokens. In a burst an
    answer is held back until it has ended for ``later_s``, or ``hurry`` is called: streams sent
    together often end together.
    """

    def __init__(self, later_s: float = 0.0) -> None:
        self._later_s = later_s
        self._waiting: collections.deque[tuple[float, Exchange]] = collections.deque()
        self._lock = threading.Lock()
        self._is_busy = False
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Of all recordings that wait."""
        return self._bytes

    def offer(self, exchange: Exchange) -> None:
        """A recording is ready: its thread is woken when its turn comes."""
        with self._lock:
            self._bytes += exchange.recorded_bytes
            if exchange.is_urgent or exchange.pauses:
                self._waiting.appendleft((0.0, exchange))
            else:
                self._waiting.append((time.monotonic() + self._later_s, exchange))
        self.look()

    def done(self) -> None:
        """Whose turn it was is done."""
        with self._lock:
            self._is_busy = False
        self.look()

    def hurry(self) -> None:
        """No stream is left: nobody is disturbed any more."""
        self._later_s = 0.0
        with self._lock:
            self._waiting = collections.deque((0.0, exchange) for _, exchange in self._waiting)
        self.look()

    def delay(self, later_s: float) -> None:
        """Streams come in again."""
        self._later_s = later_s

    def look(self) -> None:
        """Give the turn to the next, if it is free."""
        with self._lock:
            if self._is_busy or not self._waiting or self._waiting[0][0] > time.monotonic():
                return
            self._is_busy = True
            _, exchange = self._waiting.popleft()
            self._bytes -= exchange.recorded_bytes
        exchange.begin_digest()


class Reader:
    """One thread that receives for every plain socket of a level, while the streams' own threads sleep.

    Hundreds of threads that wake for a chunk each would spend more on waking than on reading.
    With the kernel's stamps, which are right however late a read is, it naps between two rounds.
    """

    def __init__(self, stamps: bool = True) -> None:
        self._stamps = stamps and KERNEL_STAMPS
        self._poll = Epoll() if hasattr(select, "epoll") else Kqueue()
        self._streams: dict[int, Exchange] = {}
        self._lines: dict[int, Line] = {}  # that are known, by their descriptors
        self._waker, self._woken = socket.socketpair()
        self._poll.register(self._woken.fileno())
        self.failure: BaseException | None = None  # of what was called when a stream was over
        self.death: BaseException | None = None  # why nothing is received here any more
        self._thread = threading.Thread(target=self._live, name="reader", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_) -> None:
        self._waker.close()
        self._thread.join()
        self._poll.close()
        self._woken.close()

    def know(self, line: Line) -> None:
        """Wait for what comes on this line, from now on until it is closed."""
        self._lines[line.number] = line
        self._poll.register(line.number)

    def watch(self, exchange: Exchange) -> None:
        """Receive for this exchange until its recording, or an episode of it, is over."""
        line = exchange.line
        self._streams[line.number] = exchange
        if self.death is None and self._lines.get(line.number) is not line:
            self.know(line)
        if self.death is not None and self._streams.pop(line.number, None) is exchange:
            exchange.receive_alone()

    def _live(self) -> None:
        try:
            self._work()
        except BaseException as error:  # nobody else would wake the threads that wait
            self.death = error
            with contextlib.suppress(KeyError):  # there is none left
                while True:
                    _, exchange = self._streams.popitem()
                    exchange.recorder.fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))
                    self._finish(exchange)

    def _work(self) -> None:
        receive = syscalls.Receiver(self._stamps)
        view, stamp, stamps = receive.view, receive.stamp, self._stamps
        streams, ready = self._streams, self._poll.ready
        closing: list[tuple[float, int, Exchange]] = []  # the last line has come, the end of the framing has not
        nap_s, reads, judged_at = 0.0, 0, time.monotonic()
        while True:
            has_ended = False
            numbers = ready(max(0.0, closing[0][0] - time.monotonic()) if closing else None)
            for number in numbers:
                exchange = streams.get(number)
                if exchange is None:
                    if number == self._woken.fileno():
                        return
                    self._forget(number)
                    continue
                recorder = exchange.recorder
                try:
                    got = receive(number)
                except OSError as error:
                    recorder.fail(error)
                    self._end(number, exchange)
                    continue
                if got < 0:
                    continue
                if recorder.note(view[:got], perf_counter_ns(), stamp() if stamps else None):
                    has_ended = True
                    self._end(number, exchange)
                elif recorder.says_last and all(exchange is not other for _, _, other in closing):
                    closing.append((time.monotonic() + END_GRACE_S, number, exchange))
            while closing and closing[0][0] <= time.monotonic():
                _, number, exchange = closing.pop(0)
                if streams.get(number) is exchange:
                    exchange.recorder.stop()
                    self._end(number, exchange)
            if stamps:
                reads += len(numbers)
                if (now := time.monotonic()) - judged_at > NAP_EVERY_S:
                    gap_s = (now - judged_at) * len(streams) / max(reads, 1)
                    nap_s = NAP_S if NAP_S <= NAP_SHARE * gap_s else 0.0
                    reads, judged_at = 0, now
                if nap_s and not has_ended:
                    time.sleep(nap_s)

    def _forget(self, number: int) -> None:
        """Something came, or the end of file, on a line that nobody waits for."""
        line = self._lines.pop(number, None)
        if line is not None:
            line.has_said = syscalls.peek(number) > 0 and not line.has_served
            line.has_ended = not line.has_said
        with contextlib.suppress(OSError):
            self._poll.unregister(number)

    def _end(self, number: int, exchange: Exchange) -> None:
        del self._streams[number]
        if not exchange.recorder.leaves_line:
            self._lines.pop(number, None)
            with contextlib.suppress(OSError):
                self._poll.unregister(number)
        self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        try:
            exchange.finish()
        except Exception as error:  # this thread must live for the other streams
            self.failure = self.failure or error
            exchange.begin_digest()


class Epoll:
    """Waits for sockets, Linux: without the objects that selectors makes for each event."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.close, self.unregister = self._epoll.close, self._epoll.unregister

    def register(self, number: int) -> None:
        self._epoll.register(number, select.EPOLLIN)

    def ready(self, timeout_s: float | None) -> list[int]:
        return [number for number, _ in self._epoll.poll(timeout_s)]


class Kqueue:
    """The same on macOS."""

    def __init__(self) -> None:
        self._kqueue = select.kqueue()
        self.close = self._kqueue.close

    def register(self, number: int) -> None:
        self._kqueue.control([select.kevent(number, select.KQ_FILTER_READ, select.KQ_EV_ADD)], 0)

    def unregister(self, number: int) -> None:
        self._kqueue.control([select.kevent(number, select.KQ_FILTER_READ, select.KQ_EV_DELETE)], 0)

    def ready(self, timeout_s: float | None) -> list[int]:
        return [event.ident for event in self._kqueue.control(None, MOST_EVENTS, timeout_s)]


class Framing:
    """Where an HTTP/1.1 answer ends, by the rules of http.client.

    ``ending`` is what the bytes must end with before ``ends`` is worth a call; it walks over all chunks. ``head_start`` is
    where the head begins, after informational answers; ``head_end`` is 0 until it has come. ``walked`` is where the first
    chunk begins that has not come whole. ``keeps``: the server does not announce that it closes the connection.
    """

    __slots__ = ("ending", "complete", "keeps", "head_start", "head_end", "walked", "_searched", "_is_odd", "_chunk_end", "_length")

    def __init__(self) -> None:
        self.ending = b""
        self.complete = False
        self.keeps = False
        self.head_start = self.head_end = 0
        self.walked = 0
        self._searched = 0  # the head's end is not before
        self._is_odd = False  # no HTTP: http.client says that better
        self._chunk_end = 0  # of the chunk that has not come whole
        self._length: int | None = None  # end of the body; -1: whatever comes until end of file

    def ends(self, data: bytearray) -> bool:
        while not self.head_end:
            if self._is_odd or not self._read_head(data):
                return self._is_odd or len(data) > HEAD_BYTES
        if self._is_chunked:
            self.complete, end = self._walk(data), self.walked
        else:
            self.complete, end = 0 <= self._length <= len(data), self._length
        if self.complete:  # a line on which more has come, or anything odd, carries no other answer
            self.keeps = self.keeps and end == len(data)
        return self.complete

    def trust_end(self) -> bool:
        """The reply's last line has come, and what ends a chunked body: there is no need to walk over all chunks."""
        self.complete = self._is_chunked
        return self.complete

    def is_between(self, data: bytearray) -> bool:
        """Do the bytes end where one may cut them: not within a chunk's size?"""
        return not self._is_chunked or self._walk(data) or self.walked == len(data)

    def drop(self, data: bytearray) -> None:
        """These bytes are forgotten: from here on all is handed out as it came."""
        if self._is_chunked:
            self.walked = max(self.walked, self._chunk_end)
        self.walked, self._chunk_end = max(0, self.walked - len(data)), 0
        self.head_end = self.head_end and -1
        if self._length is not None and self._length >= 0:
            self._length -= len(data)

    @property
    def _is_chunked(self) -> bool:
        return self.head_end != 0 and self._length is None

    def _read_head(self, data: bytearray) -> bool:
        """Take the next head; False when it has not come whole, or is none."""
        line_end = data.find(b"\n", self.walked)
        if line_end < 0:
            return False
        status = status_code(bytes(data[self.walked : line_end]))
        if status is None:
            self._is_odd = True
            return False
        found = BLANK_LINE.search(data, max(self._searched, line_end))
        if found is None:
            self._searched = max(line_end, len(data) - 3)
            return False
        version, start, end = bytes(data[self.walked : self.walked + 8]), line_end + 1, found.end()
        self.head_start, self.walked = self.walked, end
        self._searched = end
        if 100 <= status < 200 and status != 101:  # an informational one: the real head follows
            self.head_start = end
            return True
        headers = head_fields(bytes(data[start:end]))
        if headers is None:
            self._is_odd = True
            return False
        self.head_end = end
        self._settle(status, version, headers)
        return True

    def _settle(self, status: int, version: bytes, headers) -> None:
        """How the body is framed, as http.client decides it."""
        closes = (headers.get("connection") or "").lower()
        self.keeps = "close" not in closes and (version not in (b"HTTP/1.0", b"HTTP/0.9") or "keep-alive" in closes)
        if status in (101, 204, 304):
            self._length = self.head_end
        elif (headers.get("transfer-encoding") or "").lower() == "chunked":
            self.ending = b"\r\n\r\n"
        elif (length := body_length(headers.get("content-length"))) is not None:
            self._length = self.head_end + length
        else:
            self._length, self.ending, self.keeps = -1, NEVER, False

    def _walk(self, data: bytearray) -> bool:
        """Go over whole chunks; True at the last one, or at what is none: http.client says that better."""
        while (line_end := data.find(b"\r\n", self.walked)) >= 0:
            size = chunk_size(data[self.walked : line_end])
            if size is None:
                return True
            if size == 0:
                if (end := data.find(b"\r\n\r\n", line_end)) < 0:
                    return False
                if end + 4 == len(data):
                    self.walked = end + 4
                return True
            end = line_end + 2 + size
            if not data.startswith(b"\r\n", end) and end + 1 < len(data):
                return True
            self._chunk_end = end + 2
            if end + 2 > len(data):
                return False
            self.walked = end + 2
        return False


def status_code(line: bytes) -> int | None:
    """The status of a status line; None where http.client takes it for none."""
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(VERSIONS):
        return None
    try:
        status = int(parts[1])
    except ValueError:
        return None
    return status if 100 <= status <= 999 else None


def head_fields(head: bytes):
    """The header fields by their name in lower case, the first where one comes twice; None where http.client refuses them."""
    if head.count(b"\n") > MOST_HEADERS:
        return None
    if PLAIN_HEADERS.fullmatch(head):
        found: dict[str, str] = {}
        for line in head.decode("iso-8859-1").split("\n"):
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.lower(), value.lstrip(" \t").rstrip("\r"))
        return found
    try:
        return http.client.parse_headers(io.BytesIO(head))
    except http.client.HTTPException:
        return None


def body_length(value: str | None) -> int | None:
    try:
        length = int(value)
    except (TypeError, ValueError):
        return None
    return length if 0 <= length < 10**LONGEST_LENGTH else None


def chunk_size(line: bytes) -> int | None:
    """What the line before a chunk says of its size; None when it is no such line."""
    digits = line if line.isalnum() else line.split(b";")[0].rstrip(b" \t")
    if b"\n" in line:  # http.client ends the line there
        return None
    try:
        return int(digits, 16) if digits.isalnum() and len(digits) <= LONGEST_LENGTH else None  # int() would take a sign, too
    except ValueError:
        return None


class Tap:
    """What http.client takes for its socket: it collects the request and hands out the recorded answer."""

    def __init__(self, connection: "TappedConnection") -> None:
        self._connection = connection

    def sendall(self, data) -> None:
        _current.exchange.collect(data)

    def makefile(self, *_, **__) -> io.BufferedReader:
        connection = self._connection
        return _current.exchange.open((connection.scheme, connection.host, connection.port), connection.dial)

    def settimeout(self, _) -> None:
        """Time is kept by whoever cancels the exchange."""

    def close(self) -> None:
        """There is nothing to close: lines live on their own."""


class Dialling:
    """A connection of urllib3 that connects when an exchange needs a line, and not before."""

    scheme = "http"

    def connect(self) -> None:
        self.sock = Tap(self)
        self.is_verified = True  # it will be, when it dials
        self._patience_s = self.timeout  # to connect; by the time it dials urllib3 has put another in its place

    @property
    def is_connected(self) -> bool:
        return self.sock is not None

    def dial(self, exchange: Exchange) -> socket.socket:
        """Connect, with TLS where the scheme has it. Raises what urllib3 raises."""
        self._exchange, tap = exchange, self.sock
        try:
            super().connect()
            sock = self.sock
        finally:
            self.sock, self._exchange = tap, None
            exchange.end_handshake()
        sock.settimeout(None)
        return sock

    def _new_conn(self) -> socket.socket:
        exchange = self._exchange
        addresses = exchange.lines.addresses if exchange.lines is not None else Lines().addresses
        try:
            sock = connect(addresses(self._dns_host, self.port), self._patience_s, self.socket_options, exchange)
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        if self.scheme == "https":
            exchange.begin_handshake(sock)
        return sock


def connect(addresses: list, timeout_s: float | None, options, exchange: Exchange) -> socket.socket:
    """Connect to the first address that answers; whoever cancels the exchange ends it. Raises OSError."""
    last: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.setblocking(False)
            begin(sock, address, timeout_s, exchange)
            sock.settimeout(timeout_s)  # of each step of a handshake
            return sock
        except OSError as error:
            last = error
            sock.close()
            if exchange.cancelled:
                break
    raise last or OSError("the name has no address")


def begin(sock: socket.socket, address, timeout_s: float | None, exchange: Exchange) -> None:
    """Wait until a socket that does not block is connected. Raises OSError."""
    try:
        return sock.connect(address)
    except BlockingIOError:
        pass
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while not wait_for_write(sock, timeout=CANCEL_LOOK_S):
        if exchange.cancelled:
            raise ConnectionAbortedError(exchange.cancelled)
        if until is not None and time.monotonic() > until:
            raise TimeoutError(f"no connection within {timeout_s:g} s")
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))


class TappedConnection(Dialling, HTTPConnection):
    pass


class TappedHTTPSConnection(Dialling, HTTPSConnection):
    scheme = "https"


class TappedPool(HTTPConnectionPool):
    ConnectionCls = TappedConnection


class TappedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = TappedHTTPSConnection


class RecordingAdapter(HTTPAdapter):
    """requests' transport with tapped connections."""

    def init_poolmanager(self, *arguments, **options) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": TappedPool, "https": TappedHTTPSPool}

    def build_response(self, request, answer) -> requests.Response:
        """Cookies are not kept: a server could pile them up, and http.cookiejar warns of some with a traceback."""
        for name in ("Set-Cookie", "Set-Cookie2"):
            del answer._original_response.msg[name]
        return super().build_response(request, answer)


def ask_for_stamps(sock: socket.socket) -> bool:
    """Have the kernel note receive times on a plain TCP socket; False where it can't."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def clock_offset_ns() -> int:
    """Wall clock minus our clock, ns: of three readings the one with the least between."""
    readings = []
    for _ in range(3):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]
