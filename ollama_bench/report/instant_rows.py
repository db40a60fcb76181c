"""Read from a results file the instants that the figures of a page are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from sqlite_utils import Database

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.verdict import Verdict
from ollama_bench.inputs.objectives import list_demands
from ollama_bench.report.instants import (
    COUNTS,
    FORM,
    MOMENTS,
    encode,
    list_asked,
)
from ollama_bench.report.recomputed import find_full_window

MOST_CHUNKS = 500_000  # of a page; of more, every n-th is carried
MOST_REQUESTS = 200_000  # of a page; with more it carries none
REQUESTS = f"""
SELECT number, ending, {", ".join(MOMENTS)}, chunks, output_tokens,
  output_tokens_source, coalesce(1 IN (prompt_cut, reply_cut), 0) AS cut
FROM request WHERE level_id = ? ORDER BY number"""
CHUNKS = """
SELECT request.number, at_ns FROM request JOIN chunk ON request_id = request.id
WHERE level_id = ? AND chunk.number % ? = 0
ORDER BY request.number, chunk.number"""
LEVEL = """
SELECT level.id, run_id AS run, run.started_unix, concurrency, repeat,
  level.status, coalesce(slept_s, 0) > 0 AS slept, level.started_ns,
  level.ended_ns, steady_start_ns, steady_end_ns
FROM level JOIN run ON run.id = run_id WHERE level.id = ?"""
SIZE = """
SELECT count(*) AS requests, coalesce(sum(chunks), 0) AS chunks
FROM request WHERE level_id = ?"""
SAME_LEVEL = """
SELECT level.id FROM level JOIN run ON run.id = run_id
WHERE run.started_unix = ? AND level.started_ns IS ?
  AND concurrency = ? AND repeat = ? AND level.model = ?
ORDER BY level.id LIMIT 1"""
INSIDE = """
SELECT request.number, count(*) FROM request JOIN chunk ON request_id = request.id
WHERE level_id = ? AND at_ns > ? AND at_ns <= ? GROUP BY request.number"""


def read_instants(
    database: Database, verdicts: Sequence[Verdict]
) -> Row | None:
    """Return what the figures of these studies are made of; None of too many requests."""
    ids = [
        level["level_id"]
        for verdict in verdicts
        for level in verdict.study.levels
    ]
    sizes = [next(database.query(SIZE, [one])) for one in ids]
    if sum(size["requests"] for size in sizes) > MOST_REQUESTS:
        return None
    every = -(-sum(size["chunks"] for size in sizes) // MOST_CHUNKS)
    every = max(every, 1)
    studies = [
        {
            "model": verdict.study.model,
            "bounds": {
                name: bound
                for name, (bound, _) in verdict.objectives.items()
            },
            "demands": list_demands(verdict.objectives),
            "levels": [
                carry_level(database, level["level_id"], every)
                for level in verdict.study.levels
            ],
        }
        for verdict in verdicts
    ]
    return {"form": FORM, "every": every, "studies": studies}


def find_level_id(
    database: Database, model: str, level: Row
) -> int | None:
    """Return the number that a level of a page has in a results file; None: it is not there."""
    key = "started_unix", "started_ns", "concurrency", "repeat"
    row = database.execute(
        SAME_LEVEL, [*(level[name] for name in key), model]
    ).fetchone()
    return None if row is None else int(row[0])


def carry_level(database: Database, level_id: int, every: int) -> Row:
    """Return a level with its requests, and every so many of their chunks."""
    level = next(database.query(LEVEL, [level_id]))
    requests = list(database.query(REQUESTS, [level_id]))
    start_ns = level["started_ns"] or 0
    moments = [
        list(encode([row[name] for name in MOMENTS], start_ns))
        for row in requests
    ]
    level["requests"] = {
        "ending": [row["ending"] for row in requests],
        **{
            name: [row[place] for row in moments]
            for place, name in enumerate(MOMENTS)
        },
        **{name: [row[name] for row in requests] for name in COUNTS},
    }
    chunks = read_chunks(database, level_id, every)
    if chunks:
        level["chunks"] = [
            list(
                encode(
                    chunks.get(row["number"], ()),
                    row["first_text_ns"] or 0,
                )
            )
            for row in requests
        ]
    if chunks and every > 1:
        inside = count_inside_window(database, level)
        level["inside"] = [
            inside.get(row["number"], 0)
            if row["number"] in chunks
            else None
            for row in requests
        ]
    return level


def count_inside_window(database: Database, level: Row) -> dict[int, int]:
    """Return how many chunks of each request came while the load was full."""
    streams = [
        one for one in list_asked(level) if one.first_text_ns is not None
    ]
    window = find_full_window(level, streams)
    if window is None:
        return {}
    rows = database.execute(INSIDE, [level["id"], *window])
    return dict(rows.fetchall())


def read_chunks(
    database: Database, level_id: int, every: int
) -> dict[int, list[int]]:
    """Return the instants of every so many chunks of each request, by its number."""
    # tuples, not rows: there may be millions
    rows = database.execute(CHUNKS, [level_id, every])
    return {
        number: [at_ns for _, at_ns in group]
        for number, group in groupby(rows, itemgetter(0))
    }
