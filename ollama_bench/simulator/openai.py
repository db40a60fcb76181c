"""OpenAI's /v1/chat/completions: server-sent events, with llama-server's timings at the end."""

from __future__ import annotations

import time

from ollama_bench.simulator.dialect import Dialect, Ending
from ollama_bench.simulator.messages import JsonObject, dump, get_object


def format_error(
    message: str, kind: str = "api_error", code: int | None = None
) -> JsonObject:
    """Return the body of an error as OpenAI's servers write it."""
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": None,
            "code": code,
        }
    }


class OpenAIDialect(Dialect):
    """One reply to /v1/chat/completions."""

    ping = b":\n\n"

    def __init__(self, number: int, body: JsonObject) -> None:
        super().__init__(
            str(body["model"]),
            bool(body.get("stream")),
            "text/event-stream",
        )
        self.wants_usage = bool(
            get_object(body, "stream_options").get("include_usage")
        )
        self._id = f"chatcmpl-{number}"
        self._created = int(time.time())
        self._role_sent = False

    def encode_token(self, text: str, reasoning: bool) -> bytes:
        return self._event(
            {"reasoning_content" if reasoning else "content": text}
        )

    def _event(
        self,
        delta: JsonObject,
        finish_reason: str | None = None,
        **more: object,
    ) -> bytes:
        """Return one event; before the first one, an event that holds the role alone."""
        role = b""
        if not self._role_sent:
            self._role_sent = True
            role = self._event({"role": "assistant", "content": None})
        choices = [
            {"index": 0, "delta": delta, "finish_reason": finish_reason}
        ]
        return role + format_event(
            {**self._frame(), "choices": choices, **more}
        )

    def _frame(self) -> JsonObject:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self.model,
            "system_fingerprint": "fp_sim",
        }

    def closing(self, ending: Ending) -> list[bytes]:
        usage = self.changed("usage", count_usage(ending))
        timings = self.changed("timings", count_timings(ending))
        if not self.streams:
            return [self._whole(ending, usage=usage, timings=timings)]
        done = b"data: [DONE]\n\n"
        if not self.wants_usage:
            return [
                self._event({}, ending.done_reason, timings=timings),
                done,
            ]
        last = self._event({}, ending.done_reason)
        counters = {"choices": [], "usage": usage, "timings": timings}
        return [last + format_event({**self._frame(), **counters}), done]

    def _whole(self, ending: Ending, **counters: JsonObject) -> bytes:
        message = {"role": "assistant", "content": self.answer}
        if reasoning := self.reasoning:
            message["reasoning_content"] = reasoning
        choices = [
            {
                "index": 0,
                "message": message,
                "finish_reason": ending.done_reason,
            }
        ]
        frame = {**self._frame(), "object": "chat.completion"}
        return dump({**frame, "choices": choices, **counters})

    def error(self, message: str) -> JsonObject:
        return format_error(message)

    def error_line(self, message: str) -> bytes:
        return format_event(self.error(message))


def format_event(value: object) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


def count_usage(ending: Ending) -> JsonObject:
    return {
        "prompt_tokens": ending.prompt_tokens,
        "completion_tokens": ending.output_tokens,
        "total_tokens": ending.prompt_tokens + ending.output_tokens,
    }


def count_timings(ending: Ending) -> JsonObject:
    return {
        "cache_n": 0,
        "prompt_n": ending.prompt_tokens,
        "prompt_ms": ending.prefill_ns / 1e6,
        "predicted_n": ending.output_tokens,
        "predicted_ms": ending.decode_ns / 1e6,
    }
