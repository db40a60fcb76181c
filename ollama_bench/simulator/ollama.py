"""Ollama's /api/generate and /api/chat: one JSON object a line."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from ollama_bench.simulator.dialect import Dialect, Ending
from ollama_bench.simulator.messages import JsonObject, dump


@functools.lru_cache(maxsize=2)
def format_second(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))


def format_now() -> str:
    """Return the wall clock as Go writes it: nine digits without trailing zeros."""
    second, ns = divmod(time.time_ns(), 1_000_000_000)
    return (
        f"{format_second(second)}.{ns:09d}".rstrip("0").rstrip(".") + "Z"
    )


class OllamaDialect(Dialect):
    """One reply to /api/generate."""

    ping = b"\n"

    def __init__(self, body: JsonObject) -> None:
        streams = bool(body.get("stream", True))
        super().__init__(
            str(body["model"]), streams, "application/x-ndjson"
        )
        # gives created_at; a fault replaces it
        self.clock: Callable[[], str] = format_now
        self.has_context = not body.get("raw")

    def encode_token(self, text: str, reasoning: bool) -> bytes:
        said = self.say("", text) if reasoning else self.say(text)
        return dump({**self._frame(), **said, "done": False}) + b"\n"

    def say(self, answer: str, reasoning: str = "") -> JsonObject:
        """Return the fields that hold text."""
        thinking = {"thinking": reasoning} if reasoning else {}
        return {"response": answer, **thinking}

    def _frame(self) -> JsonObject:
        return {"model": self.model, "created_at": self.clock()}

    def closing(self, ending: Ending) -> list[bytes]:
        line = {**self._frame(), **self.say(self.answer, self.reasoning)}
        line.update(done=True, done_reason=ending.done_reason)
        if self.has_context:
            line["context"] = [1, 2, 3]
        counters = self.changed("counters", make_counters(ending))
        # Go's omitempty
        line.update(
            (name, value) for name, value in counters.items() if value
        )
        return [dump(line) + (b"\n" if self.streams else b"")]

    def error(self, message: str) -> JsonObject:
        return {"error": message}


class OllamaChat(OllamaDialect):
    """One reply to /api/chat."""

    def __init__(self, body: JsonObject) -> None:
        super().__init__(body)
        self.has_context = False

    def say(self, answer: str, reasoning: str = "") -> JsonObject:
        said: JsonObject = {"role": "assistant", "content": answer}
        if reasoning:
            said["thinking"] = reasoning
        return {"message": said}


def make_counters(ending: Ending) -> JsonObject:
    """Return the counters of a reply, durations in nanoseconds."""
    return {
        "total_duration": ending.total_ns,
        "load_duration": ending.load_ns,
        "prompt_eval_count": ending.prompt_tokens,
        "prompt_eval_duration": ending.prefill_ns,
        "eval_count": ending.output_tokens,
        "eval_duration": ending.decode_ns,
    }
