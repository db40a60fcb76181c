"""Find what in a results file is not as this tool makes it: another's SQL must never run."""

from __future__ import annotations

import functools
import itertools
import pathlib
import re
import sqlite3
from collections.abc import Iterable

from ollama_bench.storage import schema
from ollama_bench.storage.declarations import (
    Table,
    iterate_tokens,
    list_words,
    parse_table,
    unquote,
)
from ollama_bench.storage.results_file import (
    APPLICATION_ID,
    VERSION,
    ResultsError,
)
from ollama_bench.storage.schema import tables

KINDS = ("TABLE", "VIEW", "INDEX", "TRIGGER")
# What may precede a parenthesis and takes no time.
HARMLESS = frozenset(
    (
        "check",
        "default",
        "as",
        "in",
        "and",
        "or",
        "not",
        "is",
        "when",
        "then",
        "else",
        "between",
    )
    + ("coalesce", "nullif", "max", "min", "abs", "round")
)
CREATED = re.compile(
    r"^CREATE (TABLE|VIEW|INDEX) (?:IF NOT EXISTS )?(\w+)", re.M
)
LONGEST_NAME = 60  # of a damaged entry, in a message


def refuse_foreign(
    connection: sqlite3.Connection, path: str, to_write: bool
) -> None:
    """Raise ResultsError unless it is a file of this version in which only our own SQL can run."""
    if (
        connection.execute("PRAGMA application_id").fetchone()[0]
        != APPLICATION_ID
    ):
        what = "is not a results file of this tool"
        raise ResultsError(f"{path} {what}: choose another with --db")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        what = f"has version {version}, this tool reads version {VERSION}"
        raise ResultsError(f"{path} {what}: choose another with --db")
    if found := find_foreign(connection, to_write):
        raise ResultsError(
            f"{path} cannot be used: {found}; choose another with --db"
        )


def find_foreign(
    connection: sqlite3.Connection, to_write: bool
) -> str | None:
    """Describe what is not as this tool makes it; None when only our own SQL can run.

    A table may have columns that are not known here: they are never read. Whatever a user keeps
    beside ours is fine. What runs when a row is written, as triggers do, matters only to a writer.
    """
    rows = connection.execute(
        "SELECT type, name, sql FROM main.sqlite_master WHERE sql IS NOT NULL"
    )
    for kind, name, sql in rows.fetchall():
        if found := describe_foreign(
            str(kind), str(name), str(sql), to_write
        ):
            return found
    return None


def list_kept(connection: sqlite3.Connection) -> list[str]:
    """Return the tables and views that a user keeps beside ours."""
    rows = connection.execute(
        "SELECT name FROM main.sqlite_master WHERE type IN ('table', 'view') ORDER BY rowid"
    )
    known = list_kinds(schema.SCHEMA)
    return [
        name
        for (name,) in rows.fetchall()
        if name.lower() not in known
        and not name.lower().startswith("sqlite_")
    ]


def describe_foreign(
    kind: str, name: str, sql: str, to_write: bool
) -> str | None:
    """Describe what is wrong with one entry of the file's schema; None when it is harmless."""
    if not is_what_it_claims(kind, name, sql):
        return f"its schema is damaged at {name[:LONGEST_NAME]!r}"
    known = list_kinds(schema.SCHEMA).get(name.lower())
    if known not in (None, kind):
        return f"its {kind} {name} has the name of a {known} of this tool"
    if known == "table":
        found = describe_difference(
            tables()[name.lower()], parse_table(sql), to_write
        )
        if found:
            return found
    if kind in ("index", "trigger") and to_write:
        table = find_target(sql, kind)
        if table:
            return f"its {kind} {name!r} works on the table {table}"
    return None


@functools.lru_cache(maxsize=4)
def list_kinds(path: pathlib.Path) -> dict[str, str]:
    """Return what this schema.sql creates: name to table, view or index."""
    found = CREATED.findall("\n".join(schema.read_statements(path)))
    return {name.lower(): kind.lower() for kind, name in found}


@functools.lru_cache(maxsize=512)
def is_what_it_claims(kind: str, name: str, sql: str) -> bool:
    """Whether a stored statement creates what its row says, and nothing else."""
    words = [
        token[0] for token in itertools.islice(iterate_tokens(sql), 5)
    ]
    if len(words) > 1 and words[1].upper() in ("UNIQUE", "VIRTUAL"):
        del words[1]
    if len(words) < 4 or "\0" in sql:
        return False
    create, created, its_name, following = words[:4]
    return (
        create.upper() == "CREATE"
        and created.upper() in KINDS
        and created.lower() == kind
        and unquote(its_name) == name.lower()
        and following.upper() not in (".", "NOT")
    )


def describe_difference(
    ours: Table, theirs: Table | None, to_write: bool
) -> str | None:
    """Describe how a stored table differs from ours, unless one of them only lacks columns."""
    if theirs is None or theirs.rules != ours.rules:
        return f"its table {ours.name} is not as this tool makes it"
    for name, column in theirs.columns.items():
        known = ours.columns.get(name)
        is_changed = known is not None and known.words != column.words
        is_risk = (
            known is None and to_write and not is_harmless(column.words)
        )
        if is_changed or is_risk:
            return f"its column {name!r} of {ours.name} is not as this tool makes it"
    return None


def find_target(sql: str, kind: str) -> str | None:
    """Return the table of ours on which a trigger acts, or an index that calls a function."""
    words = list_words(sql)
    target = ""
    for word, following in itertools.pairwise(words):
        if word.upper() == "ON":
            target = unquote(following)
            break
    if target not in tables():
        return None
    return target if kind == "trigger" or not is_harmless(words) else None


def is_harmless(words: Iterable[str]) -> bool:
    """Whether no function that could take long is called in these words."""
    called = set()
    for word, following in itertools.pairwise(words):
        if following == "(" and re.match(r"[^\W\d]|[\"'\[`]", word):
            called.add(unquote(word))
    return called <= HARMLESS | tables().keys()
