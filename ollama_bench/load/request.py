"""One request of a level: what is asked, when to give up, and what came back and when."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

from ollama_bench.load.lengths import Lengths
from ollama_bench.protocols.chunks import ANSWER, StreamSummary
from ollama_bench.protocols.json_values import JsonObject
from ollama_bench.protocols.protocol import ServerProtocol
from ollama_bench.protocols.secret import NO_SECRET, Secret

Status = Literal[
    "completed",
    "truncated",
    "empty",
    "http_error",
    "stream_error",
    "refused",
    "reset",
    "stalled",
    "cancelled",
    "abandoned",
    "client_error",
]


@dataclass(frozen=True)
class Task:
    """One request to make."""

    number: int  # 1 to n within its level
    protocol: ServerProtocol
    url: str
    body: JsonObject
    headers: dict[str, str] = field(
        default_factory=dict
    )  # e.g. an API key
    # text before the prompt, so that it misses the prompt cache
    prefix: str | None = None
    target_id: int | None = None
    prompt_number: int | None = None  # line of a file
    turn: int = 1  # of a conversation
    # makes the next turn, numbered so
    follow: Callable[[int, Outcome], Task] | None = None
    # an API key, masked wherever the server repeats it
    secret: Secret = NO_SECRET
    lengths: Lengths = Lengths()
    worker: str | None = None  # who sends it, of several processes
    host: int = 0  # place of its server among those of the level


class StopSignal(Protocol):
    """Cancels a level when it is set, e.g. a threading.Event."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool:
        """Sleep for so many seconds, or until it is set; return whether it is."""


@dataclass(frozen=True)
class Limits:
    """When to give up, and how to read; seconds, None is never."""

    # longest silence of a stream that had begun, or of a whole level
    stall_s: float | None = 300.0
    deadline_s: float | None = None  # of a level
    # how long a person waits for the first token
    patience_s: float | None = None
    kernel_stamps: bool = True


class RequestFigures(TypedDict):
    """What a finished request amounts to; instants count from an origin, None is unknown."""

    status: Status  # not abandoned, which is cancelled
    abandoned: int
    http_status: int | None
    error: str | None
    done_reason: str | None
    person: int | None
    think_s: float | None
    due_ns: int | None
    sent_ns: int | None
    first_byte_ns: int | None
    ended_ns: int | None
    first_text_ns: int | None
    first_answer_ns: int | None
    last_text_ns: int | None
    chunks: int
    reasoning_chunks: int
    output_tokens: int
    output_tokens_source: Literal["server", "chunks"]
    prompt_tokens: int | None
    cached_tokens: int | None
    reply_model: str | None
    draft_tokens: int | None
    draft_accepted_tokens: int | None
    asked_prompt_tokens: int | None
    asked_output_tokens: int | None
    prompt_tokens_expected: int | None
    prompt_cut: int | None
    reply_cut: int | None
    server_total_ns: int | None
    server_load_ns: int | None
    server_prefill_ns: int | None
    server_decode_ns: int | None


@dataclass
class Outcome:
    """How one request went. Instants are of time.perf_counter_ns; None did not happen."""

    task: Task
    status: Status = "client_error"
    http_status: int | None = None
    error: str | None = None
    answer: str = ""
    reasoning: str = ""
    # as the protocol writes them
    tool_calls: list[JsonObject] = field(default_factory=list)
    summary: StreamSummary | None = None
    person: int | None = None  # who asked, from 1 on, of people who think
    think_s: float | None = None  # how long that person thought before
    # time from when it was due and a place was free until it was sent
    send_lag_ns: int | None = None
    # when an open loop, or a person, should send it; latency counts from then
    due_ns: int | None = None
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    ended_ns: int | None = None
    chunk_ns: array[int] = field(default_factory=lambda: array("q"))
    # a kind for each chunk
    chunk_is_reasoning: bytearray = field(default_factory=bytearray)
    # of each chunk; None: not known
    chunk_characters: array[int] | None = None
    read_lags_ns: array[int] = field(default_factory=lambda: array("q"))

    @property
    def output_tokens(self) -> int:
        """Tokens as the server counts them, else chunks with text."""
        counted = self.summary.output_tokens if self.summary else None
        return len(self.chunk_ns) if counted is None else counted

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens after the first / the time from the first to the last; None without."""
        if not self.chunk_ns or self.chunk_ns[-1] <= self.chunk_ns[0]:
            return None
        took_s = (self.chunk_ns[-1] - self.chunk_ns[0]) / 1e9
        return (self.output_tokens - 1) / took_s

    @property
    def tokens_per_chunk(self) -> float:
        """Tokens in a chunk, on average; 0 without chunks."""
        return (
            self.output_tokens / len(self.chunk_ns)
            if self.chunk_ns
            else 0.0
        )

    def to_figures(self, origin_ns: int) -> RequestFigures:
        """Return the figures of a finished request, with instants since the origin."""

        def since_origin(instant_ns: int | None) -> int | None:
            return None if instant_ns is None else instant_ns - origin_ns

        summary = self.summary or StreamSummary()
        lengths = self.task.lengths
        has_left = self.status == "abandoned"
        first_text_ns = last_text_ns = first_answer_ns = None
        if self.chunk_ns:
            first_text_ns, last_text_ns = (
                self.chunk_ns[0],
                self.chunk_ns[-1],
            )
        first_answer = self.chunk_is_reasoning.find(ANSWER)
        if first_answer >= 0:
            first_answer_ns = self.chunk_ns[first_answer]
        return {
            # what a file of version 1.0 admits
            "status": "cancelled" if has_left else self.status,
            "abandoned": int(has_left),
            "http_status": self.http_status,
            "error": self.error,
            "done_reason": summary.done_reason,
            "person": self.person,
            "think_s": self.think_s,
            "due_ns": since_origin(self.due_ns),
            "sent_ns": since_origin(self.sent_ns),
            "first_byte_ns": since_origin(self.first_byte_ns),
            "ended_ns": since_origin(self.ended_ns),
            "first_text_ns": since_origin(first_text_ns),
            "first_answer_ns": since_origin(first_answer_ns),
            "last_text_ns": since_origin(last_text_ns),
            "chunks": len(self.chunk_ns),
            "reasoning_chunks": sum(self.chunk_is_reasoning),
            "output_tokens": self.output_tokens,
            "output_tokens_source": "chunks"
            if summary.output_tokens is None
            else "server",
            "prompt_tokens": summary.prompt_tokens,
            "cached_tokens": summary.cached_tokens,
            "reply_model": summary.model,
            "draft_tokens": summary.draft_tokens,
            "draft_accepted_tokens": summary.draft_accepted_tokens,
            "asked_prompt_tokens": lengths.asked,
            "asked_output_tokens": lengths.most_output,
            "prompt_tokens_expected": lengths.prompt,
            "prompt_cut": as_flag(lengths.is_prompt_cut(summary)),
            "reply_cut": as_flag(lengths.is_reply_cut(summary)),
            "server_total_ns": summary.server_total_ns,
            "server_load_ns": summary.server_load_ns,
            "server_prefill_ns": summary.server_prefill_ns,
            "server_decode_ns": summary.server_decode_ns,
        }


def as_flag(known: bool | None) -> int | None:
    """Return 1, 0 or None for what is known to be true or false, or unknown."""
    return None if known is None else int(known)
