"""How one request went: what was received and when, and the one status it ended with."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from ollama_bench.load.failures import classify_failure, describe_failure
from ollama_bench.load.task import Task
from ollama_bench.protocols.chunks import ANSWER, StreamSummary

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
    "client_error",
]
NO_SUMMARY = StreamSummary()


class RequestFigures(TypedDict):
    """What a finished request amounts to; instants count from an origin, None is unknown."""

    status: Status
    http_status: int | None
    error: str | None
    done_reason: str | None
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
    summary: StreamSummary | None = None
    send_lag_ns: int | None = None  # from when it was due and a place was free until it was sent
    due_ns: int | None = None  # of an open loop, where latency counts from it
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    ended_ns: int | None = None
    chunk_ns: array[int] = field(default_factory=lambda: array("q"))
    chunk_is_reasoning: bytearray = field(default_factory=bytearray)  # a kind for each chunk
    read_lags_ns: array[int] = field(default_factory=lambda: array("q"))

    @property
    def output_tokens(self) -> int:
        """Tokens as the server counts them, else chunks with text."""
        counted = self.summary.output_tokens if self.summary else None
        return len(self.chunk_ns) if counted is None else counted

    @property
    def tokens_per_chunk(self) -> float:
        """Tokens in a chunk, on average; 0 without chunks."""
        return self.output_tokens / len(self.chunk_ns) if self.chunk_ns else 0.0

    def to_figures(self, origin_ns: int) -> RequestFigures:
        """Return the figures of a finished request, with instants since the origin."""

        def since_origin(instant_ns: int | None) -> int | None:
            return None if instant_ns is None else instant_ns - origin_ns

        summary = self.summary or NO_SUMMARY
        first_text_ns = last_text_ns = first_answer_ns = None
        if self.chunk_ns:
            first_text_ns, last_text_ns = self.chunk_ns[0], self.chunk_ns[-1]
        first_answer = self.chunk_is_reasoning.find(ANSWER)
        if first_answer >= 0:
            first_answer_ns = self.chunk_ns[first_answer]
        return {
            "status": self.status,
            "http_status": self.http_status,
            "error": self.error,
            "done_reason": summary.done_reason,
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
            "output_tokens_source": "chunks" if summary.output_tokens is None else "server",
            "prompt_tokens": summary.prompt_tokens,
            "cached_tokens": summary.cached_tokens,
            "server_total_ns": summary.server_total_ns,
            "server_load_ns": summary.server_load_ns,
            "server_prefill_ns": summary.server_prefill_ns,
            "server_decode_ns": summary.server_decode_ns,
        }

    row = to_figures  # old name, until its callers are changed


def determine_status(
    outcome: Outcome, summary: StreamSummary, cancelled: str | None, failure: Exception | None
) -> tuple[Status, str | None]:
    """Return the one status of a request and what went wrong.

    ``cancelled`` is why this client cut the stream, ``failure`` what the connection raised.
    """
    has_failed = summary.error is not None or outcome.http_status != 200
    if summary.done and not has_failed:
        if outcome.chunk_ns:
            return "completed", None
        return "empty", "finished without any text"
    if cancelled and not summary.error_is_from_server:
        if cancelled.startswith("stalled"):
            return "stalled", cancelled.removeprefix("stalled: ")
        return "cancelled", cancelled
    if outcome.http_status not in (None, 200):
        return "http_error", outcome.error or f"HTTP {outcome.http_status} without a message"
    if summary.error:
        return "stream_error", summary.error
    if failure is not None:
        return classify_failure(failure), describe_failure(failure, outcome.task.secret)
    return "truncated", "stream ended before its last line"
