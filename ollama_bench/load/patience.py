"""People who leave: who has no first token after so many seconds goes."""

from __future__ import annotations

import collections

from ollama_bench.load.flight import Flight

ABANDONED = "abandoned"  # why it is cancelled, up to the colon
# how lines begin that may hold text, in the framing of a body
TEXT_LINES = (b"{", b"data:")


class Patience:
    """The requests whose people may still leave, by when they lose their patience.

    Only the conductor's thread calls it.
    """

    def __init__(self, patience_s: float | None) -> None:
        self._patience_s = patience_s
        # all are as patient: who is due first leaves first
        self._waiting: collections.deque[Flight] = collections.deque()

    def watch(self, flight: Flight) -> None:
        """Watch a request that is sent."""
        if self._patience_s is not None and flight.due_ns is not None:
            self._waiting.append(flight)

    @property
    def next_ns(self) -> int | None:
        """When the next person may leave; None: nobody."""
        while self._waiting and self._waiting[0].ended_ns is not None:
            self._waiting.popleft()
        if self._patience_s is None or not self._waiting:
            return None
        due_ns = self._waiting[0].due_ns or 0
        return due_ns + int(self._patience_s * 1e9)

    def cut(self, now_ns: int) -> None:
        """Cancel the requests whose people leave now."""
        while (next_ns := self.next_ns) is not None and next_ns <= now_ns:
            flight = self._waiting.popleft()
            if not has_text(flight):
                flight.cancel(
                    f"{ABANDONED}: no first token within {self._patience_s:g} s"
                )


def has_text(flight: Flight) -> bool:
    """Tell whether a reply has begun; headers and chunks without text are no beginning."""
    recorder = flight.recorder
    if recorder is None or recorder.earlier_reads:
        return flight.reads > 0
    head, _, body = bytes(recorder.data).partition(b"\r\n\r\n")
    if b"content-encoding" in head.lower():
        return bool(body)
    task = flight.task
    stream = task.protocol.create_stream(task.secret)
    lines = [
        line for line in body.splitlines() if line.startswith(TEXT_LINES)
    ]
    # each ends with the blank line that ends an event
    return any(stream.feed(line + b"\n\n") for line in lines)
