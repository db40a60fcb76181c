"""Hands out a recorded episode of an answer, each piece with the instant of its read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from ollama_bench.transport.framing import parse_chunk_size

# a chunk's size with fewer is taken as it is, where there is nothing else
SHORT_DIGITS = 8


class Playback:
    """Recorded bytes, and for each read its instant and where its bytes end.

    ``head_end`` is where the answer's head ends in these bytes. Handing out begins at ``start``.
    """

    __slots__ = (
        "_data",
        "_ends",
        "_head_end",
        "_position",
        "_read",
        "instants",
    )

    def __init__(
        self,
        data: bytearray,
        instants: array[int],
        ends: array[int],
        head_end: int = 0,
        start: int = 0,
    ) -> None:
        self._data, self.instants, self._ends = data, instants, ends
        self._head_end = head_end
        self._move_to(0, start)

    def _move_to(self, read: int, position: int) -> None:
        """Go on at this position; it is not before the bytes of this read."""
        while read < len(self._ends) and self._ends[read] <= position:
            read += 1
        self._read, self._position = read, position

    @property
    def is_finished(self) -> bool:
        """Has everything been handed out?"""
        return self._read == len(self._ends)

    def find_instant(self, position: int) -> int | None:
        """Return the instant of the first read that goes beyond this position."""
        for instant, end in zip(self.instants, self._ends, strict=True):
            if end > position:
                return instant
        return None

    def free(self) -> None:
        """Let go of the bytes; the instants stay."""
        self._data = bytearray()

    def read(self, buffer: bytearray | memoryview) -> tuple[int, int]:
        """Hand out bytes and their instant: the head alone, then never those of two reads at once.

        Only while it is not finished.
        """
        end = read_end = self._ends[self._read]
        if self._position < self._head_end < read_end:
            end = self._head_end
        taken = min(len(buffer), end - self._position)
        buffer[:taken] = self._data[
            self._position : self._position + taken
        ]
        instant = self.instants[self._read]
        self._position += taken
        if self._position == read_end:
            self._read += 1
        return taken, instant

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield each whole chunk of the body as (instant, bytes), if only the head was handed out.

        Stops before the last chunk, the empty one, and before anything odd: urllib3 goes on there.
        """
        if self._position != self._head_end:
            return
        data, instants, ends = bytes(self._data), self.instants, self._ends
        find, length, last_read = data.find, len(data), len(ends) - 1
        read, position = self._read, self._position
        while (line_end := find(b"\r\n", position)) >= 0:
            digits = data[position:line_end]
            try:  # the hot path: once for each chunk
                is_short = len(digits) < SHORT_DIGITS and digits.isalnum()
                size = (
                    int(digits, 16)
                    if is_short
                    else parse_chunk_size(digits)
                )
            except ValueError:
                break
            if not size:
                break
            end = line_end + 2 + size
            if end + 2 > length or data[end : end + 2] != b"\r\n":
                break
            while read < last_read and ends[read] < end:
                read += 1
            yield instants[read], data[line_end + 2 : end]
            position = end + 2
        self._move_to(read, position)
