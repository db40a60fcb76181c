"""Parses the stream of /api/generate: one JSON object a line, the last one with the counters."""

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


class UsualLine(msgspec.Struct, gc=False):
    """What a usual line may hold; msgspec refuses any other."""

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
        if usual.thinking:
            self._reasoning.append(usual.thinking)
            return REASONING + self._add_usual(usual.response)
        return self._add_usual(usual.response)

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
        if message.get("done") is True:
            self._finish(message)
        return kinds

    def _finish(self, message: JsonObject) -> None:
        summary = self.summary
        summary.done = True
        summary.model = read_model_name(message.get("model"), self._secret)
        summary.done_reason = read_word(
            message.get("done_reason"), self._secret
        )
        summary.output_tokens = read_count(message.get("eval_count"))
        summary.prompt_tokens = read_count(message.get("prompt_eval_count"))
        summary.cached_tokens = read_count(
            message.get("prompt_eval_cached_count")
        )
        summary.server_total_ns = read_count(message.get("total_duration"))
        summary.server_load_ns = read_count(message.get("load_duration"))
        summary.server_prefill_ns = read_count(
            message.get("prompt_eval_duration")
        )
        summary.server_decode_ns = read_count(message.get("eval_duration"))
