"""wire.py - sends a prepared request and records its answer: bytes and instants, nothing else.

Everything that can wait, waits. While streams come in, one thread only receives and
notes the clock: no parsing, no object for a line, no lock. Then requests, urllib3 and
http.client read the very same bytes from the recording as if from the wire, so that
status line, headers, framing and decompression stay theirs, and each piece of the body
carries the instant of the read in which its last byte came.

    session = wire.session()
    exchange = wire.Exchange(hold=True)               # in a worker thread:
    with exchange:
        response = session.send(prepared, stream=True, allow_redirects=False)
        for at_ns, data in exchange.pieces(response): ...
    exchange.fire()                                   # in the main thread, once it is ready

A held exchange is connected and serialised, its thread already waits for the answer, and
its bytes leave in one piece when ``fire`` is called: a burst of hundreds leaves within
milliseconds, and t0 is read just before each write.
"""
from __future__ import annotations

import collections
import http.client
import io
import os
import selectors
import socket
import struct
import sys
import threading
import time
from array import array
from typing import Callable, Iterator

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

READ_BYTES = 16_384  # one read; a token's line is a few hundred bytes
PIECE_BYTES = 65_536  # handed out at once: a small answer can be packed gigabytes
SMALL_BYTES = 65_536  # a request that the socket's buffer takes at once, whether or not the server reads
EPISODE_BYTES = 8 << 20  # a longer answer is digested in episodes, so that memory stays bounded
HEAD_BYTES = 1 << 20  # a head longer than this is no HTTP
SO_TIMESTAMPNS = 35  # Linux, asm-generic/socket.h: the kernel notes when a packet came in
KERNEL_STAMPS = sys.platform == "linux" and struct.calcsize("l") == 8
TIMESPEC = struct.Struct("qq")  # of 64-bit Linux: seconds, nanoseconds of CLOCK_REALTIME
STEP_NS = 20_000  # the wall clock moved by more against ours: its stamps are not used

STAMP_BYTES = socket.CMSG_SPACE(TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
NO_STAMP = bytes(TIMESPEC.size)
READS_TOGETHER = hasattr(selectors, "EpollSelector") or hasattr(selectors, "KqueueSelector")  # select() holds 512 sockets at most
LONGEST_LENGTH = 15  # digits of a length or a chunk's size; more is none
NEVER = b"\0never\0"  # an ending that no body comes to

RECORDS = hasattr(PoolManager(), "pool_classes_by_scheme") and hasattr(HTTPResponse, "read1")  # else: the plain way

_current = threading.local()  # the exchange this thread is busy with


def session() -> requests.Session:
    """A requests session whose answers are recorded; it obeys no proxy variable."""
    made = requests.Session()
    made.trust_env = False  # requests would send 127.0.0.1 through HTTP_PROXY
    made.get_redirect_target = lambda _: None  # else it reads a redirect's whole body, though it is not to follow
    made.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True  # for a certificate of one's own
    if RECORDS:
        for scheme in ("http://", "https://"):
            made.mount(scheme, RecordingAdapter())
    return made


class Exchange:
    """One request on the wire.

    ``sent_ns`` (t0), ``first_read_ns``, ``last_read_ns`` and ``ended_ns`` are instants of
    time.perf_counter_ns, None before they happened. ``reads`` counts what came so far.
    All of them may be looked at while the stream runs.
    """

    def __init__(self, hold: bool = False, kernel_stamps: bool = True,
                 on_ready: Callable[["Exchange"], None] | None = None, turn=None, reader: "Reader | None" = None) -> None:
        self.hold = hold
        self.kernel_stamps = kernel_stamps and KERNEL_STAMPS
        self.on_ready = on_ready  # called by the worker when the request could be fired
        self.turn = turn  # a lock held while the recording is digested, not while it grows
        self.reader = reader  # receives for it, else its own thread does
        self.intended_ns: int | None = None  # when it should leave, where that was planned
        self.sent_ns: int | None = None
        self.first_read_ns: int | None = None
        self.ended_ns: int | None = None  # the last byte, the end of file or the error
        self.cancelled: str | None = None  # why the client itself cut the stream
        self.recorder: Recorder | None = None
        self.digests = False  # an episode is read while the server may go on: silence is then our own
        self.resumed_ns: int | None = None  # a later episode began
        self.stamps = array("q")  # of the reads of this episode; grows while the stream runs
        self.earlier_reads = 0
        self.read_lags_ns = array("q")  # user-space stamp minus kernel stamp, a read each
        self.at_ns: int | None = None  # instant of the bytes handed out last
        self._outgoing: list[bytes] = []  # headers and body, as http.client writes them
        self._payload = b""  # the same in one piece
        self._sock: socket.socket | None = None
        self._waits = False  # its thread waits for the sending, not for the answer
        self._fired = threading.Event()
        self._has_turn = False

    def __enter__(self) -> "Exchange":
        _current.exchange = self
        if not RECORDS:
            self._begin_plainly()
        return self

    def __exit__(self, *_) -> None:
        _current.exchange = None
        self.leave_turn()

    @property
    def reads(self) -> int:
        return self.earlier_reads + len(self.stamps)

    @property
    def last_read_ns(self) -> int | None:
        return self.stamps[-1] if self.stamps else self.resumed_ns or self.first_read_ns

    def _begin_plainly(self) -> None:
        """Without a recording requests itself writes, right after this."""
        if not self.hold:
            self.sent_ns = time.perf_counter_ns()
        elif self.on_ready is not None:
            self._waits = True
            self.on_ready(self)
            self._fired.wait()

    def fire(self) -> None:
        """Write the held request. t0 is read just before."""
        if not RECORDS:
            self.sent_ns = time.perf_counter_ns()
            self._fired.set()
            return
        self.sent_ns = time.perf_counter_ns()
        if len(self._payload) <= SMALL_BYTES:
            self._write()
        else:  # who fires has others to fire and to watch
            threading.Thread(target=self._write, name="sender", daemon=True).start()

    def _write(self) -> None:
        try:
            self._sock.sendall(self._payload)
        except OSError:
            pass  # the reader meets the same broken connection and reports it
        if self._waits:
            self._fired.set()

    def cancel(self, why: str) -> None:
        """Cut the stream; its thread sees the end of file."""
        if self.cancelled is None and self.ended_ns is None:
            self.cancelled = why
            if self._sock is not None:
                try:
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
                except OSError:
                    pass  # it was not connected any more
            self._fired.set()

    def pieces(self, response: requests.Response) -> Iterator[tuple[int, bytes]]:
        """The decoded body as (instant, bytes). Raises what urllib3 raises on a broken stream."""
        raw = response.raw
        if self.recorder is not None and self.recorder.is_whole and "Content-Encoding" not in response.headers:
            yield from self.recorder.chunks()
        if raw.chunked and raw.supports_chunked_reads():
            parts = raw.read_chunked(PIECE_BYTES, decode_content=True)  # half the cost of read1 for each chunk
        else:
            parts = iter(lambda: raw.read1(PIECE_BYTES, decode_content=True), b"")
        for data in parts:
            if self.recorder is None:
                self.at_ns = time.perf_counter_ns()
                self.first_read_ns = self.first_read_ns or self.at_ns
                self.stamps.append(self.at_ns)
            yield self.at_ns, data

    def take_turn(self) -> None:
        if self.turn is not None and not self._has_turn:
            self.turn.acquire()
            self._has_turn = True

    def leave_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.turn.release()


class Recorder(io.RawIOBase):
    """The file that http.client reads an answer from: it records first, then replays."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open until we close
        self.sock = sock
        self.over = threading.Event()  # an episode is recorded
        self._exchange = exchange
        self._framing = Framing()
        self._error: Exception | None = None
        self._ended = False
        self._offset_ns = clock_offset_ns()
        self._last_ns = 0  # instant of the last read, so that no later one comes before it
        self._forget()
        exchange._sock = sock
        exchange.recorder = self

    def _forget(self) -> None:
        exchange = self._exchange
        exchange.earlier_reads += len(exchange.stamps)
        exchange.stamps = self._stamps = array("q")
        self._data, self._ends = bytearray(), array("q")
        self._kernel = bytearray()  # a timespec for each read, zeros where there was none
        self._next, self._position = 0, 0

    # -- http.client reads

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        """Hand out recorded bytes: the head alone, then never those of two reads at once."""
        if self._next == len(self._ends) and not self._ended:
            self._record()
        if self._next == len(self._ends):
            if self._error is not None:
                raise self._error
            return 0
        read_end, head_end = self._ends[self._next], self._framing.head_end
        end = head_end if self._position < head_end < read_end else read_end
        taken = min(len(buffer), end - self._position)
        buffer[:taken] = self._data[self._position : self._position + taken]
        self._exchange.at_ns = self._stamps[self._next]
        self._position += taken
        if self._position == read_end:
            self._next += 1
        return taken

    @property
    def is_whole(self) -> bool:
        """Is a whole chunked body here, of which nothing but the head was handed out?"""
        return self._framing.is_whole and self._position == self._framing.head_end

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Each chunk of a whole body as (instant, bytes): its framing was seen while its end was looked for.

        http.client is left with the last chunk, the empty one.
        """
        framing, data, stamps, ends = self._framing, bytes(self._data), self._stamps, self._ends
        last, read = len(ends) - 1, 0
        for start, end in zip(framing.starts, framing.ends_at):
            while read < last and ends[read] < end:
                read += 1
            yield stamps[read], data[start:end]
        self._position = framing.walked
        while self._next < last and ends[self._next] <= self._position:
            self._next += 1

    # -- the wire

    def _record(self) -> None:
        """Receive until the answer has ended or an episode is full."""
        exchange = self._exchange
        exchange.leave_turn()
        self._forget()
        if exchange.sent_ns is None:
            self._send()
        exchange.resumed_ns = exchange.first_read_ns and time.perf_counter_ns()
        exchange.digests = False
        self._stamped = exchange.kernel_stamps and ask_for_stamps(self.sock)
        receive = exchange.reader.receive if exchange.reader is not None and type(self.sock) is socket.socket else receive_alone
        receive(self)
        while self._ended and self._framing.seems_over(self._data) and not self._framing.ends(self._data):
            self._ended, exchange.ended_ns = False, None  # it was a chunk of text that looks like the end
            receive(self)
        exchange.digests = not self._ended
        exchange.take_turn()
        if exchange.first_read_ns is None and self._is_early():
            self._forget()
            self._ended, self._error = True, http.client.HTTPException("the server answered before it was asked")
        if self._stamped and self._stamps and abs(clock_offset_ns() - self._offset_ns) <= STEP_NS:
            self._use_kernel_stamps()
        self._last_ns = self._stamps[-1] if self._stamps else self._last_ns
        if exchange.first_read_ns is None and self._stamps:
            exchange.first_read_ns = self._stamps[0]
        if self._ended and self._stamps and self._framing.complete:
            exchange.ended_ns = self._stamps[-1]

    def _is_early(self) -> bool:
        """Did anything come before the request was sent?"""
        sent_ns = self._exchange.sent_ns
        return bool(self._stamps) and (sent_ns is None or self._stamps[0] < sent_ns)

    def _send(self) -> None:
        exchange = self._exchange
        exchange._payload = b"".join(exchange._outgoing)
        exchange._outgoing.clear()
        exchange._waits = type(self.sock) is not socket.socket
        if not exchange.hold:
            exchange.fire()
        elif exchange.on_ready is not None:
            exchange.on_ready(exchange)
        if exchange.hold and exchange._waits:
            exchange._fired.wait()  # TLS: one object must not read and write at once

    def receive(self, buffer: bytearray, view: memoryview) -> bool:
        """One read into the buffer and on to what is recorded; is the episode over? The hot path."""
        try:
            if self._stamped:
                got, ancillary, _, _ = self.sock.recvmsg_into([buffer], STAMP_BYTES)
                at = time.perf_counter_ns()
                if got:
                    self._kernel += ancillary[0][2] if ancillary else NO_STAMP
            else:
                got = self.sock.recv_into(buffer)
                at = time.perf_counter_ns()
            if not got:
                return self._end()
            data, framing = self._data, self._framing
            data += view[:got]
            self._stamps.append(at)
            self._ends.append(len(data))
            if data.endswith(framing.ending) and (framing.seems_over(data) or framing.ends(data)):
                return self._end()
            if len(data) > EPISODE_BYTES and (framing.is_between(data) or len(data) > 2 * EPISODE_BYTES):
                framing.drop(data)
                return True
        except Exception as error:  # it must end this stream and no other
            self._error = error
            return self._end()
        return False

    @property
    def has_ended(self) -> bool:
        """Has all of the answer come? Else an episode of it has."""
        return self._ended

    def _end(self) -> bool:
        self._ended = True
        self._exchange.ended_ns = time.perf_counter_ns()
        return True

    def _use_kernel_stamps(self) -> None:
        """Put the kernel's instants in place of ours, and keep the difference as read lag."""
        earliest, offset_ns = max(self._exchange.sent_ns, self._last_ns), self._offset_ns
        for i, (seconds, nanoseconds) in enumerate(TIMESPEC.iter_unpack(self._kernel)):
            at = seconds * 1_000_000_000 + nanoseconds - offset_ns
            if earliest <= at <= self._stamps[i]:
                self._exchange.read_lags_ns.append(self._stamps[i] - at)
                self._stamps[i] = earliest = at

    def close(self) -> None:
        """All was handed out: http.client's connection holds on to this object until its next answer, so free what is large."""
        self._file.close()
        self._data, self._kernel, self._framing = bytearray(), bytearray(), Framing()
        super().close()


def receive_alone(recorder: Recorder) -> None:
    """Record in the stream's own thread: TLS, and where many sockets can't be waited for together."""
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    while not recorder.receive(buffer, view):
        pass


class Reader:
    """One thread that receives for every plain socket of a level, while the streams' own threads sleep.

    Hundreds of threads that wake for a chunk each would spend more on waking than on reading.
    An answer that has ended is handed to its thread ``later_s`` afterwards, or when no stream is left:
    what that thread does then takes the interpreter from the others' last tokens.
    """

    def __init__(self, later_s: float = 0.0) -> None:
        self._later_ns = int(later_s * 1e9)
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_) -> None:
        self._waker.close()
        self._thread.join()
        self._selector.close()
        self._woken.close()

    def receive(self, recorder: Recorder) -> None:
        """Record an episode; returns when it is over."""
        recorder.over.clear()
        self._selector.register(recorder.sock, selectors.EVENT_READ, recorder)
        recorder.over.wait()

    def _work(self) -> None:
        buffer = bytearray(READ_BYTES)
        view = memoryview(buffer)
        select, unregister, registered = self._selector.select, self._selector.unregister, self._selector.get_map()
        over: collections.deque[tuple[int, Recorder]] = collections.deque()  # when it is handed back
        while True:
            timeout_s = max(0, over[0][0] - time.perf_counter_ns()) / 1e9 if over else None
            for key, _ in select(timeout_s):
                recorder = key.data
                if recorder is None:
                    return
                if recorder.receive(buffer, view):
                    unregister(key.fileobj)
                    if recorder.has_ended:
                        over.append((time.perf_counter_ns() + self._later_ns, recorder))
                    else:
                        recorder.over.set()
            while over and (len(registered) == 1 or over[0][0] <= time.perf_counter_ns()):  # the waker is always there
                over.popleft()[1].over.set()


class Framing:
    """Where an HTTP/1.1 answer ends, and where its chunks are.

    ``ending`` is what the bytes must end with before ``ends`` is worth a call; it walks over all chunks. ``head_end`` is 0
    until the head has come. ``walked`` is where the first chunk begins that has not come whole;
    ``starts`` and ``ends_at`` are of the payloads of those before.
    """

    def __init__(self) -> None:
        self.ending = b""
        self.complete = False
        self.is_whole = False  # a complete body of chunks, every byte of it at its place
        self.head_end = 0
        self.walked = 0
        self.starts, self.ends_at = array("q"), array("q")
        self._searched = 0  # the head's end is not before
        self._chunk_end = 0  # of the chunk that has not come whole
        self._length: int | None = None  # end of the body; -1: whatever comes until end of file

    def ends(self, data: bytearray) -> bool:
        while not self.head_end:
            if not self._read_head(data):
                return len(data) > HEAD_BYTES
        if self._is_chunked:
            self.complete = self._walk(data)
        else:
            self.complete = 0 <= self._length <= len(data)
        return self.complete

    def is_between(self, data: bytearray) -> bool:
        """Do the bytes end where one may cut them: not within a chunk's size?"""
        return not self._is_chunked or self._walk(data) or self.walked == len(data)

    def seems_over(self, data: bytearray) -> bool:
        """Is this the end of a chunked body, as good as surely? The walk that makes it sure can wait until others stream no more."""
        return self._is_chunked and not self.complete and data.endswith(b"\r\n0\r\n\r\n")

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
        """Take the next head; False when it has not come whole."""
        end = data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(self.walked, len(data) - 3)
            return False
        lines = bytes(data[self.walked : end]).lower().split(b"\r\n")
        self.walked = self._searched = end + 4
        status = lines[0].split(None, 2)[1:2]
        if status and status[0].startswith(b"1"):  # 100 Continue: the real head follows
            return True
        headers = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
        self.head_end = end + 4
        if status in ([b"204"], [b"304"]):
            self._length = end + 4
        elif b"chunked" in headers.get(b"transfer-encoding", b""):
            self.ending = b"\r\n\r\n"
        elif (length := headers.get(b"content-length", b"").strip()).isdigit() and len(length) <= LONGEST_LENGTH:
            self._length = end + 4 + int(length)
        else:
            self._length, self.ending = -1, NEVER
        return True

    def _walk(self, data: bytearray) -> bool:
        """Go over whole chunks; True at the last one, or at what is none: http.client says that better."""
        while (line_end := data.find(b"\r\n", self.walked)) >= 0:
            size = chunk_size(data[self.walked : line_end])
            if size is None:
                return True
            if size == 0:
                if (end := data.find(b"\r\n\r\n", line_end)) < 0:
                    return False
                self.is_whole = self.head_end > 0 and end + 4 == len(data)
                return True
            start = line_end + 2
            end = start + size
            if not data.startswith(b"\r\n", end) and end + 1 < len(data):
                return True
            self._chunk_end = end + 2
            if end + 2 > len(data):
                return False
            self.starts.append(start)
            self.ends_at.append(end)
            self.walked = end + 2
        return False


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
    """A connected socket whose writes can be held back and whose answers are recorded."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str):
        return getattr(self._sock, name)

    def sendall(self, data) -> None:
        exchange = getattr(_current, "exchange", None)
        if exchange is None:
            self._sock.sendall(data)
        else:
            exchange._outgoing.append(bytes(data))

    def makefile(self, *arguments, **options):
        exchange = getattr(_current, "exchange", None)
        if exchange is None:
            return self._sock.makefile(*arguments, **options)
        if exchange.cancelled:
            raise ConnectionAbortedError(exchange.cancelled)
        return io.BufferedReader(Recorder(self._sock, exchange), READ_BYTES)


class TappedConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = Tap(self.sock)


class TappedHTTPSConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = Tap(self.sock)


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
    if type(sock) is not socket.socket:
        return False
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
