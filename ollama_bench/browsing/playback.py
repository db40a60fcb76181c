"""What plays a level back: each request with the instants of its chunks and their text.

It stays small however long the level was: few streams have their texts, and where a level has
more chunks than a browser draws, each step is several of them, at the instant of the last.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from sqlite_utils import Database

from ollama_bench.analysis.study import Row
from ollama_bench.browsing.links import Links
from ollama_bench.terminal.output import clean
from ollama_bench.terminal.rows import name_group, name_load

MOST_STEPS = 100_000  # of all streams together
MOST_STREAMS = 256  # side by side
TEXT_STREAMS = 12  # the first; the others are a cell of a grid
MOST_REQUESTS = 2000  # of a load that goes on
MOST_CHARACTERS = 1_000_000  # of all texts together
MS = 1_000_000  # ns

LEVEL = "SELECT * FROM level WHERE id = ?"
REQUESTS = """
SELECT request.id, number, ending, output_tokens, stream_tokens_per_s, first_text_ns AS first_ns,
  coalesce(due_ns, sent_ns) AS asked_ns, coalesce(request.ended_ns, last_text_ns) AS ended_ns
FROM request WHERE level_id = ? AND asked_ns IS NOT NULL
ORDER BY asked_ns, number LIMIT ?"""
COUNTS = """
SELECT (SELECT count(*) FROM request WHERE level_id = ?1) AS requests,
  (SELECT count(*) FROM json_each(?2) JOIN chunk ON request_id = value) AS chunks"""
# a longer one is not read
TEXTS = """
SELECT CASE WHEN length(reasoning) <= :room THEN reasoning END AS reasoning,
  CASE WHEN length(answer) <= :room THEN answer END AS answer
FROM reply WHERE request_id = :id"""
LAST = "SELECT max(number) AS number FROM chunk WHERE request_id = ?"
# a step ends with each :size-th chunk, and with the last
STEPS = """
SELECT step.at_ns, step.number FROM chunk AS step
WHERE step.request_id = :id AND ((step.number + 1) % :size = 0 OR step.number = :last)
ORDER BY step.number"""
# and has what came since the one before, in characters and in chunks
TEXT_STEPS = """
SELECT step.at_ns, step.number,
  sum(part.characters * (part.is_reasoning <> 0)) AS reasoning,
  sum(part.characters * (part.is_reasoning = 0)) AS answer,
  sum(part.is_reasoning <> 0) AS reasoning_chunks, sum(part.is_reasoning = 0) AS answer_chunks
FROM chunk AS step JOIN chunk AS part ON part.request_id = step.request_id
  AND part.number BETWEEN step.number / :size * :size AND step.number
WHERE step.request_id = :id AND ((step.number + 1) % :size = 0 OR step.number = :last)
GROUP BY step.number"""


def write_playback(
    database: Database, level_id: int, links: Links
) -> str | None:
    """Return what plays a level back as JSON; None if the file has no such level.

    Instants are whole ms since its first request was asked, rounded up: nothing is shown
    before it came.
    """
    level = next(database.query(LEVEL, [level_id]), None)
    if level is None:
        return None
    requests = list(database.query(REQUESTS, [level_id, MOST_REQUESTS]))
    streams = place_side_by_side(requests, level["ended_ns"])
    requests = requests[: len(streams)]
    ids = json.dumps([request["id"] for request in requests])
    counts = next(database.query(COUNTS, [level_id, ids]))
    size = max(1, -(-counts["chunks"] // MOST_STEPS))
    start_ns = requests[0]["asked_ns"] if requests else 0
    texts = sum(stream < TEXT_STREAMS for stream in streams)
    room = MOST_CHARACTERS // max(1, texts)
    rows = [
        trace_request(database, request, stream, start_ns, size, room)
        for request, stream in zip(requests, streams, strict=True)
    ]
    ends = [row[name] or 0 for row in rows for name in ("asked", "ended")]
    last_gaps = [sum(row["gaps"]) for row in rows]
    found = {
        "name": clean(
            f"Run {level['run_id']}, level {name_load(level)}, {name_group(level)}"
        ),
        "page": links.level(level_id),
        "duration": max([*ends, *last_gaps, 0]),
        "streams": max(streams, default=-1) + 1,
        "texts": TEXT_STREAMS,
        "notes": list(describe_limits(counts, rows, size)),
        "requests": rows,
    }
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def place_side_by_side(
    requests: Sequence[Row], level_ended_ns: int | None
) -> list[int]:
    """Return the stream that shows each request, from 0: the first that is free when it is asked.

    It is shorter where a request needs more than MOST_STREAMS: it and all later ones are left out.
    """
    busy: list[tuple[int, int]] = []  # end and number of a stream
    free: list[int] = []
    places = []
    for request in requests:
        asked_ns = request["asked_ns"]
        while busy and busy[0][0] <= asked_ns:
            heapq.heappush(free, heapq.heappop(busy)[1])
        place = heapq.heappop(free) if free else len(busy)
        if place >= MOST_STREAMS:
            break
        ended_ns = request["ended_ns"] or level_ended_ns or asked_ns
        heapq.heappush(busy, (max(ended_ns, asked_ns + 1), place))
        places.append(place)
    return places


def trace_request(
    database: Database,
    request: Row,
    stream: int,
    start_ns: int,
    size: int,
    room: int,
) -> dict[str, Any]:
    """Return how a request is shown. size: chunks of a step; room: characters of its texts."""
    id_ = request["id"]
    has_text = stream < TEXT_STREAMS
    last = next(database.query(LAST, [id_]))["number"]
    steps = list(
        database.query(
            TEXT_STEPS if has_text else STEPS,
            {"id": id_, "size": size, "last": last},
        )
    )
    instants = [
        0,
        *(round_up_to_ms(step["at_ns"], start_ns) for step in steps),
    ]
    found: dict[str, Any] = {
        "stream": stream,
        "number": request["number"],
        **{
            name: None
            if request[f"{name}_ns"] is None
            else round_up_to_ms(request[f"{name}_ns"], start_ns)
            for name in ("asked", "first", "ended")
        },
        "ending": request["ending"],
        "chunks": 0 if last is None else last + 1,
        "tokens": request["output_tokens"],
        "rate": request["stream_tokens_per_s"],
        "size": size,
        "gaps": [after - before for before, after in pairwise(instants)],
    }
    if has_text:
        texts = next(database.query(TEXTS, {"id": id_, "room": room}), {})
        found |= cut_texts(texts, steps)
    return found


def round_up_to_ms(instant_ns: int, start_ns: int) -> int:
    """Return whole ms since the start, rounded up."""
    return -(-(instant_ns - start_ns) // MS)


def cut_texts(texts: Row, steps: Sequence[Row]) -> dict[str, Any]:
    """Return reasoning and answer, each with how much of it came with each step.

    It counts UTF-16 units, as a browser does. A text that is not known is None, and counted in
    chunks.
    """
    found = {}
    for name in ("reasoning", "answer"):
        text = texts.get(name) or ""
        sizes = [step[name] for step in steps]
        is_known = None not in sizes and sum(sizes) == len(text)
        if not is_known:
            sizes = [step[f"{name}_chunks"] for step in steps]
        elif not text.isascii():
            sizes = list(measure_utf16(text, sizes))
        if any(sizes):
            found[name] = {
                "text": text if is_known else None,
                "sizes": sizes,
            }
    return found


def measure_utf16(text: str, sizes: Iterable[int]) -> Iterable[int]:
    """Yield the UTF-16 units of consecutive parts of a text, given in characters."""
    place = 0
    for size in sizes:
        part = text[place : place + size]
        yield len(part.encode("utf-16-le", "surrogatepass")) // 2
        place += size


def describe_limits(
    counts: Row, rows: Sequence[dict[str, Any]], size: int
) -> Iterable[str]:
    """Yield a sentence for each thing that is shown in part."""
    if len(rows) < counts["requests"]:
        yield f"The first {len(rows):,} of {counts['requests']:,} requests."
    if size > 1:
        yield (
            f"{counts['chunks']:,} chunks came: each step is {size} of a stream, "
            f"shown when the last of them came."
        )
    if any(not row["chunks"] and row["first"] is not None for row in rows):
        yield "Where a stream shows no text, the instants of its tokens were not stored."
    texts = [
        row[name]["text"]
        for row in rows
        for name in ("reasoning", "answer")
        if name in row
    ]
    if None in texts:
        yield "A block stands for each chunk whose text is not known or too long."
