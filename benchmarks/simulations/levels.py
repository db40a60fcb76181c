"""What is said of the levels of one run, on servers of a known law."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import numpy
from sqlite_utils import Database

from benchmarks.simulations import Finding, Simulation
from ollama_bench.storage.connection import connect

S = 1_000_000_000
RATE = 20.0  # tokens/s of a stream
TOKENS = 300  # median of a reply
Draw = numpy.random.Generator


def open_made_up(folder: str) -> Database:
    """Return a results file with a run and nothing in it."""
    database = connect(str(pathlib.Path(folder) / "results.db"))
    database["run"].insert(
        {
            "id": 1,
            "source": "bench",
            "status": "finished",
            "started_unix": 1e9,
            "arguments": "{}",
            "tool_version": "0",
        }
    )
    return database


def add_level(
    database: Database, level_id: int, rows: Sequence[dict[str, float]]
) -> None:
    """Add a burst; a row has sent, first and last in seconds, and tokens."""
    database["level"].insert(
        {
            "id": level_id,
            "run_id": 1,
            "model": "made-up",
            "concurrency": len(rows),
            "load": "burst",
            "status": "finished",
            "started_ns": 0,
            "ended_ns": int(max(row["last"] for row in rows) * S),
        }
    )
    database["request"].insert_all(
        {
            "level_id": level_id,
            "number": number,
            "status": "completed",
            "sent_ns": int(row.get("sent", 0.0) * S),
            "first_text_ns": int(row["first"] * S),
            "last_text_ns": int(row["last"] * S),
            "output_tokens": int(row["tokens"]),
            "server_prefill_ns": int(row.get("prefill", 0.0) * S),
        }
        for number, row in enumerate(rows, 1)
    )


def scale_perfectly(draw: Draw, n: int) -> list[dict[str, float]]:
    """Return a burst in which each stream has the same rate, whatever its neighbours do."""
    tokens = TOKENS * draw.lognormal(0, 0.6, n)
    return [
        {"first": 0.3, "last": 0.3 + count / RATE, "tokens": count + 1}
        for count in tokens.round()
    ]


def efficiency(draw: Draw) -> Iterator[Finding]:
    trials = 100
    for view, column, promised in (
        ("full_load", "full_load_tokens_per_s", 0.95),
        ("level_summary", "output_tokens_per_s", 0.0),
    ):
        near = 0
        for _ in range(trials):
            with tempfile.TemporaryDirectory() as folder:
                database = open_made_up(folder)
                add_level(database, 1, scale_perfectly(draw, 1))
                add_level(database, 2, scale_perfectly(draw, 64))
                one, many = (
                    row[column]
                    for row in database.query(
                        f"SELECT {column} FROM {view} ORDER BY concurrency"
                    )
                )
                database.close()
            near += abs(many / one / 64 - 1) < 0.1
        case = f"a server that scales perfectly, lengths of sigma 0.6, by {column}"
        yield Finding(case, near / trials, trials, at_least=promised)


SIMULATIONS = (Simulation("efficiency at 64 within 10 % of 1", efficiency),)
