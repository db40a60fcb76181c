"""Find impossible times and orphans in a results file before charts are made of it."""

from __future__ import annotations

from typing import cast

import sqlite_utils

from ollama_bench.storage import schema
from ollama_bench.storage.connection import ResultsConnection
from ollama_bench.storage.declarations import Table
from ollama_bench.storage.results_file import ResultsError

LONGEST_RUN_NS = 10**16  # 115 days
LATEST_UNIX = 250_000_000_000  # a year of four digits
REPLY_INSTANTS = (
    "first_byte_ns",
    "first_text_ns",
    "first_answer_ns",
    "last_text_ns",
)
CLOCK_DOUBT_NS = 10**9  # how far two clocks may disagree


def refuse_damage(database: sqlite_utils.Database) -> None:
    """Raise ResultsError where a level has no run, or a time is impossible.

    A time is impossible when it is further from its run or request than it can be: charts of it
    would never end. Tables that cannot be read to their end are found too.
    """
    connection = cast(ResultsConnection, database.conn)
    with connection.checking():
        orphan = "SELECT 1 FROM level WHERE run_id NOT IN (SELECT id FROM run) LIMIT 1"
        if connection.execute(orphan).fetchone():
            raise ResultsError(
                "the file is damaged: a level belongs to a run that is not there"
            )
        for table in schema.tables().values():
            last = list(table.columns)[-1]
            wrong = (
                " OR ".join(list_impossible(table))
                or f"typeof([{last}]) = ''"
            )
            sql = f"SELECT 1 FROM [{table.name}] WHERE {wrong} LIMIT 1"
            if connection.execute(sql).fetchone():
                found = f"its table {table.name} has a time that no run can have"
                raise ResultsError(f"the file is damaged: {found}")


def list_impossible(table: Table) -> list[str]:
    """Return SQL conditions that hold for instants no run can have."""
    names = [name for name in table.columns if name.endswith("_ns")]
    limits = f"-{LONGEST_RUN_NS} AND {LONGEST_RUN_NS}"
    conditions = [f"[{name}] NOT BETWEEN {limits}" for name in names]
    conditions += [
        f"[{name}] NOT BETWEEN 0 AND {LATEST_UNIX}"
        for name in table.columns
        if name.endswith("_unix")
    ]
    if table.name == "request":
        span = (
            f"sent_ns - {CLOCK_DOUBT_NS} AND ended_ns + {CLOCK_DOUBT_NS}"
        )
        conditions += [
            f"{name} NOT BETWEEN {span}" for name in REPLY_INSTANTS
        ]
    return conditions
