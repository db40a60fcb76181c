"""A digest of the rows of a run: who has the file can tell that a figure was made of it.

    digest_run(database, 7)[:SHOWN_DIGITS]    # "1f0c5a9be2d4"

It is SHA-256 over JSON. Each table but machine gives, in the order of their names, one array: its
name, its columns, then its rows of the run as arrays in the order of their keys. Instead of ids
stand places, from 0, among the rows of the run. A generated column is left out, and one in which
no row of the run has more than NULL or its default. So neither where rows lie in the file nor what
other runs it holds nor a column that a later version adds changes the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlite_utils import Database

from ollama_bench.storage import schema
from ollama_bench.storage.declarations import Table, unquote

SHOWN_DIGITS = 12  # of a digest, where people read it
BATCH_ROWS = 2000
# no row of a run: several runs share it, and it is renewed
SHARED = "machine"


def digest_runs(database: Database, run_ids: Sequence[int]) -> str:
    """Return the digest of a run, in hex; of several, the digest of theirs in order."""
    found = sorted(digest_run(database, run_id) for run_id in run_ids)
    if len(found) == 1:
        return found[0]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def digest_run(database: Database, run_id: int) -> str:
    """Return the digest of the rows of a run, in hex."""
    state = hashlib.sha256()
    tables = schema.tables()
    for name in sorted(tables.keys() - {SHARED}):
        for text in write_rows(database, tables[name], run_id):
            state.update(text.encode())
    return state.hexdigest()


def write_rows(
    database: Database, table: Table, run_id: int
) -> Iterator[str]:
    """Yield the JSON of a table's rows of a run in pieces; none of a table without."""
    names = list_telling_columns(database, table, run_id)
    if not names:
        return
    yield f"[{to_json(table.name)},{to_json(names)}"
    cursor = database.execute(select_rows(table, names), {"run": run_id})
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield f",{to_json(rows)[1:-1]}"
    yield "]\n"


def to_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=repr)


def list_telling_columns(
    database: Database, table: Table, run_id: int
) -> list[str]:
    """Return the columns, by name, that tell something of the run."""
    names = [
        name
        for name, column in table.columns.items()
        if column.expression is None
        and find_reference(table, name) not in ("run", SHARED)
        and name != "id"
    ]
    tests = []
    for name in names:
        words = table.columns[name].words
        is_default = ""
        if "DEFAULT" in words:
            default = words[words.index("DEFAULT") + 1]
            is_default = f" AND [{name}] IS NOT {default}"
        tests.append(f"max([{name}] IS NOT NULL{is_default})")
    sql = f"SELECT {', '.join(tests)} FROM [{table.name}] WHERE {of_run(table)}"
    (told,) = database.execute(sql, {"run": run_id})
    return sorted(
        name for name, tells in zip(names, told, strict=True) if tells
    )


def select_rows(table: Table, names: Iterable[str]) -> str:
    """Return SQL for these columns of the rows of :run, in the order of the table's key."""
    shown, joins, places = {}, [], []
    for name in table.columns:
        parent = find_reference(table, name)
        shown[name] = f"own.[{name}]"
        if parent in (None, "run", SHARED):
            continue
        shown[name] = f"[{name}].place"
        places.append(
            f"[of {name}] AS MATERIALIZED ({number_rows(parent)})"
        )
        joins.append(
            f"LEFT JOIN [of {name}] AS [{name}] ON [{name}].id = own.[{name}]"
        )
    # the order of ids is that of places
    order = ", ".join(f"own.[{name}]" for name in list_key(table))
    return (
        (f"WITH {', '.join(places)} " if places else "")
        + f"SELECT {', '.join(shown[name] for name in names)} "
        + f"FROM [{table.name}] AS own {' '.join(joins)} "
        + f"WHERE {of_run(table, 'own.')} ORDER BY {order}"
    )


def number_rows(name: str) -> str:
    """Return SQL that gives the rows of :run in a table their places."""
    condition = of_run(schema.tables()[name])
    return (
        f"SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM [{name}] "
        f"WHERE {condition}"
    )


def of_run(table: Table, prefix: str = "") -> str:
    """Return the SQL condition that a row belongs to :run."""
    if table.name == "run":
        return f"{prefix}id = :run"
    for name in table.columns:
        parent = find_reference(table, name)
        if parent == "run":
            return f"{prefix}[{name}] = :run"
        if parent:
            condition = of_run(schema.tables()[parent])
            ids = f"SELECT id FROM [{parent}] WHERE {condition}"
            return f"{prefix}[{name}] IN ({ids})"
    raise ValueError(f"table {table.name} belongs to no run")


def find_reference(table: Table, name: str) -> str | None:
    """Return the table that a column refers to."""
    words: Sequence[Any] = table.columns[name].words
    if "REFERENCES" not in words:
        return None
    return unquote(words[words.index("REFERENCES") + 1])


def list_key(table: Table) -> list[str]:
    """Return the columns of the primary key."""
    for rule in table.rules:
        if rule[:2] == ("PRIMARY", "KEY"):
            return [unquote(word) for word in rule[3:-1:2]]
    return [next(iter(table.columns))]
