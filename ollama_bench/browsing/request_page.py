"""The page of a request: its tokens on a time line, its stages by both clocks, and its text."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

from sqlite_utils import Database

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.shell import (
    SUCCESS,
    write_list,
    write_page,
)
from ollama_bench.charts.one_request import draw_request
from ollama_bench.report.level_table import write_terms
from ollama_bench.terminal.rows import name_load

REQUEST = """
SELECT request.*, reply.reasoning, reply.answer, reply.tool_calls, target.host
FROM request LEFT JOIN reply ON request_id = request.id
LEFT JOIN target ON target.id = target_id WHERE level_id = ? AND number = ?"""
CHUNKS = "SELECT at_ns, is_reasoning FROM chunk WHERE request_id = ? ORDER BY number"
LEVEL = "SELECT *, id AS level_id FROM level WHERE id = ?"


def write_request_page(
    database: Database, level_id: int, number: int, links: Links
) -> str | None:
    """Return the page as HTML; None if the file has no such request."""
    request = next(database.query(REQUEST, [level_id, number]), None)
    level = next(database.query(LEVEL, [level_id]), None)
    if request is None or level is None:
        return None
    chunks = list(database.query(CHUNKS, [request["id"]]))
    spec = draw_request(request, chunks)
    rows = {
        "request": links.rows("request", id=request["id"]),
        "chunk": links.rows("chunk", request_id=request["id"]),
        "reply": links.rows("reply", request_id=request["id"]),
    }
    parts = [
        write_failure(request),
        write_figures(request),
        write_drawing(spec, len(chunks)) if spec else "",
        write_said("Reasoning", request["reasoning"]),
        write_said("Answer", request["answer"]),
        write_said("Tool calls", request["tool_calls"]),
        f"<h2>Rows</h2><p>{write_list(rows.items())}</p>",
    ]
    way = [
        (f"run {level['run_id']}", links.run(level["run_id"])),
        (f"level {name_load(level)}", links.level(level_id)),
    ]
    title = f"Request {number}"
    return write_page(title, way, "\n".join(parts), links)


def write_failure(request: Row) -> str:
    """Return how it failed; "" if it did not."""
    ending = request["ending"]
    if ending == SUCCESS:
        return ""
    said = f": {request['error']}" if request["error"] else ""
    return f'<p class="warnings">It ended {escape(ending + said)}</p>'


def write_figures(request: Row) -> str:
    """Return the figures that are known, by this client's clock and by the server's."""
    known: dict[str, tuple[Any, Callable[[Any], str]]] = {
        "server": (request["host"], str),
        "wait, first token": (request["ttft_s"], seconds),
        "first answer token": (request["ttfat_s"], seconds),
        "end to end": (request["e2e_s"], seconds),
        "tokens/s": (request["stream_tokens_per_s"], digits),
        "tokens in": (request["prompt_tokens"], digits),
        "of them cached": (request["cached_tokens"], digits),
        "tokens out": (request["output_tokens"], digits),
        "chunks": (request["chunks"], digits),
        "queue, by the server": (
            to_s(request["server_queue_ns"]),
            seconds,
        ),
        "prefill, by the server": (
            to_s(request["server_prefill_ns"]),
            seconds,
        ),
        "decode, by the server": (
            to_s(request["server_decode_ns"]),
            seconds,
        ),
    }
    return write_terms(
        (term, write(value))
        for term, (value, write) in known.items()
        if value is not None
    )


def to_s(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def write_drawing(spec: object, chunks: int) -> str:
    title = "Its tokens, and where the time went"
    data = json.dumps(spec).replace("<", "\\u003c")
    return (
        f'<figure><h2>{title}</h2><div class="chart">'
        f'<script type="application/json">{data}</script></div>'
        f'<figcaption class="hint">{chunks:,} chunks of text came, each at its '
        f"mark.</figcaption></figure>"
    )


def write_said(title: str, text: str | None) -> str:
    if not text:
        return ""
    return f"<h2>{title}</h2><pre>{escape(text)}</pre>"
