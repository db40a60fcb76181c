"""Records an answer: its bytes, the instant of each read, and where it ends."""

from __future__ import annotations

import http.client
import re
import socket
import time
from array import array
from collections.abc import Callable, Iterator
from operator import le, sub
from time import perf_counter_ns

from ollama_bench.transport import capabilities, stamps
from ollama_bench.transport.framing import Framing
from ollama_bench.transport.playback import Playback
from ollama_bench.transport.syscalls import NO_STAMP, READ_BYTES, TIMESPEC

# a longer answer is digested in episodes: memory stays bounded
EPISODE_BYTES = 8 << 20
# after a reply's last line its framing must end in this time
END_GRACE_S = 0.003
# how often a receive that no shutdown wakes looks whether it was cut
CUT_LOOK_S = 0.5
LONGEST_MARK = 16  # bytes
LINE_END = re.compile(rb"[\r\n]")
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Recorder:
    """The recording of an answer, in episodes.

    ``is_last`` tells a reply's last line from its bytes; every such line contains one of ``marks``.
    The thread that receives calls ``note``, ``fail`` and ``stop``. Once the episode is over, the
    exchange's own thread calls ``settle`` and reads the playback.
    """

    __slots__ = (
        "_error",
        "_framing",
        "_is_early",
        "_is_last",
        "_kernel",
        "_last_ns",
        "_log",
        "_mark_at",
        "_marks",
        "_offset_ns",
        "_playback",
        "_says_last",
        "_stamped",
        "_stopped_ns",
        "data",
        "earlier_reads",
        "end_read",
        "has_ended",
        "read_lags_ns",
    )

    def __init__(
        self, marks: tuple[bytes, ...], is_last: Callable[[bytes], bool]
    ) -> None:
        self._marks, self._is_last = marks, is_last
        self.has_ended = False
        # the read with the answer's last line, or its last byte
        self.end_read: int | None = None
        self.earlier_reads = 0  # of earlier episodes
        # our instant minus the kernel's, one for each read
        self.read_lags_ns = array("q")
        self._framing = Framing()
        self._error: Exception | None = None
        self._last_ns = 0  # instant of the last read of an earlier episode
        self._stamped = self._is_early = False
        self._offset_ns = self._stopped_ns = 0
        self._clear()

    def _clear(self) -> None:
        self.data = bytearray()
        # for each read our instant, and where its bytes end
        self._log = array("q")
        # a timespec for each read, zeros where there was none
        self._kernel = bytearray()
        self._playback = Playback(bytearray(), array("q"), array("q"))
        self._says_last = False
        # where a mark lies in a line that is incomplete
        self._mark_at: int | None = None

    def begin_episode(self) -> None:
        """Forget what was recorded and handed out."""
        self.earlier_reads += self.reads
        self._last_ns = self.last_ns or self._last_ns
        self._clear()

    def free(self) -> None:
        """Let go of the bytes; the instants stay."""
        self.data, self._kernel, self._framing = (
            bytearray(),
            bytearray(),
            Framing(),
        )
        self._playback.free()

    def begin(self, stamped: bool, has_unasked_data: bool) -> None:
        """Prepare for a request that is about to be sent on a line with these properties."""
        self._stamped, self._is_early = stamped, has_unasked_data
        if stamped:
            self._offset_ns = stamps.read_clock_offset_ns()

    # -- while it comes in

    @property
    def reads(self) -> int:
        """Count the reads of this episode."""
        return len(self._log) >> 1

    @property
    def first_ns(self) -> int | None:
        """Our instant of the episode's first read."""
        return self._log[0] if self._log else None

    @property
    def last_ns(self) -> int | None:
        """Instant of the episode's last read. Any thread may ask."""
        if settled := self._playback.instants:
            return settled[-1]
        log = self._log
        if not log:
            return None
        # the reader may be between the two numbers of a read
        return log[(len(log) - 1) & ~1]

    @property
    def says_last(self) -> bool:
        """Has the reply's last line come?"""
        return self._says_last

    def note(
        self,
        new: memoryview,
        at_ns: int,
        stamp: memoryview | bytes | None = None,
    ) -> bool:
        """Take the bytes of one read, none at the end of file. Is the episode over?

        The hot path: once for each read of each stream.
        """
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
            if self._mark_at is not None:
                self._look_for_last(start, self._mark_at)
            else:
                for mark in self._marks:
                    found = data.find(
                        mark,
                        start - LONGEST_MARK
                        if start > LONGEST_MARK
                        else 0,
                    )
                    if found >= 0:
                        self._look_for_last(start, found)
                        break
            if data.endswith(self._framing.ending) and self._ends():
                return self.stop()
            if start > EPISODE_BYTES:
                return self._ends_episode(start)
        except Exception as error:  # it must end this stream and no other
            return self.fail(error)
        return False

    def _ends(self) -> bool:
        """Is the answer over, now that it ends as its framing does?"""
        if (
            self._says_last
            and self.data.endswith(LAST_CHUNK)
            and self._framing.trust_end()
        ):
            return True
        return self._framing.ends(self.data)

    def _ends_episode(self, start: int) -> bool:
        """Cut a long answer here if one may."""
        # asked in any case: drop needs its walk
        is_between = self._framing.is_between(self.data)
        if not is_between and start <= 2 * EPISODE_BYTES:
            return False
        self._framing.drop(self.data)
        return True

    def _look_for_last(self, start: int, mark_at: int) -> None:
        """Look for the reply's last line among the lines that this read, from ``start``, ends."""
        data = self.data
        begin = (
            max(
                data.rfind(b"\n", 0, mark_at),
                data.rfind(b"\r", 0, mark_at),
            )
            + 1
        )
        unseen = max(start, begin)
        if data.find(b"\n", unseen) < 0 and data.find(b"\r", unseen) < 0:
            self._mark_at = mark_at  # its end has not come
            return
        *lines, rest = LINE_END.split(data[begin:])
        if any(
            self._is_last(bytes(line))
            for line in lines
            if self._is_marked(line)
        ):
            self._says_last, self._marks = True, ()
            self.end_read = self.reads - 1
        self._mark_at = (
            len(data) - len(rest) if self._is_marked(rest) else None
        )

    def _is_marked(self, line: bytes | bytearray) -> bool:
        return any(mark in line for mark in self._marks)

    def fail(self, error: Exception) -> bool:
        """The connection broke: nothing more is received. Returns True."""
        self._error = error
        return self.stop()

    def stop(self) -> bool:
        """Nothing more is received. Returns True: the episode is over."""
        self.has_ended = True
        if self._framing.complete and self.end_read is None and self._log:
            self.end_read = self.reads - 1
        self._stopped_ns = time.perf_counter_ns()
        return True

    def receive_alone(
        self,
        sock: socket.socket,
        is_cut: Callable[[], bool] = lambda: False,
    ) -> None:
        """Record an episode in the stream's own thread.

        For TLS, and where no thread can wait for many sockets. ``is_cut`` is asked now and then
        where a shutdown does not wake whoever receives.
        """
        must_look = not capabilities.SHUTDOWN_WAKES
        is_over = False
        try:
            if must_look:
                sock.settimeout(CUT_LOOK_S)
            while not is_over:
                try:
                    is_over = self._receive(sock)
                except TimeoutError as error:
                    # with a number it is the system's own
                    has_ended = (
                        not must_look
                        or error.errno is not None
                        or self._says_last
                    )
                    is_over = (has_ended or is_cut()) and self.stop()
        except Exception as error:
            self.fail(error)
        if self._says_last or must_look:
            sock.settimeout(None)

    def _receive(self, sock: socket.socket) -> bool:
        """Receive until the episode is over. Raises OSError."""
        buffer = bytearray(READ_BYTES)
        view, is_over = memoryview(buffer), False
        while not is_over:
            if self._says_last:
                sock.settimeout(END_GRACE_S)
            if self._stamped:
                got, control, _, _ = sock.recvmsg_into(
                    [buffer], stamps.ANCILLARY_BYTES
                )
                stamp = control[0][2] if control else NO_STAMP
                is_over = self.note(view[:got], perf_counter_ns(), stamp)
            else:
                got = sock.recv_into(buffer)
                is_over = self.note(view[:got], perf_counter_ns())
        return is_over

    # -- once it has ended

    @property
    def leaves_line(self) -> bool:
        """Has the answer ended as it should, so that the line can carry another?"""
        return (
            self._framing.complete
            and self._framing.keeps
            and self._error is None
        )

    def end_instant(self) -> int:
        """When the answer ended: the kernel's instant where there is one."""
        if self.end_read is None:
            return self._stopped_ns
        ours = self._log[2 * self.end_read]
        if not self._stamped or not stamps.is_clock_steady(
            self._offset_ns
        ):
            return ours
        place = self.end_read * TIMESPEC.size
        timespec = self._kernel[place : place + TIMESPEC.size]
        kernel_at = stamps.to_instants(timespec, self._offset_ns)[0]
        return (
            kernel_at if 0 <= ours - kernel_at < stamps.SECOND_NS else ours
        )

    # -- once the episode is recorded

    def settle(self, sent_ns: int | None) -> None:
        """Settle the instants of the reads, and make the episode ready to be read.

        An answer that came before the request was sent, at ``sent_ns``, is refused.
        """
        if self._came_before(sent_ns):
            self._refuse_early()
        instants, ends = self._log[::2], self._log[1::2]
        if (
            self._stamped
            and instants
            and stamps.is_clock_steady(self._offset_ns)
        ):
            instants = self._merge_stamps(
                instants, max(sent_ns or 0, self._last_ns)
            )
        # http.client skips 100 Continue and no other informational answer
        start = 0 if self.earlier_reads else self._framing.head_start
        self._playback = Playback(
            self.data, instants, ends, self._framing.head_end, start
        )

    def _came_before(self, sent_ns: int | None) -> bool:
        if not self._log or self.earlier_reads or sent_ns is None:
            return False
        if self._is_early:
            return True
        has_stamp = self._stamped and any(self._kernel[: TIMESPEC.size])
        if has_stamp and stamps.is_clock_steady(self._offset_ns):
            first = stamps.to_instants(
                self._kernel[: TIMESPEC.size], self._offset_ns
            )[0]
            return first + stamps.STEP_NS < sent_ns
        return self._log[0] < sent_ns

    def _refuse_early(self) -> None:
        self.begin_episode()
        self.has_ended = True
        self._error = http.client.HTTPException(
            "the server answered before the request was sent"
        )

    def _merge_stamps(self, ours: array[int], earliest: int) -> array[int]:
        """Return the kernel's instants where they are plausible, else ours; note the read lags."""
        kernel = stamps.to_instants(self._kernel, self._offset_ns)
        lags = array("q", map(sub, ours, kernel))
        if (
            min(lags) >= 0
            and kernel[0] >= earliest
            and all(map(le, kernel, kernel[1:]))
        ):
            self.read_lags_ns.extend(lags)
            return array("q", kernel)
        merged = ours[:]
        # rare: a read without a stamp, or a clock set
        for read, kernel_at in enumerate(kernel):
            if earliest <= kernel_at <= ours[read]:
                self.read_lags_ns.append(lags[read])
                merged[read] = earliest = kernel_at
        return merged

    def first_instant(self) -> int | None:
        """The instant of the answer's first byte, after informational answers."""
        return self._playback.find_instant(self._framing.head_start)

    def answer_end_instant(self) -> int | None:
        """The settled instant of the answer's end; None where it has no such read."""
        if not self.has_ended or self.end_read is None or not self.reads:
            return None
        return self._playback.instants[self.end_read]

    @property
    def head_end(self) -> int:
        """Where the answer's head ends in the bytes; 0 until it has come."""
        return self._framing.head_end

    @property
    def is_read(self) -> bool:
        """Was everything that is recorded handed out?"""
        return self._playback.is_finished

    def read(
        self, buffer: bytearray | memoryview
    ) -> tuple[int, int | None]:
        """Hand out recorded bytes and their instant: the head alone, then never of two reads.

        Returns no bytes at the end; raises the error that ended the stream.
        """
        playback = self._playback
        if not playback.is_finished:
            return playback.read(buffer)
        if self._error is not None:
            raise self._error
        return 0, playback.instants[-1] if playback.instants else None

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield each whole chunk of the recorded body as (instant, bytes). See Playback.chunks."""
        return self._playback.chunks()
