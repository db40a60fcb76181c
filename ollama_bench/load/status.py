"""Decides the one status that a request ends with."""

from __future__ import annotations

from ollama_bench.load.failures import classify_failure, describe_failure
from ollama_bench.load.patience import ABANDONED
from ollama_bench.load.request import Outcome, Status
from ollama_bench.protocols.chunks import StreamSummary


def determine_status(
    outcome: Outcome,
    summary: StreamSummary,
    cancelled: str | None,
    failure: Exception | None,
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
        if cancelled.startswith(ABANDONED):
            return "abandoned", cancelled.removeprefix(f"{ABANDONED}: ")
        return "cancelled", cancelled
    if outcome.http_status not in (None, 200):
        return (
            "http_error",
            outcome.error
            or f"HTTP {outcome.http_status} without a message",
        )
    if summary.error:
        return "stream_error", summary.error
    if failure is not None:
        return classify_failure(failure), describe_failure(
            failure, outcome.task.secret
        )
    return "truncated", "stream ended before its last line"
