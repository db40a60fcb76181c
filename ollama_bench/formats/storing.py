"""Store in results.db what another tool measured; columns that its file does not tell are NULL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import sqlite_utils

from ollama_bench.formats.measured import (
    MeasuredLevel,
    MeasuredRequest,
    MeasuredRun,
)
from ollama_bench.statistics.in_flight import (
    InFlight,
    Span,
    find_steady_window,
)
from ollama_bench.statistics.percentiles import (
    MIN_VALUES_FOR_P95,
    MIN_VALUES_FOR_P99,
    nearest_rank,
)
from ollama_bench.storage.connection import connect

LACKS = "power, memory, processes, machine and the limits of the client"


def read_known_keys(path: str) -> set[str]:
    """Return the import keys in a results file; none when it does not exist yet."""
    if not Path(path).exists():
        return set()
    database = connect(path, readonly=True)
    try:
        rows = database.execute(
            "SELECT import_key FROM run WHERE import_key IS NOT NULL"
        )
        return {row[0] for row in rows}
    finally:
        database.close()


def store(path: str, run: MeasuredRun) -> None:
    """Store a run in one transaction: all of it or nothing."""
    database = connect(path)
    database.execute("BEGIN IMMEDIATE")
    try:
        store_run(database, run)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    finally:
        database.close()


def store_run(database: sqlite_utils.Database, run: MeasuredRun) -> None:
    last_s = max(level.ended_s for level in run.levels)
    levels = [level.concurrency for level in run.levels]
    run_row = {
        "label": run.label,
        "source": "import",
        "status": "finished",
        "simulated": int(run.is_simulated),
        "started_unix": run.started_unix,
        "ended_ns": to_ns(last_s - run.zero_s),
        "tool_version": run.tool,
        "import_key": run.key,
        "arguments": json.dumps({"model": run.model, "levels": levels}),
    }
    run_id = insert(database, "run", run_row)
    target = {
        "run_id": run_id,
        "host": run.host,
        "api": run.api,
        "server": run.server,
        "server_version": run.server_version,
        "model": run.model,
        "quantization": run.quantization,
    }
    target_id = insert(database, "target", target)
    repeats: dict[int, int] = {}
    for level in run.levels:
        repeat = repeats.get(level.concurrency, 0) + 1
        repeats[level.concurrency] = repeat
        row = make_level_row(level, run.zero_s)
        row |= {"run_id": run_id, "model": run.model, "repeat": repeat}
        level_id = insert(database, "level", row)
        store_requests(
            database, level_id, target_id, level.requests, run.zero_s
        )
    for kind, detail in [
        ("import_lacks", f"not in the file: {LACKS}"),
        *(("import_left_out", text) for text in run.left_out),
    ]:
        event = {"run_id": run_id, "kind": kind, "detail": detail}
        insert(database, "event", event)


def make_level_row(
    level: MeasuredLevel, zero_s: float
) -> dict[str, object]:
    """Return the row of a level, as far as the requests tell it."""
    steady = find_steady(level, zero_s)
    return {
        "concurrency": level.concurrency,
        "load": level.load,
        "rate_per_s": level.rate_per_s,
        "arrival_cv": level.arrival_cv,
        "status": "finished",
        "started_ns": to_ns(level.started_s - zero_s),
        "ended_ns": to_ns(level.ended_s - zero_s),
        "steady_start_ns": steady[0] if steady else None,
        "steady_end_ns": steady[1] if steady else None,
        **describe_gaps(level.requests),
    }


def find_steady(level: MeasuredLevel, zero_s: float) -> Span | None:
    """Return the steady part of a level, as of one of our own, in nanoseconds of the run."""
    if level.load == "burst":
        return None
    sent, streaming = InFlight(), InFlight()
    asked_s, ended_s = [level.started_s], []
    for request in level.requests:
        if request.sent_s is None:
            asked_s.append(request.due_s or level.started_s)
            continue
        asked_s.append(request.sent_s)
        if request.ended_s is None:
            continue
        if request.is_completed:
            ended_s.append(request.ended_s)
        sent.add(
            to_ns(request.sent_s - zero_s), to_ns(request.ended_s - zero_s)
        )
        if request.first_text_s is not None:
            streaming.add(
                to_ns(request.first_text_s - zero_s),
                to_ns((request.last_text_s or request.ended_s) - zero_s),
            )
    return find_steady_window(
        sent,
        streaming,
        (to_ns(level.started_s - zero_s), to_ns(max(asked_s) - zero_s)),
        to_ns(min(ended_s) - zero_s) if ended_s else None,
    )


def describe_gaps(
    requests: Sequence[MeasuredRequest],
) -> dict[str, object]:
    """Return the inter-token latency; nothing where the instants of chunks are not known."""
    completed = [request for request in requests if request.is_completed]
    gaps = sorted(
        after - before
        for request in completed
        for before, after in zip(
            request.chunks_s or [],
            (request.chunks_s or [])[1:],
            strict=False,
        )
    )
    if not gaps or any(request.chunks_s is None for request in completed):
        return {}
    enough = {95: MIN_VALUES_FOR_P95, 99: MIN_VALUES_FOR_P99, 50: 1}
    percentiles = {
        f"itl_p{percent}_s": nearest_rank(gaps, percent)
        for percent, least in enough.items()
        if len(gaps) >= least
    }
    return {
        "itl_chunks": len(gaps),
        "itl_mean_s": sum(gaps) / len(gaps),
        "itl_max_s": gaps[-1],
        **percentiles,
    }


def store_requests(
    database: sqlite_utils.Database,
    level_id: int,
    target_id: int,
    requests: Sequence[MeasuredRequest],
    zero_s: float,
) -> None:
    """Store the requests with their texts and chunks."""
    instants = [
        "due",
        "sent",
        "first_text",
        "first_answer",
        "last_text",
        "ended",
    ]
    for number, request in enumerate(requests, 1):
        row: dict[str, object] = {
            "level_id": level_id,
            "target_id": target_id,
            "number": number,
            "status": request.status,
            "http_status": 200 if request.is_completed else None,
            "error": request.error,
            "chunks": request.chunks,
            "output_tokens": request.output_tokens,
            "output_tokens_source": "server"
            if request.output_tokens is not None
            else None,
            "prompt_tokens": request.prompt_tokens,
            "cached_tokens": request.cached_tokens,
        }
        for name in instants:
            seconds = getattr(request, f"{name}_s")
            if seconds is not None:
                row[f"{name}_ns"] = to_ns(seconds - zero_s)
        request_id = insert(database, "request", row)
        if request.answer or request.reasoning:
            text = {
                "request_id": request_id,
                "reasoning": request.reasoning,
                "answer": request.answer,
            }
            insert(database, "reply", text)
        database.conn.executemany(
            "INSERT INTO chunk (request_id, number, at_ns, is_reasoning) VALUES (?, ?, ?, 0)",
            (
                (request_id, place, to_ns(at_s - zero_s))
                for place, at_s in enumerate(request.chunks_s or [])
            ),
        )


def insert(
    database: sqlite_utils.Database, table: str, row: Mapping[str, object]
) -> int:
    """Insert a row and return its id."""
    marks = ", ".join("?" * len(row))
    sql = f"INSERT INTO [{table}] ({', '.join(row)}) VALUES ({marks})"
    row_id = database.execute(sql, list(row.values())).lastrowid
    return 0 if row_id is None else row_id


def to_ns(seconds: float) -> int:
    return round(seconds * 1e9)
