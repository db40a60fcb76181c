"""How a stream is framed in an HTTP answer: where its body ends."""

from __future__ import annotations

import zlib
from typing import Protocol

from ollama_bench.simulator.messages import format_head


class BodyFraming(Protocol):
    """Turn payloads into the bytes of one answer."""

    @property
    def keeps_open(self) -> bool:
        """Whether the connection can serve another request afterwards."""

    def start(self, status: int, content_type: str) -> bytes:
        """Return the head of the answer."""

    def piece(self, data: bytes) -> bytes:
        """Return the bytes of a part of the body."""

    def finish(self) -> bytes:
        """Return what ends the body."""


class Chunked:
    """A stream over HTTP/1.1."""

    keeps_open = True

    def start(self, status: int, content_type: str) -> bytes:
        return format_head(
            status, content_type, "Transfer-Encoding: chunked"
        )

    def piece(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def finish(self) -> bytes:
        return b"0\r\n\r\n"


class UntilEof:
    """As in HTTP/1.0: the body ends where the connection does."""

    keeps_open = False

    def start(self, status: int, content_type: str) -> bytes:
        return format_head(status, content_type, "Connection: close")

    def piece(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class Buffered:
    """No stream: everything in one answer with its length, plus an error of it for a fault."""

    def __init__(self, length_error: int = 0) -> None:
        self.keeps_open = not length_error
        self._length_error = length_error
        self._pieces: list[bytes] = []
        self._status = 200
        self._content_type = ""

    def start(self, status: int, content_type: str) -> bytes:
        self._status = status
        self._content_type = content_type
        return b""

    def piece(self, data: bytes) -> bytes:
        self._pieces.append(data)
        return b""

    def finish(self) -> bytes:
        body = b"".join(self._pieces)
        length = f"Content-Length: {len(body) + self._length_error}"
        return format_head(self._status, self._content_type, length) + body


class Gzip(Chunked):
    """Chunks of one gzip stream, flushed at every piece."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(wbits=31)

    def start(self, status: int, content_type: str) -> bytes:
        coding = ("Transfer-Encoding: chunked", "Content-Encoding: gzip")
        return format_head(status, content_type, *coding)

    def piece(self, data: bytes) -> bytes:
        packed = self._packer.compress(data) + self._packer.flush(
            zlib.Z_SYNC_FLUSH
        )
        return super().piece(packed)

    def finish(self) -> bytes:
        return super().piece(self._packer.flush()) + super().finish()


class Unfinished:
    """Another framing without its end."""

    keeps_open = False

    def __init__(self, framing: BodyFraming) -> None:
        self.start = framing.start
        self.piece = framing.piece

    def finish(self) -> bytes:
        return b""
