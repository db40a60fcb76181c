"""Cuts a streamed answer into lines, however its bytes arrive, and collects the text in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array

import msgspec

from ollama_bench.protocols.chunks import ANSWER, REASONING, StreamSummary
from ollama_bench.protocols.errors import error_text, quote_line
from ollama_bench.protocols.json_values import JsonObject
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.text import replace_surrogates
from ollama_bench.protocols.think_tags import ThinkTags
from ollama_bench.protocols.tool_calls import ToolCalls

MAX_LINE_BYTES = 64 << 20  # a longer line is no token and is dropped
# Too short for a number or a nesting that Python's json refuses and msgspec does not.
MAX_USUAL_LINE_BYTES = 1024
# What decoding an unusual line as a usual one raises; parse_object then reads it.
UNUSUAL = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class LineStream(ABC):
    """Parses one streamed answer; a subclass says what a line means.

    A usual line, as nearly all are, is decoded by msgspec into a struct that names only the
    fields of a chunk. Any other line is parsed a second time, slowly and leniently.

    A line ends with a line feed only: str.splitlines would also split at U+0085.
    """

    def __init__(self, secret: Secret = NO_SECRET) -> None:
        self.summary = StreamSummary()
        self._secret = secret
        self._partial = bytearray()  # a line whose end has not arrived
        # whether the line is too long: it is dropped up to its end
        self._skips_line = False
        self._answer: list[str] = []
        self._reasoning: list[str] = []
        self._tags = ThinkTags()
        self._tool_calls = ToolCalls()

    @property
    def answer(self) -> str:
        """The answer so far, without the API key."""
        return self._join(self._answer)

    @property
    def reasoning(self) -> str:
        """The reasoning so far, without the API key."""
        return self._join(self._reasoning)

    @property
    def tool_calls(self) -> list[JsonObject]:
        """The tool calls so far, in the form in which the next request repeats them."""
        return self._tool_calls.collect()

    @property
    def buffered_bytes(self) -> int:
        """The number of bytes that wait for the rest of their line."""
        return len(self._partial)

    def feed(self, data: bytes) -> bytes:
        """Parse bytes; return the kind of each chunk of text that they complete."""
        is_inside_line = self._partial or self._skips_line
        is_whole = data[-1:] == b"\n" and len(data) <= MAX_LINE_BYTES
        if is_whole and not is_inside_line:
            lines = data[:-1].split(b"\n")
            return b"".join([self._parse_line(line) for line in lines])
        first, *lines = data.split(b"\n")
        self._buffer(first)
        if not lines:
            return b""
        kinds = self._end_line()
        kinds += b"".join([self._parse_line(line) for line in lines[:-1]])
        self._buffer(lines[-1])
        return kinds

    def close(self) -> bytes:
        """End the stream, whose last line may lack its line feed; return what feed returns."""
        return self._end_line()

    def count_characters(self, kinds: bytes) -> array[int]:
        """Return how many characters each chunk so far has, as received; kinds: of all of them."""
        # by kind, as ANSWER and REASONING count
        lengths = map(len, self._answer), map(len, self._reasoning)
        return array("L", (next(lengths[kind], 0) for kind in kinds))

    @abstractmethod
    def _parse_line(self, line: bytes) -> bytes:
        """Parse a whole line; return the kinds of the chunks in it."""

    def _join(self, texts: list[str]) -> str:
        is_cut = not self.summary.done
        return self._secret.mask("".join(texts), is_cut)

    def _buffer(self, data: bytes) -> None:
        """Keep a part of a line; appending stays cheap however often it happens."""
        if not self._skips_line:
            self._partial += data
        if len(self._partial) > MAX_LINE_BYTES:
            self.summary.record_broken_stream(
                f"line longer than {MAX_LINE_BYTES >> 20} MiB"
            )
            self._partial.clear()
            self._skips_line = True

    def _end_line(self) -> bytes:
        line = bytes(self._partial)
        skipped, self._skips_line = self._skips_line, False
        self._partial.clear()
        return b"" if skipped else self._parse_line(line)

    def _reject(self, line: bytes) -> None:
        quoted = quote_line(line, self._secret)
        self.summary.record_broken_stream(f"not a JSON object: {quoted}")

    def _record_server_error(self, body: object) -> None:
        """Keep the first error the server reports; it replaces our own description."""
        if not self.summary.error_is_from_server:
            self.summary.error = error_text(body, self._secret)
            self.summary.error_is_from_server = True

    def _add_text(self, text: object, kind: bytes) -> bytes:
        """Add a chunk of a known kind; anything but a non-empty string is none."""
        if not text or not isinstance(text, str):
            return b""
        texts = self._reasoning if kind is REASONING else self._answer
        texts.append(replace_surrogates(text))
        return kind

    def _add_wordless(self) -> bytes:
        """Add a chunk of the answer without text, as a call of a tool is."""
        self._answer.append("")
        return ANSWER

    def _add_tagged(self, text: object) -> bytes:
        """Add text of the answer field, in which some servers also send the reasoning."""
        if self._tags.over:
            return self._add_text(text, ANSWER)
        if not text or not isinstance(text, str):
            return b""
        parts = self._tags.split(text)
        return b"".join(
            [self._add_text(part, kind) for kind, part in parts]
        )

    def _add_usual(self, text: str | None) -> bytes:
        """Add text of the answer field of a usual line, which msgspec has checked."""
        if not text:
            return b""
        if not self._tags.over:
            return self._add_tagged(text)
        self._answer.append(text)
        return ANSWER
