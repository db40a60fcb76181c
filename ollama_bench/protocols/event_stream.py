"""Parses server-sent events and hands on the data of each.

As https://html.spec.whatwg.org/multipage/server-sent-events.html specifies, with two liberties:
a ``data`` line that is a JSON object by itself counts as soon as it arrives, and the last event
needs no blank line.
"""

from __future__ import annotations

import json
from abc import abstractmethod

from ollama_bench.protocols.errors import is_error
from ollama_bench.protocols.json_values import parse_object
from ollama_bench.protocols.line_stream import MAX_LINE_BYTES, LineStream
from ollama_bench.protocols.secret import NO_SECRET, Secret

LF, CR = 10, 13
BOM = b"\xef\xbb\xbf"
END_MARK = b"[DONE]"
# memory of a part of an event besides its characters
PART_OVERHEAD_BYTES = 64


class EventStream(LineStream):
    """A stream of server-sent events whose data are JSON objects; a subclass parses these."""

    def __init__(self, secret: Secret = NO_SECRET) -> None:
        super().__init__(secret)
        self._is_between_events = False
        # after a carriage return: a line feed belongs to the same end of line
        self._after_cr = False
        self._has_begun = False
        self._start_event()

    def _start_event(self) -> None:
        """Forget the current event."""
        self._name = b""
        # data of an event, as long as they are no JSON object
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._object = b""  # its data, if they were one

    @property
    def buffered_bytes(self) -> int:
        """The number of bytes that wait for the rest of their line or event."""
        return len(self._partial) + self._parts_bytes

    def feed(self, data: bytes) -> bytes:
        """Parse bytes; return the kind of each chunk of text that they complete."""
        if (
            self._is_between_events
            and data[-2:] == b"\n\n"
            and data[:5] == b"data:"
        ):
            line = data[5:-2]
            if LF not in line and CR not in line:
                kinds_of_event = self._parse_event(line)
                if kinds_of_event is not None:
                    # one whole event, as nearly always
                    return kinds_of_event
        if self._after_cr or CR in data:
            data = self._normalize_line_ends(data)
        kinds = super().feed(data)
        is_inside_line = (
            self._partial or self._skips_line or self._after_cr
        )
        is_inside_event = self._name or self._parts or self._object
        self._is_between_events = (
            self._has_begun and not is_inside_line and not is_inside_event
        )
        return kinds

    def close(self) -> bytes:
        """End the stream, whose last event may lack its end; return what feed returns."""
        return super().close() + self._end_event()

    @abstractmethod
    def _parse_event(self, data: bytes) -> bytes | None:
        """Parse the data of an event; return its chunks, None if it is not a JSON object."""

    def _normalize_line_ends(self, data: bytes) -> bytes:
        """Replace CR and CRLF with LF, also where CR and LF arrive separately."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data[-1] == CR
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _parse_line(self, line: bytes) -> bytes:
        if not self._has_begun:
            self._has_begun = True
            line = line.removeprefix(BOM)
        if line[:5] == b"data:":
            return self._parse_data(line[5:])
        if not line:
            return self._end_event()
        if line[:1] == b"{":
            self._parse_bare_object(line)
        name, _, value = line.partition(b":")
        value = value.strip()
        if name == b"event":
            self._name = value
        elif name == b"error" and value not in (b"", b"null"):
            # llama-server until 2025
            self._record_error_data(value)
        return b""  # a comment (": ping") or another field

    def _parse_data(self, data: bytes) -> bytes:
        """Parse one line of an event's data."""
        if data.strip() == END_MARK:
            kinds = self._end_event()
            self.summary.done = True
            return kinds
        if self._parts or self._name == b"error":
            return self._keep_part(data)
        kinds_of_event = self._parse_event(data)
        if kinds_of_event is not None:
            self._object = data
            return kinds_of_event
        return self._keep_part(data) if data.strip() else b""

    def _keep_part(self, data: bytes) -> bytes:
        self._parts.append(data.strip())
        self._parts_bytes += len(data) + PART_OVERHEAD_BYTES
        if self._parts_bytes > MAX_LINE_BYTES:
            self.summary.record_broken_stream(
                f"event longer than {MAX_LINE_BYTES >> 20} MiB"
            )
            self._start_event()
        return b""

    def _end_event(self) -> bytes:
        """Parse the data kept of an event at its blank line or at the end of the stream."""
        name, data, parsed = (
            self._name,
            b"\n".join(self._parts),
            self._object,
        )
        if not name and not data and not parsed:
            return b""
        self._start_event()
        if name == b"error":
            self._record_error_data(data or parsed)
            return b""
        if not data:
            return b""
        kinds = self._parse_event(data)
        if kinds is None:
            self._reject(data)
            return b""
        return kinds

    def _parse_bare_object(self, line: bytes) -> None:
        """Parse a JSON object that is not a field of an event; some servers report errors so."""
        message = parse_object(line.strip())
        if message is None:
            self._reject(line)
        elif is_error(message):
            self._record_server_error(message)

    def _record_error_data(self, data: bytes) -> None:
        """Keep an error that the server sent as JSON or as text."""
        text = data.decode("utf-8", "replace").strip()
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = text
        if not isinstance(body, (dict, str)):
            body = text
        self._record_server_error(body)
