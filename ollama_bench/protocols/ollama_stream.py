"""Parses the streams of /api/generate and /api/chat: one JSON object a line, counters last."""

from __future__ import annotations

import msgspec

from ollama_bench.protocols.chunks import REASONING
from ollama_bench.protocols.errors import is_error
from ollama_bench.protocols.json_values import (
    JsonObject,
    parse_object,
    read_count,
    read_model_name,
    read_word,
)
from ollama_bench.protocols.line_stream import (
    MAX_USUAL_LINE_BYTES,
    UNUSUAL,
    LineStream,
)


class UsualMessage(msgspec.Struct, gc=False):
    """The text of a usual line of /api/chat."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: tuple[()] | None = None


class UsualLine(msgspec.Struct, gc=False):
    """What a usual line may hold; msgspec refuses any other."""

    message: UsualMessage | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    error: None = None
    detail: None = None
    object: None = None


decode_usual_line = msgspec.json.Decoder(UsualLine).decode


class OllamaStream(LineStream):
    """The stream of Ollama's native protocol."""

    def feed(self, data: bytes) -> bytes:
        """Parse bytes; return the kind of each chunk of text that they complete."""
        if (
            data.find(b"\n") == len(data) - 1
            and not self._partial
            and not self._skips_line
        ):
            # one whole line, as nearly always
            return self._parse_line(data)
        return super().feed(data)

    def _parse_line(self, line: bytes) -> bytes:
        if len(line) > MAX_USUAL_LINE_BYTES:
            return self._parse_unusual(line.strip())
        try:
            if not line.isascii():
                # msgspec does not validate the characters it skips
                line.decode()
            usual = decode_usual_line(line)
        except UNUSUAL:
            return self._parse_unusual(line.strip())
        if usual.done:
            return self._parse_unusual(line.strip())
        thinking, text = usual.thinking, usual.response
        if usual.message is not None:
            if thinking or text:
                return self._parse_unusual(line.strip())
            thinking, text = usual.message.thinking, usual.message.content
        if thinking:
            self._reasoning.append(thinking)
            return REASONING + self._add_usual(text)
        return self._add_usual(text)

    def _parse_unusual(self, line: bytes) -> bytes:
        """Parse the last line, an error or an odd line."""
        message = parse_object(line)
        if message is None:
            if line:
                self._reject(line)
            return b""
        if is_error(message):
            self._record_server_error(message)
        kinds = self._add_text(message.get("thinking"), REASONING)
        kinds += self._add_tagged(message.get("response"))
        if isinstance(said := message.get("message"), dict):
            kinds += self._add_message(said)
        if message.get("done") is True:
            self._finish(message)
        return kinds

    def _add_message(self, said: JsonObject) -> bytes:
        """Add what a line of /api/chat says; calls of tools count as one chunk of the answer."""
        kinds = self._add_text(said.get("thinking"), REASONING)
        kinds += self._add_tagged(said.get("content"))
        if self._tool_calls.add_whole(said.get("tool_calls")):
            kinds += self._add_wordless()
        return kinds

    def _finish(self, message: JsonObject) -> None:
        summary = self.summary
        summary.done = True
        summary.model = read_model_name(message.get("model"), self._secret)
        summary.done_reason = read_word(
            message.get("done_reason"), self._secret
        )
        summary.output_tokens = read_count(message.get("eval_count"))
        summary.prompt_tokens = read_count(
            message.get("prompt_eval_count")
        )
        summary.cached_tokens = read_count(
            message.get("prompt_eval_cached_count")
        )
        summary.server_total_ns = read_count(message.get("total_duration"))
        summary.server_load_ns = read_count(message.get("load_duration"))
        summary.server_prefill_ns = read_count(
            message.get("prompt_eval_duration")
        )
        summary.server_decode_ns = read_count(message.get("eval_duration"))
