"""The order in which recordings are digested: one at a time, while others still come in."""

from __future__ import annotations

import collections
import threading
import time
from typing import Protocol


class Recording(Protocol):
    """What the queue needs of an exchange."""

    is_urgent: bool  # digested before others
    # an episode of a stream that goes on: digested before others
    pauses: bool

    @property
    def recorded_bytes(self) -> int: ...

    def begin_digest(self) -> None:
        """Wake its thread to read what was recorded."""


class DigestQueue:
    """Lets one recording at a time be digested while others still come in.

    The thread that digests takes the interpreter from the others' last tokens. In a burst an
    answer is held back until it has ended ``later_s`` ago, or ``hurry`` is called: streams sent
    together often end together.
    """

    def __init__(self, later_s: float = 0.0) -> None:
        self._later_s = later_s
        self._waiting: collections.deque[tuple[float, Recording]] = (
            collections.deque()
        )
        self._lock = threading.Lock()
        self._is_busy = False
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Count the bytes of all waiting recordings."""
        return self._bytes

    def offer(self, recording: Recording) -> None:
        """Queue a recording; its thread is woken when its turn comes."""
        with self._lock:
            self._bytes += recording.recorded_bytes
            if recording.is_urgent or recording.pauses:
                self._waiting.appendleft((0.0, recording))
            else:
                self._waiting.append(
                    (time.monotonic() + self._later_s, recording)
                )
        self.look()

    def done(self) -> None:
        """End the turn of the recording that was being digested."""
        with self._lock:
            self._is_busy = False
        self.look()

    def hurry(self) -> None:
        """Hold nothing back any more: no stream is left to disturb."""
        self._later_s = 0.0
        with self._lock:
            self._waiting = collections.deque(
                (0.0, recording) for _, recording in self._waiting
            )
        self.look()

    def delay(self, later_s: float) -> None:
        """Hold answers back again: streams come in."""
        self._later_s = later_s

    def look(self) -> None:
        """Give the turn to the next recording if it is due and the turn is free."""
        with self._lock:
            if (
                self._is_busy
                or not self._waiting
                or self._waiting[0][0] > time.monotonic()
            ):
                return
            self._is_busy = True
            _, recording = self._waiting.popleft()
            self._bytes -= recording.recorded_bytes
        recording.begin_digest()
