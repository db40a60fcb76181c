"""Where an HTTP/1.1 answer ends in the bytes that have come, by the rules of http.client."""

from __future__ import annotations

import http.client
import io
import re
from typing import TypeAlias

HEAD_BYTES = 1 << 20  # a longer head is not HTTP
MOST_HEADERS = 100  # http.client accepts no more
LONGEST_LENGTH = (
    15  # digits of a length or a chunk's size; more is invalid
)
NEVER = b"\0never\0"  # an ending that no body comes to
UNTIL_CLOSE = -1  # end of a body that lasts until the end of file
FORGOTTEN = -1  # end of a head that was dropped with an earlier episode
BLANK_LINE = re.compile(rb"\n\r?\n")
VERSIONS = (b"HTTP/1.", b"HTTP/0.9")
# headers without any folded or odd line
PLAIN_HEADERS = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r?\n)*\r?\n")

HeaderFields: TypeAlias = "dict[str, str] | http.client.HTTPMessage"


class Framing:
    """Finds the end of an answer.

    ``ending`` is what the bytes must end with before ``ends`` is worth a call: that walks over all
    chunks. ``head_start`` is where the head begins, after informational answers; ``head_end`` is 0
    until it has come. ``walked`` is where the first incomplete chunk begins. ``body_end`` is None
    for a chunked body. ``keeps``: the server does not announce that it closes the connection.
    """

    __slots__ = (
        "_chunk_end",
        "_is_odd",
        "_searched",
        "body_end",
        "complete",
        "ending",
        "head_end",
        "head_start",
        "keeps",
        "walked",
    )

    def __init__(self) -> None:
        self.ending = b""
        self.complete = False
        self.keeps = False
        self.head_start = self.head_end = 0
        self.body_end: int | None = None
        self.walked = 0
        self._searched = 0  # the head does not end before this
        self._is_odd = False  # not HTTP: http.client reports that better
        self._chunk_end = 0  # of the incomplete chunk

    @property
    def is_chunked(self) -> bool:
        """Has a head come that announces a chunked body?"""
        return self.head_end != 0 and self.body_end is None

    def ends(self, data: bytearray) -> bool:
        """Is the answer over with these bytes? True also for what is not HTTP."""
        while not self.head_end:
            if self._is_odd or not self._read_head(data):
                return self._is_odd or len(data) > HEAD_BYTES
        if self.body_end is None:
            self.complete, end = self._walk(data), self.walked
        else:
            self.complete, end = (
                0 <= self.body_end <= len(data),
                self.body_end,
            )
        # a line on which more has come, or anything odd, carries no other answer
        if self.complete:
            self.keeps = self.keeps and end == len(data)
        return self.complete

    def trust_end(self) -> bool:
        """Accept the end of a chunked body without walking over all chunks.

        For an answer whose last line has come, followed by what ends a chunked body.
        """
        self.complete = self.is_chunked
        return self.complete

    def is_between(self, data: bytearray) -> bool:
        """Do the bytes end where they may be cut: not within the line of a chunk's size?"""
        return (
            not self.is_chunked
            or self._walk(data)
            or self.walked == len(data)
        )

    def drop(self, data: bytearray) -> None:
        """Forget these bytes: positions count from their end, what follows is body."""
        if self.is_chunked:
            self.walked = max(self.walked, self._chunk_end)
        self.walked, self._chunk_end = max(0, self.walked - len(data)), 0
        if self.head_end:
            self.head_end = FORGOTTEN
        if self.body_end is not None and self.body_end >= 0:
            self.body_end -= len(data)

    def _read_head(self, data: bytearray) -> bool:
        """Read the next head; False when it is incomplete or not HTTP."""
        line_end = data.find(b"\n", self.walked)
        if line_end < 0:
            return False
        status = parse_status(bytes(data[self.walked : line_end]))
        if status is None:
            self._is_odd = True
            return False
        blank = BLANK_LINE.search(data, max(self._searched, line_end))
        if blank is None:
            self._searched = max(line_end, len(data) - 3)
            return False
        end = blank.end()
        version = bytes(data[self.walked : self.walked + 8])
        self.head_start, self.walked = self.walked, end
        self._searched = end
        # informational: the real head follows
        if 100 <= status < 200 and status != 101:
            self.head_start = end
            return True
        headers = parse_headers(bytes(data[line_end + 1 : end]))
        if headers is None:
            self._is_odd = True
            return False
        self.head_end = end
        self._settle(status, version, headers)
        return True

    def _settle(
        self, status: int, version: bytes, headers: HeaderFields
    ) -> None:
        """Decide how the body is framed, as http.client does."""
        connection = (headers.get("connection") or "").lower()
        is_kept = (
            version not in (b"HTTP/1.0", b"HTTP/0.9")
            or "keep-alive" in connection
        )
        self.keeps = "close" not in connection and is_kept
        if status in (101, 204, 304):
            self.body_end = self.head_end
        elif (headers.get("transfer-encoding") or "").lower() == "chunked":
            self.ending = b"\r\n\r\n"
        elif (
            length := parse_length(headers.get("content-length"))
        ) is not None:
            self.body_end = self.head_end + length
        else:
            self.body_end, self.ending, self.keeps = (
                UNTIL_CLOSE,
                NEVER,
                False,
            )

    def _walk(self, data: bytearray) -> bool:
        """Walk over whole chunks; True at the last one, or at an invalid one.

        http.client reports an invalid one better.
        """
        while (line_end := data.find(b"\r\n", self.walked)) >= 0:
            size = parse_chunk_size(data[self.walked : line_end])
            if size is None:
                return True
            if size == 0:
                return self._walk_trailers(data, line_end)
            end = line_end + 2 + size
            if not data.startswith(b"\r\n", end) and end + 1 < len(data):
                return True
            self._chunk_end = end + 2
            if end + 2 > len(data):
                return False
            self.walked = end + 2
        return False

    def _walk_trailers(self, data: bytearray, line_end: int) -> bool:
        """Has all come that follows the line of the last chunk?"""
        end = data.find(b"\r\n\r\n", line_end)
        if end < 0:
            return False
        if end + 4 == len(data):
            self.walked = end + 4
        return True


def parse_status(line: bytes) -> int | None:
    """Return the status code of a status line; None where http.client rejects the line."""
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(VERSIONS):
        return None
    try:
        status = int(parts[1])
    except ValueError:
        return None
    return status if 100 <= status <= 999 else None


def parse_headers(head: bytes) -> HeaderFields | None:
    """Return the header fields by name in lower case, the first of equal names.

    None where http.client rejects them.
    """
    if head.count(b"\n") > MOST_HEADERS:
        return None
    if PLAIN_HEADERS.fullmatch(head):
        return _parse_plain_headers(head.decode("iso-8859-1"))
    try:
        return http.client.parse_headers(io.BytesIO(head))
    except http.client.HTTPException:
        return None


def _parse_plain_headers(head: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in head.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(
                name.lower(), value.lstrip(" \t").rstrip("\r")
            )
    return fields


def parse_length(value: str | None) -> int | None:
    """Return the number in a Content-Length field; None where there is no valid one."""
    if value is None:
        return None
    try:
        length = int(value)
    except ValueError:
        return None
    return length if 0 <= length < 10**LONGEST_LENGTH else None


def parse_chunk_size(line: bytes | bytearray) -> int | None:
    """Return the size in the line before a chunk; None when the line is invalid."""
    digits = line if line.isalnum() else line.split(b";")[0].rstrip(b" \t")
    if b"\n" in line:  # http.client ends the line there
        return None
    # int() would accept a sign, too
    if not digits.isalnum() or len(digits) > LONGEST_LENGTH:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None
