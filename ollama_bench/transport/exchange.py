"""One request and its answer on the wire: connect, fire, receive, cancel, hand out.

    session = Session()
    exchange = Exchange(on_ready=ready.put)           # in a worker thread:
    with exchange, session.send(prepared, exchange=exchange, stream=True) as response:
        for at_ns, data in exchange.pieces(response): ...
    exchange.fire()                                   # in any thread, once it is ready

Everything that can wait, waits. While streams come in, one thread only receives and notes the
clock: no parsing, no object for a line, no lock. Then requests, urllib3 and http.client read the
very same bytes from the recording as if from the wire: status line, headers, framing and
decompression stay theirs, and each piece of the body carries the instant of the read in which its
last byte came.

An exchange that is ready is serialised and connected, its thread waits, and its bytes leave in one
piece when it is fired: a burst of hundreds leaves within milliseconds, and t0 is read just before
each write. A line outlives its exchange: once the answer is recorded, the next request can leave
on the line while the reply before it still waits to be digested.
"""

from __future__ import annotations

import enum
import io
import queue
import socket
import threading
import time
from array import array
from collections.abc import Callable, Iterator

import requests

from ollama_bench.transport import capabilities, sending, syscalls
from ollama_bench.transport.answer_file import AnswerFile
from ollama_bench.transport.digest_queue import DigestQueue
from ollama_bench.transport.lines import (
    FRESH_S,
    Lines,
    ServerKey,
    ServerLine,
    shut_down,
)
from ollama_bench.transport.reader import Reader
from ollama_bench.transport.recorder import Recorder

# most bytes handed out at once: a small answer can be packed gigabytes
PIECE_BYTES = 65_536


class Step(enum.Enum):
    """What an exchange's thread is woken for."""

    DIAL = "dial"
    RECEIVE = "receive"
    FAIL = "fail"
    DIGEST = "digest"


class Exchange:
    """One request on the wire.

    ``sent_ns`` (t0), ``first_read_ns``, ``last_read_ns`` and ``ended_ns`` are instants of
    time.perf_counter_ns, None before they happened. ``reads`` counts what has come. All of them
    may be looked at while the stream runs.

    ``on_ready`` is called by the worker when the request can be fired; without it the worker
    fires at once. ``on_over`` is called when the last byte has come, before anything is digested,
    by the thread that received it; it may take the line (``free_line``). ``is_last`` tells a
    reply's last line from its bytes; every such line contains one of ``marks``. With
    ``needs_line`` False it does not connect before it is fired: it is given a line, or connects
    then.
    """

    def __init__(
        self,
        kernel_stamps: bool = True,
        reader: Reader | None = None,
        lines: Lines | None = None,
        digests: DigestQueue | None = None,
        on_ready: Callable[[Exchange], None] | None = None,
        on_over: Callable[[Exchange], None] | None = None,
        marks: tuple[bytes, ...] = (),
        is_last: Callable[[bytes], bool] = lambda _: False,
        needs_line: bool = True,
    ) -> None:
        self.kernel_stamps = kernel_stamps and capabilities.KERNEL_STAMPS
        self.reader, self.lines, self.digests = reader, lines, digests
        self.on_ready, self.on_over = on_ready, on_over
        self.needs_line = needs_line
        # whether it is digested before others: somebody waits for what it says
        self.is_urgent = False
        # when it should leave, where that was planned
        self.intended_ns: int | None = None
        self.sent_ns: int | None = None
        self.first_read_ns: int | None = None
        # instant of the last byte, the end of file or the error
        self.ended_ns: int | None = None
        # why the client itself cut the stream
        self.cancelled: str | None = None
        # whether an episode is digested while the server may go on sending
        self.pauses = False
        self.resumed_ns: int | None = None  # a later episode began
        # instant of the bytes handed out last
        self.at_ns: int | None = None
        self.key: ServerKey | None = None  # of its server
        self.line: ServerLine | None = None
        self._records = capabilities.RECORDS
        self._recorder = Recorder(marks, is_last)
        # the socket of a connection that is not usable yet
        self._handshake: socket.socket | None = None
        self._plain_stamps = array("q")  # of reads without a recording
        self._parts: list[bytes] = []
        self._payload = b""  # headers and body, as http.client writes them
        self._dial: Callable[[], socket.socket] | None = None
        self._error: Exception | None = None  # why it could not connect
        self._steps: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self._state = threading.Lock()  # of fire against cancel
        self._fired = threading.Event()
        self._has_turn = False
        self._is_fired = False

    def __enter__(self) -> Exchange:
        if not self._records:
            self._begin_unrecorded()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave_turn()
        if self.line is not None:
            self.line.close()

    def release(self) -> None:
        """Let go of what it was made with, so that no cycle waits for the garbage collector."""
        self.on_ready = self.on_over = self._dial = None

    @property
    def recorder(self) -> Recorder | None:
        """The recording; None where requests reads the answer live."""
        return self._recorder if self._records else None

    @property
    def reads(self) -> int:
        """Count the reads that have brought something."""
        recorder = self._recorder
        return (
            recorder.earlier_reads
            + recorder.reads
            + len(self._plain_stamps)
        )

    @property
    def first_ns(self) -> int | None:
        """Instant of the first read, before anything of it is known."""
        return self.first_read_ns or self._recorder.first_ns

    @property
    def last_read_ns(self) -> int | None:
        """Instant of the last read; of the first, or of resuming, where nothing came since."""
        last_ns = (
            self._plain_stamps[-1]
            if self._plain_stamps
            else self._recorder.last_ns
        )
        return last_ns or self.resumed_ns or self.first_read_ns

    @property
    def read_lags_ns(self) -> array[int]:
        """Our stamp minus the kernel's, one for each read."""
        return self._recorder.read_lags_ns

    @property
    def recorded_bytes(self) -> int:
        """Count the bytes of the episode."""
        return len(self._recorder.data)

    def _begin_unrecorded(self) -> None:
        """Wait until it is fired; then requests itself writes, right after this."""
        if self.on_ready is not None:
            self.on_ready(self)
            self._fired.wait()
        else:
            self.sent_ns = time.perf_counter_ns()

    # -- in the worker's thread

    def collect(self, data: bytes) -> None:
        """Take bytes of the request, as http.client writes them."""
        self._parts.append(bytes(data))

    def open_answer(
        self, key: ServerKey, dial: Callable[[], socket.socket]
    ) -> io.BufferedReader:
        """Return the file that http.client reads the answer from; ``dial`` connects to its server.

        Raises ConnectionAbortedError when the exchange is cancelled.
        """
        self._refuse_if_cancelled()
        self.key, self._dial, self._payload = (
            key,
            dial,
            b"".join(self._parts),
        )
        return io.BufferedReader(
            AnswerFile(self.read_into, self._recorder.free),
            syscalls.READ_BYTES,
        )

    def _refuse_if_cancelled(self) -> None:
        if self.cancelled:
            raise ConnectionAbortedError(self.cancelled)

    def read_into(self, buffer: memoryview) -> int:
        """Hand out recorded bytes; have the answer, or its next episode, recorded before."""
        recorder = self._recorder
        if recorder.is_read and not recorder.has_ended:
            self._record()
        taken, at_ns = recorder.read(buffer)
        self.at_ns = at_ns or self.at_ns
        return taken

    def _record(self) -> None:
        """Have the answer, or an episode of it, recorded; return when it may be digested."""
        self._leave_turn()
        recorder = self._recorder
        recorder.begin_episode()
        if not self._is_fired:
            self._get_ready()
        else:
            self.resumed_ns = time.perf_counter_ns()
            self.pauses = False
            self._listen(self._current_line())
        while (step := self._steps.get()) is not Step.DIGEST:
            self._take_step(step)
        self._has_turn = (
            self.digests is not None and self.sent_ns is not None
        )
        recorder.settle(self.sent_ns)
        if self.first_read_ns is None:
            self.first_read_ns = recorder.first_instant()
        self.ended_ns = recorder.answer_end_instant() or self.ended_ns

    def _take_step(self, step: Step) -> None:
        if step is Step.DIAL:
            line = self._connect()
            with self._state:
                self._refuse_if_cancelled()
                self._send(line)
        elif step is Step.RECEIVE:
            self._recorder.receive_alone(
                self._current_line().sock, self._is_cut
            )
            self.finish()
        elif self._error is not None:
            raise self._error

    def _current_line(self) -> ServerLine:
        assert self.line is not None
        return self.line

    def _get_ready(self) -> None:
        if self.needs_line or self.on_ready is None:
            try:
                self._connect()
            except Exception as error:
                # it fails when it is due, not before
                if self.on_ready is None:
                    raise
                self._error = error
        if self.on_ready is not None:
            self.on_ready(self)
        else:
            self.fire()

    def _connect(self) -> ServerLine:
        """Take an idle line to its server, or make one. Raises what urllib3 raises."""
        assert self.key is not None and self._dial is not None
        # the server hung up before the request was sent
        if self.line is not None:
            self.line.close()
        self.line = (
            self.lines.take(self.key) if self.lines is not None else None
        )
        if self.line is None:
            self.line = ServerLine(
                self._dial(), self.key, self.kernel_stamps
            )
            if self.reader is not None and self.line.is_plain:
                self.reader.register(self.line)
        return self.line

    def begin_handshake(self, sock: socket.socket) -> None:
        """TLS takes the socket over: a duplicate of it lets ``cancel`` end the handshake."""
        with self._state:
            self._handshake = sock.dup()
            if self.cancelled:
                shut_down(self._handshake)

    def end_handshake(self) -> None:
        """The handshake is over, if there was one."""
        with self._state:
            if self._handshake is not None:
                self._handshake.close()
            self._handshake = None

    def _leave_turn(self) -> None:
        if self._has_turn and self.digests is not None:
            self._has_turn = False
            self.digests.done()

    # -- in the thread that fires

    def fire(self, line: ServerLine | None = None) -> None:
        """Write the request on this line, or on its own; t0 is read just before.

        If it has no usable line its thread connects first.
        """
        with self._state:
            if self.cancelled or self._is_fired:
                if line is not None:
                    line.close()
                return
            self._is_fired = True
            if not self._records:
                self.sent_ns = time.perf_counter_ns()
                self._fired.set()
                return
            if line is None:
                line = self.line
                is_usable = line is not None and self._is_usable(line)
            else:
                self._use(line)
                is_usable = not line.has_hung_up
            if line is None and self._error is not None:
                self._steps.put(Step.FAIL)
            elif line is None or not is_usable:
                self._steps.put(Step.DIAL)
            else:
                self._send(line)

    def _use(self, line: ServerLine) -> None:
        """Use this line; close its own: the server keeps connections, so there are enough."""
        if self.line is not None and self.line is not line:
            self.line.close()
        self.line = line

    def _is_usable(self, line: ServerLine) -> bool:
        """Can the request be written on its own line? One idle for long is checked first."""
        return not line.has_hung_up and (
            line.idle_s <= FRESH_S or line.is_open()
        )

    def _send(self, line: ServerLine) -> None:
        self._recorder.begin(line.has_stamps, line.has_unasked_data)
        if line.is_plain and syscalls.AVAILABLE:
            self._listen(line)
            self.sent_ns = time.perf_counter_ns()
            sending.send_at_once(line, self._payload, self._is_cut)
        else:
            self.sent_ns = time.perf_counter_ns()
            sending.send_patiently(
                line.sock,
                self._payload,
                self._is_cut,
                lambda: self._listen(line),
            )

    def _listen(self, line: ServerLine) -> None:
        """Have the answer received: by the reader, or else by the worker's thread."""
        if self.reader is not None and line.is_plain:
            self.reader.watch(line, self._recorder, self)
        else:
            self.receive_alone()

    def receive_alone(self) -> None:
        """Have the worker's thread receive the answer."""
        self._steps.put(Step.RECEIVE)

    def _is_cut(self) -> bool:
        return self.cancelled is not None

    def cancel(self, why: str) -> None:
        """Cut the stream; its thread sees the end of file."""
        with self._state:
            if self.cancelled is not None or self.ended_ns is not None:
                return
            self.cancelled = why
            self._fired.set()
            if self._handshake is not None:
                shut_down(self._handshake)
            if not self._is_fired:
                self._is_fired = True
                self._recorder.stop()
                self._steps.put(Step.DIGEST)
            elif self.line is not None:
                self.line.shut_down()

    # -- in the thread that receives

    def finish(self) -> None:
        """An episode of the answer, or all of it, is recorded."""
        self.pauses = not self._recorder.has_ended
        if self._recorder.has_ended:
            self._finish_answer()
        if self.digests is not None:
            self.digests.offer(self)
        else:
            self.begin_digest()

    def _finish_answer(self) -> None:
        self.ended_ns = self._recorder.end_instant()
        if self.lines is not None and self._was_refused():
            # the next request distrusts such a line
            self.lines.hung_up(self._current_line().key)
        if self.on_over is not None:
            self.on_over(self)
        else:
            self._give_back_line()

    def _was_refused(self) -> bool:
        """Did the server close a used line without an answer?"""
        has_answer = self._recorder.reads > 0
        return (
            not has_answer
            and self._current_line().has_served
            and not self.cancelled
        )

    def begin_digest(self) -> None:
        """Wake its thread to read what was recorded."""
        self._steps.put(Step.DIGEST)

    def free_line(self) -> ServerLine | None:
        """Take the line for the next request; None, and closed, where it cannot be used again."""
        # not while the request is still being written on it
        with self._state:
            line, self.line = self.line, None
        if line is None:
            return None
        if self.cancelled or not self._recorder.leaves_line:
            line.close()
            return None
        line.end_reply()
        return line

    def _give_back_line(self) -> None:
        """Keep the line for a later request, or close it."""
        line = self.free_line()
        if line is None:
            return
        if self.lines is None:
            line.close()
        else:
            self.lines.put(line)

    # -- reading what was recorded

    def pieces(
        self, response: requests.Response
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the decoded body as (instant, bytes).

        Raises what urllib3 raises on a broken stream.
        """
        raw = response.raw
        is_encoded = "Content-Encoding" in response.headers
        if self._records and raw.chunked and not is_encoded:
            yield from self._recorder.chunks()
        if raw.chunked and raw.supports_chunked_reads():
            # half the cost of read1 for each chunk
            parts = raw.read_chunked(PIECE_BYTES, decode_content=True)
        else:
            parts = iter(
                lambda: raw.read1(PIECE_BYTES, decode_content=True), b""
            )
        for data in parts:
            yield self._instant_of_piece(), data

    def _instant_of_piece(self) -> int:
        if not self._records:
            self.at_ns = time.perf_counter_ns()
            self.first_read_ns = self.first_read_ns or self.at_ns
            self._plain_stamps.append(self.at_ns)
        assert self.at_ns is not None  # something was read
        return self.at_ns
