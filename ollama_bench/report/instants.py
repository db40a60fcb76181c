"""The instants that the figures of a page are made of, as a text that the page carries.

    text = write_instants(rows)               # the canonical form: its digest is the rows' digest
    rows = parse_instants(unpack(pack(text)))  # as the page has it

The text is JSON without blanks: for each study what it is judged by and its levels, for each level
its requests as columns. An instant of a request is the nanoseconds since the one before it in
MOMENTS that is known; the first is since the level began. An instant of a chunk is since the chunk
before it, that of the first since the request's first text.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ollama_bench.analysis.study import Row

FORM = 1
LONGEST_TEXT = 256 << 20  # characters, where somebody else packed it

# columns of request, in the order in which they happen
MOMENTS = (
    "due_ns",
    "sent_ns",
    "first_text_ns",
    "first_answer_ns",
    "last_text_ns",
    "ended_ns",
)
COUNTS = ("chunks", "output_tokens", "output_tokens_source", "cut")


class Asked(NamedTuple):
    """A request as the figures need it; instants in nanoseconds of its run, None is unknown."""

    ending: str
    due_ns: int | None
    sent_ns: int | None
    first_text_ns: int | None
    first_answer_ns: int | None
    last_text_ns: int | None
    ended_ns: int | None
    chunks: int | None
    output_tokens: int | None
    output_tokens_source: str | None
    cut: int

    @property
    def asked_ns(self) -> int | None:
        """When its wait began."""
        return self.sent_ns if self.due_ns is None else self.due_ns


def encode(
    instants: Iterable[int | None], start_ns: int
) -> Iterator[int | None]:
    """Yield how long after the one before it each instant is that is known."""
    for at_ns in instants:
        yield None if at_ns is None else at_ns - start_ns
        start_ns = start_ns if at_ns is None else at_ns


def decode(
    steps: Iterable[int | None], start_ns: int
) -> Iterator[int | None]:
    """Yield the instants that these steps lead to."""
    for step_ns in steps:
        start_ns += step_ns or 0
        yield None if step_ns is None else start_ns


def list_asked(level: Row) -> list[Asked]:
    """Return the requests of a level as a page has it."""
    columns = level["requests"]
    moments = zip(*(columns[name] for name in MOMENTS), strict=True)
    counts = zip(*(columns[name] for name in COUNTS), strict=True)
    start_ns = level["started_ns"] or 0
    return [
        Asked._make((ending, *decode(steps, start_ns), *counted))
        for ending, steps, counted in zip(
            columns["ending"], moments, counts, strict=True
        )
    ]


def list_chunks(
    level: Row, requests: Sequence[Asked]
) -> list[list[int]] | None:
    """Return the instants of each request's chunks that are carried; None without any."""
    if "chunks" not in level:
        return None
    return [
        [
            at_ns
            for at_ns in decode(steps, request.first_text_ns or 0)
            if at_ns is not None
        ]
        for steps, request in zip(level["chunks"], requests, strict=True)
    ]


def count_instants(rows: Row) -> int:
    """Return how many instants of requests and chunks there are."""
    levels = [
        level for study in rows["studies"] for level in study["levels"]
    ]
    columns = [
        column
        for level in levels
        for column in (
            *(level["requests"][name] for name in MOMENTS),
            *level.get("chunks", []),
        )
    ]
    return sum(len(column) - column.count(None) for column in columns)


def write_instants(rows: Row) -> str:
    return json.dumps(rows, separators=(",", ":"))


def parse_instants(text: str) -> Row:
    """Return the rows of a text. Raises ValueError."""
    try:
        rows: Any = json.loads(text)
        if rows["form"] == FORM:
            return dict(rows)
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("these are no instants") from error
    raise ValueError("these instants have another form")


def pack(text: str) -> str:
    """Return a text compressed, in letters and digits; browsers call it deflate."""
    return base64.b64encode(zlib.compress(text.encode())).decode()


def unpack(packed: str) -> str:
    """Return what was packed. Raises ValueError."""
    try:
        opened = zlib.decompressobj()
        data = opened.decompress(
            base64.b64decode(packed, validate=True), LONGEST_TEXT
        )
    except (binascii.Error, zlib.error) as error:
        raise ValueError("they cannot be unpacked") from error
    if not opened.eof or opened.unused_data:
        raise ValueError("they are incomplete or too long")
    return data.decode("ascii")
