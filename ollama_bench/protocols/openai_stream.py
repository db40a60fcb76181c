"""Parses the stream of /v1/chat/completions: the JSON object in each server-sent event."""

from __future__ import annotations

from typing import Literal

import msgspec

from ollama_bench.protocols.chunks import ANSWER, REASONING
from ollama_bench.protocols.errors import is_error
from ollama_bench.protocols.event_stream import EventStream
from ollama_bench.protocols.json_values import (
    JsonObject,
    parse_object,
    read_count,
    read_model_name,
    read_objects,
    read_word,
    scale,
    update_count,
)
from ollama_bench.protocols.line_stream import (
    MAX_USUAL_LINE_BYTES,
    UNUSUAL,
)

MAX_CONTENT_DEPTH = 4  # of content parts inside content parts
NS_PER_MS = 1e6
REASONING_PARTS = ("thinking", "reasoning")


class Delta(msgspec.Struct, gc=False):
    """The text of a usual event."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[()] | None = None


class Choice(msgspec.Struct, gc=False):
    """The one choice of a usual event."""

    delta: Delta
    finish_reason: None = None
    error: None = None


class UsualEvent(msgspec.Struct, gc=False):
    """What the data of a usual event may hold; msgspec refuses any other."""

    choices: tuple[Choice]
    error: None = None
    usage: None = None
    timings: None = None
    detail: None = None
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


decode_usual_event = msgspec.json.Decoder(UsualEvent).decode


class OpenAIStream(EventStream):
    """The stream of the OpenAI protocol."""

    def _parse_event(self, data: bytes) -> bytes | None:
        if len(data) > MAX_USUAL_LINE_BYTES:
            return self._parse_unusual(data.strip())
        try:
            if not data.isascii():
                # msgspec does not validate the characters it skips
                data.decode()
            delta = decode_usual_event(data).choices[0].delta
        except UNUSUAL:
            return self._parse_unusual(data.strip())
        reasoning = delta.reasoning_content or delta.reasoning
        if not reasoning and self._tags.over and (text := delta.content):
            self._answer.append(text)
            return ANSWER
        if reasoning:
            self._reasoning.append(reasoning)
            return REASONING + self._add_usual(delta.content)
        return self._add_usual(delta.content)

    def _parse_unusual(self, data: bytes) -> bytes | None:
        """Parse the last event, an error or an odd event."""
        message = parse_object(data)
        if message is None:
            return None
        if is_error(message):
            self._record_server_error(message)
        if name := read_model_name(message.get("model"), self._secret):
            self.summary.model = name
        kinds = [
            self._parse_choice(choice)
            for choice in read_objects(message, "choices")
        ]
        if isinstance(usage := message.get("usage"), dict):
            self._read_usage(usage)
        if isinstance(timings := message.get("timings"), dict):
            self._read_timings(timings)
        return b"".join(kinds)

    def _parse_choice(self, choice: JsonObject) -> bytes:
        kinds = b""
        delta = choice.get("delta")
        if isinstance(delta, dict):
            reasoning = delta.get("reasoning_content") or delta.get(
                "reasoning"
            )
            kinds = self._add_content(reasoning, is_reasoning=True)
            kinds += self._add_content(
                delta.get("content"), is_reasoning=False
            )
            if self._tool_calls.add_fragments(delta.get("tool_calls")):
                kinds += self._add_wordless()
        if choice.get("error"):
            self._record_server_error(choice)
        if reason := read_word(choice.get("finish_reason"), self._secret):
            self.summary.done = True
            self.summary.done_reason = reason
            if reason == "error":
                self._record_server_error("finish_reason error")
        return kinds

    def _add_content(
        self, content: object, is_reasoning: bool, depth: int = 0
    ) -> bytes:
        """Add a content: a string, or a list of parts, some of which may be reasoning."""
        if not isinstance(content, list):
            if is_reasoning:
                return self._add_text(content, REASONING)
            return self._add_tagged(content)
        if depth >= MAX_CONTENT_DEPTH:
            return b""
        return b"".join(
            [
                self._add_part(part, is_reasoning, depth + 1)
                for part in content
            ]
        )

    def _add_part(
        self, part: object, is_reasoning: bool, depth: int
    ) -> bytes:
        """Add one part of a content, a string or an object."""
        if isinstance(part, str):
            return self._add_content(part, is_reasoning, depth)
        if not isinstance(part, dict):
            return b""
        is_reasoning = is_reasoning or part.get("type") in REASONING_PARTS
        text = part.get("text")
        if not text and is_reasoning:
            text = part.get("thinking") or part.get("reasoning")
        return self._add_content(text, is_reasoning, depth)

    def _read_usage(self, usage: JsonObject) -> None:
        """Read the token counts; one that is absent leaves the known one as it is."""
        summary = self.summary
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            cached = details.get("cached_tokens")
            summary.cached_tokens = update_count(
                summary.cached_tokens, cached
            )
        output, prompt = (
            usage.get("completion_tokens"),
            usage.get("prompt_tokens"),
        )
        summary.output_tokens = update_count(summary.output_tokens, output)
        summary.prompt_tokens = update_count(summary.prompt_tokens, prompt)

    def _read_timings(self, timings: JsonObject) -> None:
        """Read llama-server's own timings: milliseconds of prefill and decode, and counts."""
        summary = self.summary
        prefill_ns = scale(timings.get("prompt_ms"), NS_PER_MS)
        decode_ns = scale(timings.get("predicted_ms"), NS_PER_MS)
        summary.server_prefill_ns = update_count(
            summary.server_prefill_ns, prefill_ns
        )
        summary.server_decode_ns = update_count(
            summary.server_decode_ns, decode_ns
        )
        summary.draft_tokens = update_count(
            summary.draft_tokens, timings.get("draft_n")
        )
        summary.draft_accepted_tokens = update_count(
            summary.draft_accepted_tokens, timings.get("draft_n_accepted")
        )
        cached = read_count(timings.get("cache_n"))
        computed = read_count(timings.get("prompt_n"))
        if summary.output_tokens is None:
            summary.output_tokens = read_count(timings.get("predicted_n"))
        if summary.cached_tokens is None:
            summary.cached_tokens = cached
        if summary.prompt_tokens is None and computed is not None:
            summary.prompt_tokens = read_count(computed + (cached or 0))
