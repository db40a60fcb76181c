"""One thread that receives for all plain sockets of a level."""

from __future__ import annotations

import collections
import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

from ollama_bench.transport import capabilities, syscalls
from ollama_bench.transport.lines import ServerLine
from ollama_bench.transport.recorder import END_GRACE_S, Recorder

MOST_EVENTS = 512  # of one round
NAP_S = 0.001  # between two rounds, so that a round finds several tokens
# a nap is at most this share of the mean gap between a stream's reads
NAP_SHARE = 0.06
NAP_EVERY_S = 0.25  # how often that is judged


class Receiving(Protocol):
    """What the reader needs of an exchange."""

    def finish(self) -> None:
        """Its recording, or an episode of it, is over."""

    def begin_digest(self) -> None:
        """Wake its thread to read what was recorded."""

    def receive_alone(self) -> None:
        """Have its own thread receive."""


class Poll(Protocol):
    """Waits for descriptors that have something to read."""

    def register(self, number: int) -> None: ...

    def unregister(self, number: int) -> None:
        """Raises OSError where it is not registered."""

    def wait(self, timeout_s: float | None) -> list[int]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ReceivedStream:
    """A stream that the reader receives."""

    line: ServerLine
    recorder: Recorder
    exchange: Receiving


class Reader:
    """Receives for all plain sockets of a level, while the streams' own threads sleep.

    Hundreds of threads that wake for each chunk would spend more on waking than on reading.
    With the kernel's stamps, which are exact however late a read is, it naps between two rounds.
    """

    def __init__(self, stamps: bool = True) -> None:
        # what a callback raised when a stream had ended
        self.failure: BaseException | None = None
        self._stamps = stamps and capabilities.KERNEL_STAMPS
        self._poll: Poll = (
            Epoll() if hasattr(select, "epoll") else Kqueue()
        )
        self._streams: dict[int, ReceivedStream] = {}  # by descriptor
        self._lines: dict[
            int, ServerLine
        ] = {}  # registered ones, by descriptor
        # of a registration: a closed line's number is the next line's
        self._registering = threading.Lock()
        self._waker, self._woken = socket.socketpair()
        self._poll.register(self._woken.fileno())
        # streams whose last line has come, the end of their framing has not; and until when
        self._closing: collections.deque[tuple[float, ReceivedStream]] = (
            collections.deque()
        )
        # why nothing is received here any more
        self.death: BaseException | None = None
        self._thread = threading.Thread(
            target=self._live, name="reader", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.close()
        self._thread.join()
        self._poll.close()
        self._woken.close()

    def register(self, line: ServerLine) -> None:
        """Wait for what comes on this line, from now on until it is closed."""
        # both the reader and who sends may find that it is not waited for
        with self._registering, contextlib.suppress(FileExistsError):
            self._lines[line.number] = line
            self._poll.register(line.number)

    def watch(
        self, line: ServerLine, recorder: Recorder, exchange: Receiving
    ) -> None:
        """Receive on this line until the recording, or an episode of it, is over."""
        stream = self._streams[line.number] = ReceivedStream(
            line, recorder, exchange
        )
        if self.death is None and self._lines.get(line.number) is not line:
            self.register(line)
        if (
            self.death is not None
            and self._streams.pop(line.number, None) is stream
        ):
            exchange.receive_alone()

    def _live(self) -> None:
        """Receive; if that fails, fail the streams, whose threads nobody else would wake."""
        try:
            self._work()
        except BaseException as error:
            self.death = error
            why = (
                error
                if isinstance(error, Exception)
                else RuntimeError(repr(error))
            )
            with contextlib.suppress(KeyError):  # none is left
                while True:
                    _, stream = self._streams.popitem()
                    stream.recorder.fail(why)
                    self._finish(stream)

    def _work(self) -> None:
        """Receive, round by round. The hot path: once for each read of each stream."""
        receive = syscalls.Receiver(self._stamps)
        view, stamp, stamps = receive.view, receive.stamp, self._stamps
        streams, wait = self._streams, self._poll.wait
        stop = self._woken.fileno()
        naps = Naps()
        while True:
            has_ended = False
            numbers = wait(
                self._time_to_close() if self._closing else None
            )
            for number in numbers:
                stream = streams.get(number)
                if stream is None:
                    if number == stop:
                        return
                    self._note_idle_event(number)
                    continue
                recorder = stream.recorder
                try:
                    got = receive(number)
                except OSError as error:
                    recorder.fail(error)
                    self._end(stream)
                    continue
                if got < 0:
                    continue
                if recorder.note(
                    view[:got],
                    perf_counter_ns(),
                    stamp() if stamps else None,
                ):
                    has_ended = True
                    self._end(stream)
                elif recorder.says_last:
                    self._close_soon(stream)
            self._end_closing()
            if stamps:
                naps.take(
                    len(numbers), len(streams), is_allowed=not has_ended
                )

    def _close_soon(self, stream: ReceivedStream) -> None:
        """The reply's last line has come: give its framing a moment to end."""
        if all(stream is not other for _, other in self._closing):
            self._closing.append((time.monotonic() + END_GRACE_S, stream))

    def _time_to_close(self) -> float:
        return max(0.0, self._closing[0][0] - time.monotonic())

    def _end_closing(self) -> None:
        """End the streams whose framing has not ended in time."""
        while self._closing and self._closing[0][0] <= time.monotonic():
            _, stream = self._closing.popleft()
            if self._streams.get(stream.line.number) is stream:
                stream.recorder.stop()
                self._end(stream)

    def _note_idle_event(self, number: int) -> None:
        """Something came, or the end of file, on a line that no request is on."""
        with self._registering:
            line = self._lines.pop(number, None)
            self._unregister(number)
        # from here on others may close it
        if line is not None:
            line.note_idle_event()
        # a request has come onto it meanwhile
        if (stream := self._streams.get(number)) is not None:
            self.register(stream.line)

    def _end(self, stream: ReceivedStream) -> None:
        number = stream.line.number
        del self._streams[number]
        if not stream.recorder.leaves_line:
            self._lines.pop(number, None)
            self._unregister(number)
        self._finish(stream)

    def _finish(self, stream: ReceivedStream) -> None:
        try:
            stream.exchange.finish()
        except Exception as error:
            # this thread must live for the other streams
            self.failure = self.failure or error
            stream.exchange.begin_digest()

    def _unregister(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._poll.unregister(number)


class Naps:
    """Naps between two rounds of reading, as long as the streams are slow enough for them."""

    def __init__(self) -> None:
        self._nap_s = 0.0
        self._reads = 0  # since the last judgement
        self._judged_at = time.monotonic()

    def take(self, reads: int, streams: int, is_allowed: bool) -> None:
        """Nap after a round of so many reads, with so many streams."""
        self._reads += reads
        passed_s = time.monotonic() - self._judged_at
        if passed_s > NAP_EVERY_S:
            gap_s = passed_s * streams / max(self._reads, 1)
            self._nap_s = NAP_S if NAP_SHARE * gap_s >= NAP_S else 0.0
            self._reads = 0
            self._judged_at += passed_s
        if self._nap_s and is_allowed:
            time.sleep(self._nap_s)


class Epoll:
    """A Poll of Linux, without the objects that selectors makes for each event."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.close, self.unregister = (
            self._epoll.close,
            self._epoll.unregister,
        )

    def register(self, number: int) -> None:
        self._epoll.register(number, select.EPOLLIN)

    def wait(self, timeout_s: float | None) -> list[int]:
        return [number for number, _ in self._epoll.poll(timeout_s)]


class Kqueue:
    """A Poll of macOS."""

    def __init__(self) -> None:
        # the type checker knows kqueue on macOS alone
        self._select: Any = select
        self._kqueue = self._select.kqueue()
        self.close = self._kqueue.close

    def register(self, number: int) -> None:
        self._change(number, self._select.KQ_EV_ADD)

    def unregister(self, number: int) -> None:
        self._change(number, self._select.KQ_EV_DELETE)

    def _change(self, number: int, action: int) -> None:
        event = self._select.kevent(
            number, self._select.KQ_FILTER_READ, action
        )
        self._kqueue.control([event], 0)

    def wait(self, timeout_s: float | None) -> list[int]:
        return [
            event.ident
            for event in self._kqueue.control(None, MOST_EVENTS, timeout_s)
        ]
