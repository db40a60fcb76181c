"""attempt.py - makes one streaming request and tells how it ended.

    outcome = attempt.Outcome(task)
    attempt.make(outcome, session, exchange, protocol)
    outcome.status, outcome.row(origin_ns)

A request ends in exactly one of the ways that the column request.status knows.
"""

from __future__ import annotations

import errno
import http.client
import json
from array import array
from dataclasses import dataclass, field
from typing import Callable

import requests
import urllib3

from ollama_bench.protocols import api
from ollama_bench.transport import wire

CONNECT_S = 10.0  # a server that does not even accept for so long is refused
GENTLE_PIECES = 64  # pause() is called after so many pieces of an answer: 0.2 ms of work
ERROR_BYTES = 65_536  # of an error's body that are read
LONGEST_ANSWER_BYTES = (
    256 << 20
)  # no model says so much: a reply beyond it is cut, so that memory stays bounded


@dataclass(frozen=True)
class Task:
    """One request to make."""

    number: int  # 1 to n within its level
    protocol: object  # of api.SERVERS
    url: str
    body: dict
    headers: dict[str, str] = field(default_factory=dict)  # e.g. an API key
    prefix: str | None = None  # put before the prompt to miss the prompt cache
    target_id: int | None = None
    prompt_number: int | None = None  # in a file of prompts
    turn: int = 1  # of a conversation
    follow: Callable[[int, "Outcome"], "Task"] | None = (
        None  # the next turn, from its number and this one's outcome
    )
    secret: api.Secret = api.NO_SECRET  # a key that the server may repeat, which is then masked


@dataclass(frozen=True)
class Limits:
    """When to give up, and how to read; seconds, None is never."""

    stall_s: float | None = 300.0  # silence of a stream that had begun, or of a whole level
    deadline_s: float | None = None  # of a level
    kernel_stamps: bool = True


@dataclass
class Outcome:
    """How one request went. Instants are of time.perf_counter_ns, None did not happen."""

    task: Task
    status: str = "client_error"
    http_status: int | None = None
    error: str | None = None
    answer: str = ""
    reasoning: str = ""
    final: object = None  # api.Final
    send_lag_ns: int | None = None  # from when it was due and a place was free until it left
    due_ns: int | None = None  # the same in an open loop, where latency counts from it
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    ended_ns: int | None = None
    chunk_ns: array = field(default_factory=lambda: array("q"))  # instant of each chunk with text
    chunk_is_reasoning: bytearray = field(default_factory=bytearray)
    read_lags_ns: array = field(default_factory=lambda: array("q"))

    @property
    def output_tokens(self) -> int:
        """Tokens as the server counts them, else chunks with text."""
        counted = self.final.output_tokens if self.final else None
        return len(self.chunk_ns) if counted is None else counted

    @property
    def tokens_per_chunk(self) -> float:
        return self.output_tokens / len(self.chunk_ns) if self.chunk_ns else 0.0

    def row(self, origin_ns: int) -> dict:
        """The columns of the table request that a finished one fills."""

        def since(at_ns):
            return None if at_ns is None else at_ns - origin_ns

        final, chunks = self.final, len(self.chunk_ns)
        first_answer = self.chunk_is_reasoning.find(0)
        counted = final is not None and final.output_tokens is not None
        return {
            "status": self.status,
            "http_status": self.http_status,
            "error": self.error,
            "done_reason": final and final.done_reason,
            "due_ns": since(self.due_ns),
            "sent_ns": since(self.sent_ns),
            "first_byte_ns": since(self.first_byte_ns),
            "ended_ns": since(self.ended_ns),
            "first_text_ns": since(self.chunk_ns[0]) if chunks else None,
            "first_answer_ns": since(self.chunk_ns[first_answer]) if first_answer >= 0 else None,
            "last_text_ns": since(self.chunk_ns[-1]) if chunks else None,
            "chunks": chunks,
            "reasoning_chunks": sum(self.chunk_is_reasoning),
            "output_tokens": self.output_tokens,
            "output_tokens_source": "server" if counted else "chunks",
            **{
                name: getattr(final, name, None)
                for name in (
                    "prompt_tokens",
                    "cached_tokens",
                    "server_total_ns",
                    "server_load_ns",
                    "server_prefill_ns",
                    "server_decode_ns",
                )
            },
        }


def make(
    outcome: Outcome, session: wire.Session, exchange: wire.Exchange, pause=lambda: None
) -> None:
    """Make one request and fill its outcome."""
    task = outcome.task
    stream = task.protocol.stream(task.secret)
    broken: Exception | None = None
    try:
        prepared = session.prepare_post(task.url, task.body, task.headers)
        with (
            exchange,
            session.send(
                prepared, stream=True, timeout=(CONNECT_S, None), allow_redirects=False
            ) as response,
        ):
            outcome.http_status = response.status_code
            if response.status_code == 200:
                read_stream(outcome, exchange, response, stream, pause)
            else:
                outcome.error = error_body(response, task.secret)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        broken = error
    except (
        ValueError,
        OverflowError,
        MemoryError,
    ) as error:  # http.client, of a chunk or a length that is none
        if exchange.first_read_ns is None:
            raise
        broken = error
    outcome.final, outcome.answer, outcome.reasoning = (
        stream.summary,
        stream.answer,
        stream.reasoning,
    )
    outcome.sent_ns = exchange.sent_ns
    outcome.first_byte_ns, outcome.ended_ns = exchange.first_read_ns, exchange.ended_ns
    outcome.read_lags_ns = exchange.read_lags_ns
    outcome.status, outcome.error = judge(outcome, exchange.cancelled, broken)


def read_stream(outcome: Outcome, exchange: wire.Exchange, response, stream, pause) -> None:
    """The chunks of a stream with their instants."""
    at_ns, kinds = outcome.chunk_ns, outcome.chunk_is_reasoning
    at, length = None, 0
    for number, (at, data) in enumerate(exchange.pieces(response)):
        if said := stream.feed(data):
            kinds += said
            at_ns.extend([at] * len(said))
        if number % GENTLE_PIECES == GENTLE_PIECES - 1:
            pause()
        if (length := length + len(data)) > LONGEST_ANSWER_BYTES:
            stream.summary.record_broken_stream(
                f"an answer of more than {LONGEST_ANSWER_BYTES >> 20} MiB: cut"
            )
            return
    said = (
        stream.close()
    )  # the last line may lack its line feed; half a line of a broken stream is none
    kinds += said
    at_ns.extend([at] * len(said))


def error_body(response: requests.Response, secret: api.Secret = api.NO_SECRET) -> str:
    """What the body of an error says, one line; where to go, for a redirect."""
    if location := response.headers.get("Location"):
        return api.flat(secret.mask(f"redirects to {location}"))
    body = response.raw.read(ERROR_BYTES, decode_content=True)
    try:
        return api.error_text(json.loads(body), secret)
    except (ValueError, RecursionError):
        return api.error_text(
            body.decode("utf-8", "replace"), secret, is_cut=len(body) >= ERROR_BYTES
        )


def judge(
    outcome: Outcome, cancelled: str | None, broken: Exception | None
) -> tuple[str, str | None]:
    """The one status of a request, and what went wrong."""
    final = outcome.final
    if final.done and final.error is None and outcome.http_status == 200:
        return ("completed", None) if len(outcome.chunk_ns) else ("empty", "done without any text")
    if cancelled and not final.error_is_from_server:
        return (
            "stalled" if cancelled.startswith("stalled") else "cancelled"
        ), cancelled.removeprefix("stalled: ")
    if outcome.http_status not in (None, 200):
        return "http_error", outcome.error or f"HTTP {outcome.http_status} without a word"
    if final.error:
        return "stream_error", final.error
    if broken is not None:
        return broken_status(broken), words(broken, outcome.task.secret)
    return "truncated", "the stream ended without its last line"


def broken_status(error: BaseException) -> str:
    """What a failed connection or a broken stream is called."""
    causes = list(chain(error))
    if any(
        isinstance(cause, OSError)
        and cause.errno in (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)
        for cause in causes
    ):
        return "client_error"
    if any(
        isinstance(
            cause,
            (
                ConnectionRefusedError,
                urllib3.exceptions.NewConnectionError,
                requests.ConnectTimeout,
                requests.exceptions.SSLError,
            ),
        )
        for cause in causes
    ):
        return "refused"
    if any(isinstance(cause, (ConnectionError, http.client.IncompleteRead)) for cause in causes):
        return "reset"
    if any(
        isinstance(
            cause,
            (
                http.client.HTTPException,
                urllib3.exceptions.DecodeError,
                urllib3.exceptions.InvalidChunkLength,
            ),
        )
        for cause in causes
    ):
        return "stream_error"
    return "reset" if isinstance(error, (OSError, urllib3.exceptions.HTTPError)) else "stream_error"


def chain(error: BaseException | None):
    """An exception and all that it was made of."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [
                cause.__cause__,
                cause.__context__,
                getattr(cause, "reason", None),
                *cause.args,
            ]


def words(error: BaseException, secret: api.Secret = api.NO_SECRET) -> str:
    """The innermost words of an exception, one line."""
    causes = list(chain(error))
    if size := next(
        (
            cause.length
            for cause in causes
            if isinstance(cause, urllib3.exceptions.InvalidChunkLength)
        ),
        None,
    ):
        shown = secret.mask(size.decode("latin-1") if isinstance(size, bytes) else str(size))
        return f"no size of a chunk: {shown.strip()[:50]!r}"
    if any(
        isinstance(cause, http.client.IncompleteRead) or "ended prematurely" in str(cause)
        for cause in causes
    ):
        return "the connection ended in mid-stream"
    innermost = causes[-1]
    text = getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__
    return " ".join(secret.mask(str(text)).split())[:500]
