"""What another tool measured: runs, levels and requests as its file tells them; None is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ollama_bench.formats.json_file import ImportFileError

LONGEST_S = 1e8  # of a run: three years
MOST_ERROR = 2000  # characters of an error that are kept
# words of an error, and how a request ended that says them
ENDINGS = {
    "never received a valid chunk": "empty",
    "connection refused": "refused",
    "cannot connect": "refused",
    "clientconnectorerror": "refused",
    "disconnected": "reset",
    "connection reset": "reset",
    "timeout": "stalled",
    "traceback": "stream_error",
}
OWN_ENDINGS = (
    "truncated",
    "empty",
    "http_error",
    "stream_error",
    "refused",
    "reset",
    "stalled",
    "cancelled",
    "client_error",
)


@dataclass(frozen=True)
class MeasuredRequest:
    """One request; instants in seconds, on one clock for the whole run."""

    status: str
    sent_s: float | None
    error: str | None = None
    due_s: float | None = None  # of an open load
    first_text_s: float | None = None
    first_answer_s: float | None = None
    last_text_s: float | None = None
    ended_s: float | None = None
    # instant of each chunk; None: only their number is known
    chunks_s: Sequence[float] | None = None
    chunks: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning: str | None = None
    answer: str | None = None

    @property
    def is_completed(self) -> bool:
        return self.status == "completed"


@dataclass(frozen=True)
class MeasuredLevel:
    """Requests of one load; instants as of the requests."""

    concurrency: int
    load: str  # burst, closed or open
    rate_per_s: float | None  # of an open load
    started_s: float
    ended_s: float
    requests: list[MeasuredRequest]
    arrival_cv: float | None = None  # of an open load


@dataclass(frozen=True)
class MeasuredRun:
    """What one file tells."""

    tool: str  # what measured it, with its version where told
    model: str
    label: str
    started_unix: float  # seconds since 1970 of the instant zero_s
    zero_s: float
    levels: list[MeasuredLevel]
    api: str = "openai"
    host: str = "unknown"
    server: str | None = None
    server_version: str | None = None
    quantization: str | None = None
    is_simulated: bool = False
    # the same for the same content, wherever the file is
    key: str = ""
    left_out: list[str] = field(default_factory=list)


def check_instants(run: MeasuredRun) -> None:
    """Raise ImportFileError where instants cannot be: out of order, or far from the run."""
    if run.started_unix < 0:
        raise ImportFileError("it began before 1970")
    for level in run.levels:
        check_order("level", run.zero_s, [level.started_s, level.ended_s])
        for request in level.requests:
            check_order(
                "request",
                run.zero_s,
                [
                    request.sent_s,
                    request.first_text_s,
                    request.last_text_s,
                    request.ended_s,
                ],
            )
            check_order("request", run.zero_s, [request.due_s])


def check_order(
    name: str, zero_s: float, instants: Sequence[float | None]
) -> None:
    known = [instant for instant in instants if instant is not None]
    if known != sorted(known):
        raise ImportFileError(
            f"the instants of a {name} are not in order: {known}"
        )
    if any(abs(instant - zero_s) > LONGEST_S for instant in known):
        raise ImportFileError(
            f"the instants of a {name} are years apart: {known}"
        )


def classify(error: str) -> str:
    """Return how a request ended, by what a tool wrote of it: it kept no status."""
    said = error.casefold()
    # our own export begins with the status
    first = said.partition(":")[0]
    if first == "not_sent":
        return "cancelled"
    if first in OWN_ENDINGS:
        return first
    for words, ending in ENDINGS.items():
        if words in said:
            return ending
    return "http_error"


def peak_in_flight(requests: Sequence[MeasuredRequest]) -> int:
    """Return the most requests at the same time, at least 1."""
    edges = []
    for request in requests:
        end = request.ended_s or request.last_text_s
        if request.sent_s is not None and end is not None:
            edges += [(request.sent_s, 1), (end, -1)]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return max(1, most)
