"""Faults of the framing: where the body ends, and how it is coded."""

from __future__ import annotations

from ollama_bench.simulator.faults.fault import (
    Fault,
    FaultTable,
    FaultWithArgument,
)
from ollama_bench.simulator.framing import Buffered, Gzip, UntilEof
from ollama_bench.simulator.reply import Reply

LENGTH_ERROR = 10


def until_eof(reply: Reply) -> None:
    reply.framing = UntilEof()


def content_length(reply: Reply) -> None:
    reply.framing = Buffered()


def wrong_content_length(reply: Reply, argument: str) -> None:
    reply.framing = Buffered(
        -LENGTH_ERROR if argument == "short" else LENGTH_ERROR
    )


def gzip(reply: Reply) -> None:
    reply.framing = Gzip()


FAULTS: FaultTable = {
    "until_eof": Fault(
        "no chunks, no length: the body ends where the connection does",
        until_eof,
    ),
    "content_length": Fault(
        "the whole stream at its end, in one piece with its length",
        content_length,
    ),
    "wrong_content_length": FaultWithArgument(
        "a Content-Length that is 10 too 'short' or (default) too 'long'",
        wrong_content_length,
        "long",
    ),
    "gzip": Fault("Content-Encoding: gzip, flushed at every token", gzip),
}
