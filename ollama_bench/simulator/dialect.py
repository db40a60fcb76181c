"""What the two protocols have in common: a reply becomes payloads, then an end with counters."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

from ollama_bench.simulator.messages import JsonObject, dump

CounterChange = Callable[[str, JsonObject], JsonObject]


@dataclass(frozen=True)
class Ending:
    """What the last message of a reply reports; what is left of total_ns is the queue."""

    done_reason: str
    prompt_tokens: int
    output_tokens: int
    total_ns: int
    load_ns: int
    prefill_ns: int
    decode_ns: int


class Dialect(abc.ABC):
    """One reply in one protocol. Faults replace the model's name and add counter changes."""

    ping: bytes  # an empty message

    def __init__(
        self, model: str, streams: bool, content_type: str
    ) -> None:
        self.model = model
        self.streams = streams
        self.content_type = (
            content_type if streams else "application/json; charset=utf-8"
        )
        self.counter_changes: list[CounterChange] = []
        self._answer: list[
            str
        ] = []  # kept where the reply is not streamed
        self._reasoning: list[str] = []

    def token(self, text: str, reasoning: bool) -> bytes:
        """Return the payload of one token; empty where the reply is not streamed."""
        if self.streams:
            return self.encode_token(text, reasoning)
        (self._reasoning if reasoning else self._answer).append(text)
        return b""

    @property
    def answer(self) -> str:
        """The text of a reply that is not streamed."""
        return "".join(self._answer)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    def error_line(self, message: str) -> bytes:
        """Return the payload of an error within a stream."""
        return dump(self.error(message)) + b"\n"

    def changed(self, name: str, counters: JsonObject) -> JsonObject:
        """Return counters of this name as the faults want them."""
        for change in self.counter_changes:
            counters = change(name, counters)
        return counters

    @abc.abstractmethod
    def encode_token(self, text: str, reasoning: bool) -> bytes:
        """Return the payload of one token of a stream."""

    @abc.abstractmethod
    def closing(self, ending: Ending) -> list[bytes]:
        """Return the last payloads of the reply."""

    @abc.abstractmethod
    def error(self, message: str) -> JsonObject:
        """Return the body of an error."""
