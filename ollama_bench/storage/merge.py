"""Join results files into one: every run once and numbered anew, machines by their fingerprint.

    planned = merge(["a.db", "b.db"], Path("all.db"))    # 3 runs: planned[2].number == 3

SQLite copies the rows itself: the output is attached to each input, which is only read, and every
id and every reference to one goes through a TEMP table (old, new) of the table that it names. What
is copied is what the input has: columns of an older version are fewer, those of a newer one are
added to the output. Rows that belong to no run are left behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ollama_bench.storage import schema
from ollama_bench.storage.declarations import Table
from ollama_bench.storage.digest import SHARED, find_reference
from ollama_bench.storage.foreign import describe_difference
from ollama_bench.storage.merge_output import replacing
from ollama_bench.storage.merge_plan import (
    PlannedRun,
    opened,
    plan_merge,
)
from ollama_bench.storage.request_ids import select_request_id
from ollama_bench.storage.results_file import ResultsError

CACHE_KIB = 65_536  # of the output
MACHINES_OF_RUNS = """
SELECT machine_id FROM main.run
JOIN temp.[new run] ON old = run.id"""
# tables of a run that name a machine as well, since 1.1
NAMING_MACHINES = ("target", "process", "power_source")
MACHINES_OF_WORKERS = """
SELECT level_worker.machine_id FROM main.level_worker
JOIN main.level ON level.id = level_id
JOIN temp.[new run] ON old = run_id"""


def merge(paths: Sequence[str], output: Path) -> list[PlannedRun]:
    """Join files into the output, which is written whole or not at all, and return its runs.

    The inputs are not written. Raises ResultsError with one line for the user, and OSError.
    """
    with replacing(output, paths) as part:
        planned = plan_merge(paths)
        for place, path in enumerate(paths):
            numbers = [
                (run.taken.run_id, run.number)
                for run in planned
                if run.taken.file == place
            ]
            try:
                copy_runs(path, part, numbers)
            except sqlite3.OperationalError as error:
                # nothing else is written
                raise ResultsError(f"{output}: {error}") from None
    return planned


def copy_runs(
    path: str, part: Path, numbers: Sequence[tuple[int, int]]
) -> None:
    """Copy runs of a file, (old number, new number), in one transaction.

    Raises ResultsError where the file is at fault, sqlite3.OperationalError where the disk is.
    """
    with opened(path) as database:
        connection = database.conn
        uri = part.resolve().as_uri() + "?mode=rw"
        connection.execute("ATTACH ? AS merged", [uri])
        # a merge that does not end removes the output
        connection.execute("PRAGMA merged.journal_mode = OFF")
        connection.execute("PRAGMA merged.synchronous = OFF")
        connection.execute(f"PRAGMA merged.cache_size = -{CACHE_KIB}")
        connection.execute("BEGIN")
        stored = schema.read_stored_tables(connection)
        add_unknown_columns(connection, path, stored)
        make_map(connection, "run")
        connection.executemany(
            "INSERT INTO temp.[new run] VALUES (?, ?)", numbers
        )
        # parents come before their children
        for name in schema.tables():
            if name in stored:
                copy_table(connection, stored[name])
        connection.execute("COMMIT")
        connection.execute("DETACH merged")


def add_unknown_columns(
    connection: sqlite3.Connection, path: str, stored: dict[str, Table]
) -> None:
    """Give the output the columns that a newer version has added. Raises ResultsError."""
    merged = schema.read_stored_tables(connection, "merged")
    for name, table in stored.items():
        columns = schema.list_missing(table, merged[name])
        if not columns:
            continue
        if found := describe_difference(
            schema.tables()[name], table, to_write=True
        ):
            raise ResultsError(f"{path} cannot be used: {found}")
        for column in columns:
            connection.execute(
                f"ALTER TABLE merged.[{name}] ADD COLUMN {column.text}"
            )


def make_map(connection: sqlite3.Connection, name: str) -> None:
    connection.execute(f"""
        CREATE TEMP TABLE [new {name}] (
          old INTEGER PRIMARY KEY,
          new INTEGER NOT NULL)""")


def copy_table(connection: sqlite3.Connection, table: Table) -> None:
    """Copy the rows of the mapped runs of a table."""
    if table.name == SHARED:
        map_machines(connection, table)
        return
    if "id" in table.columns and table.name != "run":
        make_map(connection, table.name)
        connection.execute(map_rows(table))
    connection.execute(insert_rows(table))


def list_stored(table: Table) -> list[str]:
    """Return the columns that are stored, not generated."""
    return [
        name
        for name, column in table.columns.items()
        if column.expression is None
    ]


def map_machines(connection: sqlite3.Connection, table: Table) -> None:
    """Copy the machines of the mapped runs that the output lacks, and what it did not know."""
    make_map(connection, SHARED)
    names = [name for name in list_stored(table) if name != "id"]
    listed = ", ".join(f"[{name}]" for name in names)
    used = MACHINES_OF_RUNS
    stored = schema.read_stored_tables(connection)
    if "level_worker" in stored:
        used += f" UNION {MACHINES_OF_WORKERS}"
    for name in NAMING_MACHINES:
        if "machine_id" in stored[name].columns:
            used += f"""
                UNION
                SELECT machine_id
                FROM main.[{name}]
                JOIN temp.[new run]
                  ON old = run_id"""
    connection.execute(f"""
        INSERT INTO merged.machine ({listed})
        SELECT {listed} FROM main.machine
        WHERE id IN ({used})
        AND fingerprint NOT IN (
          SELECT fingerprint FROM merged.machine)
        ORDER BY id""")
    learned = ", ".join(
        f"[{name}] = coalesce(machine.[{name}], other.[{name}])"
        for name in names
    )
    connection.execute(f"""
        UPDATE merged.machine SET {learned}
        FROM main.machine AS other
        WHERE other.fingerprint = machine.fingerprint""")
    connection.execute("""
        INSERT INTO temp.[new machine]
        SELECT own.id, other.id FROM main.machine AS own
        JOIN merged.machine AS other USING (fingerprint)""")


def map_rows(table: Table) -> str:
    """Return SQL that gives new ids to the rows of mapped parents."""
    column, parent = find_parent(table)
    new = (
        f"(SELECT coalesce(max(id), 0) FROM merged.[{table.name}]) "
        "+ row_number() OVER (ORDER BY own.id)"
    )
    if table.name == "request":
        new = select_request_id("parent.new", "own.number")
    return f"""
        INSERT INTO temp.[new {table.name}]
        SELECT own.id, {new}
        FROM temp.[new {parent}] AS parent
        JOIN main.[{table.name}] AS own
          ON own.[{column}] = parent.old
        ORDER BY own.id"""


def insert_rows(table: Table) -> str:
    """Return SQL that copies the rows which are mapped, or whose parents are."""
    names = list_stored(table)
    shown = {name: f"own.[{name}]" for name in names}
    key, owner = (
        ("id", table.name) if "id" in table.columns else find_parent(table)
    )
    shown[key] = "owner.new"
    joins = []
    for name in names:
        parent = find_reference(table, name)
        if parent not in schema.tables() or name == key:
            continue
        shown[name] = f"[of {name}].new"
        joins.append(
            f"LEFT JOIN temp.[new {parent}] AS [of {name}] "
            f"ON [of {name}].old = own.[{name}]"
        )
    # CROSS JOIN: in the order of the ids, so that rows are appended
    listed = ", ".join(f"[{name}]" for name in names)
    values = ", ".join(shown[name] for name in names)
    return f"""
        INSERT INTO merged.[{table.name}] ({listed})
        SELECT {values}
        FROM temp.[new {owner}] AS owner
        CROSS JOIN main.[{table.name}] AS own
          ON own.[{key}] = owner.old
        {" ".join(joins)}"""


def find_parent(table: Table) -> tuple[str, str]:
    """Return the column by which rows belong to those of another table, and that table."""
    for name in table.columns:
        parent = find_reference(table, name)
        if parent not in (None, SHARED):
            return name, str(parent)
    raise ValueError(f"table {table.name} belongs to no run")
