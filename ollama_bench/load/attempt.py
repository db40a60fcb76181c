"""Makes one streaming request.

    outcome = Outcome(task)
    make_request(outcome, session, exchange)
    outcome.status, outcome.to_figures(origin_ns)

A request ends in exactly one of the ways that ``Status`` lists.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable

import requests
import urllib3

from ollama_bench.load.request import Limits as Limits
from ollama_bench.load.request import Outcome as Outcome
from ollama_bench.load.request import Task as Task
from ollama_bench.load.status import determine_status
from ollama_bench.protocols.errors import error_text
from ollama_bench.protocols.protocol import ChunkStream
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.text import one_line
from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.session import Session

# a server that does not accept within it counts as refusing
CONNECT_TIMEOUT_S = 10.0
PIECES_BETWEEN_PAUSES = 64  # of an answer; 0.2 ms of work
MAX_ERROR_BODY_BYTES = 65_536
# no model says as much; a longer answer is cut to bound memory
MAX_ANSWER_BYTES = 256 << 20

BROKEN_CONNECTION = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
# What http.client raises for a chunk or a length that is not a number.
BROKEN_FRAMING = (ValueError, OverflowError, MemoryError)


def do_nothing() -> None:
    """Do not pause."""


def make_request(
    outcome: Outcome,
    session: Session,
    exchange: Exchange,
    pause: Callable[[], None] = do_nothing,
) -> None:
    """Make one request and fill its outcome.

    ``pause`` is called now and then while the answer is read, to let other threads run.
    """
    task = outcome.task
    stream = task.protocol.create_stream(task.secret)
    failure: Exception | None = None
    try:
        send_and_read(outcome, session, exchange, stream, pause)
    except BROKEN_CONNECTION as error:
        failure = error
    except BROKEN_FRAMING as error:
        if exchange.first_read_ns is None:
            raise
        failure = error
    summary = stream.summary
    outcome.summary, outcome.answer, outcome.reasoning = (
        summary,
        stream.answer,
        stream.reasoning,
    )
    outcome.chunk_characters = count_characters(outcome, stream)
    outcome.tool_calls = stream.tool_calls
    outcome.sent_ns = exchange.sent_ns
    outcome.first_byte_ns = exchange.first_read_ns
    outcome.ended_ns = exchange.ended_ns
    outcome.read_lags_ns = exchange.read_lags_ns
    outcome.status, outcome.error = determine_status(
        outcome, summary, exchange.cancelled, failure
    )


def send_and_read(
    outcome: Outcome,
    session: Session,
    exchange: Exchange,
    stream: ChunkStream,
    pause: Callable[[], None],
) -> None:
    """Send the request and read what the server answers."""
    task = outcome.task
    timeout = (CONNECT_TIMEOUT_S, None)
    prepared = session.prepare_post(task.url, task.body, task.headers)
    with (
        exchange,
        session.send(
            prepared,
            exchange=exchange,
            stream=True,
            timeout=timeout,
            allow_redirects=False,
        ) as response,
    ):
        outcome.http_status = response.status_code
        if response.status_code == 200:
            read_stream(outcome, exchange, response, stream, pause)
        else:
            outcome.error = read_error_body(response, task.secret)


def read_stream(
    outcome: Outcome,
    exchange: Exchange,
    response: requests.Response,
    stream: ChunkStream,
    pause: Callable[[], None],
) -> None:
    """Read the chunks of a stream and their instants."""
    chunk_ns, kinds = outcome.chunk_ns, outcome.chunk_is_reasoning
    feed = stream.feed
    instant_ns, length = 0, 0
    for number, (instant_ns, data) in enumerate(
        exchange.pieces(response), 1
    ):
        if new_kinds := feed(data):
            kinds += new_kinds
            chunk_ns.extend([instant_ns] * len(new_kinds))
        if number % PIECES_BETWEEN_PAUSES == 0:
            pause()
        length += len(data)
        if length > MAX_ANSWER_BYTES:
            too_long = (
                f"answer cut: longer than {MAX_ANSWER_BYTES >> 20} MiB"
            )
            stream.summary.record_broken_stream(too_long)
            return
    # The last line may lack its line feed; half a line of a broken stream is no chunk.
    new_kinds = stream.close()
    kinds += new_kinds
    chunk_ns.extend([instant_ns] * len(new_kinds))


def count_characters(
    outcome: Outcome, stream: ChunkStream
) -> array[int] | None:
    """Return how many characters of its texts each chunk has; None where an API key is masked."""
    counts = stream.count_characters(bytes(outcome.chunk_is_reasoning))
    is_whole = sum(counts) == len(outcome.answer) + len(outcome.reasoning)
    return counts if is_whole else None


def read_error_body(
    response: requests.Response, secret: Secret = NO_SECRET
) -> str:
    """Return what an error response says, as one line; where to, for a redirect."""
    if location := response.headers.get("Location"):
        return one_line(secret.mask(f"redirects to {location}"))
    body = response.raw.read(MAX_ERROR_BODY_BYTES, decode_content=True)
    try:
        return error_text(json.loads(body), secret)
    except (ValueError, RecursionError):
        is_cut = len(body) >= MAX_ERROR_BODY_BYTES
        return error_text(body.decode("utf-8", "replace"), secret, is_cut)
