"""schema.py - what schema.sql declares, and how it comes into a results file or is laid over one.

    schema.statements()             # schema.sql, one statement an entry
    schema.make(connection)         # what the file lacks: tables, columns, indexes, views
    schema.lay_over(connection)     # the same for a file that is only read, as TEMP views

A new version of the tool adds columns and changes none. So a file of an older one gets them when
it is opened for writing, and a file of a newer one keeps those that are not known here.
"""

from __future__ import annotations

import functools
import itertools
import pathlib
import re
import sqlite3
from typing import Iterable, Iterator, NamedTuple

PACKAGED = pathlib.Path(__file__).with_name(
    "schema.sql"
)  # in a wheel; in a clone it stands in the root
SCHEMA = PACKAGED if PACKAGED.exists() else pathlib.Path(__file__).parents[2] / "schema.sql"
TOKEN = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\[[^\]]*\]|`(?:[^`]|``)*`"  # text and quoted names
    r"|--[^\n]*|/\*.*?(?:\*/|\Z)|[ \t\n\f\r]+"  # comments and blanks
    r"|[A-Za-z0-9_$\x80-\U0010ffff]+|.",
    re.S,
)
NO_MEANING = ("--", "/*", " ", "\t", "\n", "\f", "\r")  # how comments and blanks begin
KINDS = ("TABLE", "VIEW", "INDEX", "TRIGGER")
HARMLESS = {  # what may stand before a bracket and costs nothing
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
    "coalesce",
    "nullif",
    "max",
    "min",
    "abs",
    "round",
}
RULES = ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT")  # how what is no column begins


class Column(NamedTuple):
    """A column as a CREATE TABLE declares it."""

    text: str  # the whole declaration, name first
    words: tuple[str, ...]  # the same without comments and blanks
    expression: str | None  # what a generated column is made of, in brackets


class Table(NamedTuple):
    """What a CREATE TABLE says; names are in small letters, as SQLite tells none apart."""

    name: str
    columns: dict[str, Column]
    rules: tuple[tuple[str, ...], ...]  # constraints of the whole table, and its options last


def statements() -> list[str]:
    """schema.sql, one statement an entry."""
    return read(SCHEMA)


def tables() -> dict[str, Table]:
    """The tables of schema.sql, by name."""
    return declared(SCHEMA)


@functools.lru_cache(maxsize=4)
def read(path: pathlib.Path) -> list[str]:
    found, text = [], ""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text.strip())
            text = ""
    return found


@functools.lru_cache(maxsize=4)
def declared(path: pathlib.Path) -> dict[str, Table]:
    found = [parse(statement) for statement in read(path)]
    return {table.name: table for table in found if table}


def meaningful(sql: str) -> Iterator[re.Match]:
    """The words and signs of a statement, without blanks and comments."""
    return (match for match in TOKEN.finditer(sql) if not match[0].startswith(NO_MEANING))


def words(sql: str) -> list[re.Match]:
    """All of them."""
    return list(meaningful(sql))


def unquoted(word: str) -> str:
    """A name without its quotes, in small letters."""
    closing = {"[": "]"}.get(word[:1], word[:1])
    if closing in ("]", '"', "'", "`") and len(word) > 1:
        word = word[1:-1].replace(closing * 2, closing) if closing != "]" else word[1:-1]
    return word.lower()


@functools.lru_cache(maxsize=256)
def parse(sql: str) -> Table | None:
    """The table that a CREATE TABLE makes; None for another statement."""
    found = words(sql.strip().rstrip(";"))
    if [match[0].upper() for match in found[2:5]] == ["IF", "NOT", "EXISTS"]:
        del found[2:5]
    if (
        [match[0].upper() for match in found[:2]] != ["CREATE", "TABLE"]
        or len(found) < 5
        or found[3][0] != "("
    ):
        return None
    end = closing(found, 3)
    columns, rules = {}, []
    for part in split(found[4:end]):
        if part[0][0].upper() in RULES:
            rules.append(tuple(match[0] for match in part))
        else:
            columns[unquoted(part[0][0])] = column(sql.strip(), part)
    options = tuple(match[0] for match in found[end + 1 :])
    return Table(unquoted(found[2][0]), columns, (*sorted(rules), options))


def column(sql: str, part: list[re.Match]) -> Column:
    names = [match[0] for match in part]
    opening = next(
        (
            place + 1
            for place, name in enumerate(names[:-1])
            if name.upper() == "AS" and names[place + 1] == "("
        ),
        None,
    )
    expression = (
        sql[part[opening].start() : part[closing(part, opening)].end()] if opening else None
    )
    return Column(sql[part[0].start() : part[-1].end()], tuple(names[1:]), expression)


def closing(found: list[re.Match], opening: int) -> int:
    """Where the bracket is that closes the one at this place; the last place where none does."""
    depth = 0
    for place in range(opening, len(found)):
        depth += (found[place][0] == "(") - (found[place][0] == ")")
        if depth == 0:
            return place
    return len(found) - 1


def split(found: list[re.Match]) -> list[list[re.Match]]:
    """What stands between the commas outside of brackets."""
    parts, depth = [[]], 0
    for match in found:
        depth += (match[0] == "(") - (match[0] == ")")
        if match[0] == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(match)
    return [part for part in parts if part]


# Is it ours?


def foreign(connection: sqlite3.Connection, to_write: bool) -> str | None:
    """What in a file is not as this tool makes it; None when only our own can run in it.

    A table may have columns that are not known here: they are never read. Beside ours anything may
    stand. What runs when a row is written, triggers for instance, matters only to a writer.
    """
    ours, kinds = tables(), names()
    rows = connection.execute(
        "SELECT type, name, sql FROM main.sqlite_master WHERE sql IS NOT NULL"
    )
    for kind, name, sql in rows.fetchall():
        if not is_named(str(kind), str(name), str(sql)):
            return f"its schema is damaged at {str(name)[:60]!r}"
        known = kinds.get(str(name).lower())
        if known not in (None, kind):
            return f"its {kind} {name} has the name of a {known} of this tool"
        if known == "table" and (found := changed(ours[name.lower()], parse(sql), to_write)):
            return found
        if kind in ("index", "trigger") and to_write and (found := at_work(sql, kind, ours)):
            return f"its {kind} {name!r} works on the table {found}"
    return None


def names() -> dict[str, str]:
    """What schema.sql makes, by name: table, view or index."""
    found = re.findall(
        r"^CREATE (TABLE|VIEW|INDEX) (?:IF NOT EXISTS )?(\w+)", "\n".join(statements()), re.M
    )
    return {name.lower(): kind.lower() for kind, name in found}


def is_named(kind: str, name: str, sql: str) -> bool:
    """Does the statement that SQLite stored make what its row says, and nothing else?"""
    found = [match[0] for match in itertools.islice(meaningful(sql), 5)]
    if len(found) > 1 and found[1].upper() in ("UNIQUE", "VIRTUAL"):
        del found[1]
    if (
        len(found) < 4
        or "\0" in sql
        or found[0].upper() != "CREATE"
        or found[1].upper() not in KINDS
    ):
        return False
    return (
        found[1].lower() == kind
        and unquoted(found[2]) == name.lower()
        and found[3].upper() not in (".", "NOT")
    )


def changed(ours: Table, theirs: Table | None, to_write: bool) -> str | None:
    """How a stored table differs from ours in more than columns that the other lacks."""
    if theirs is None or theirs.rules != ours.rules:
        return f"its table {ours.name} is not as this tool makes it"
    for name, column in theirs.columns.items():
        known = ours.columns.get(name)
        if (
            known
            and known.words != column.words
            or known is None
            and to_write
            and not is_harmless(column.words)
        ):
            return f"its column {name!r} of {ours.name} is not as this tool makes it"
    return None


def at_work(sql: str, kind: str, ours: dict[str, Table]) -> str | None:
    """The table of ours on which a trigger acts, or an index that calls a function."""
    found = [match[0] for match in words(sql)]
    table = next(
        (unquoted(after) for word, after in itertools.pairwise(found) if word.upper() == "ON"), ""
    )
    return table if table in ours and (kind == "trigger" or not is_harmless(found)) else None


def is_harmless(found: Iterable[str]) -> bool:
    """Is no function called in these words that could take long?"""
    called = {
        unquoted(word)
        for word, after in itertools.pairwise(found)
        if after == "(" and re.match(r"[^\W\d]|[\"'\[`]", word)
    }
    return called <= HARMLESS | tables().keys()


# A file and schema.sql.


def stored_tables(connection: sqlite3.Connection) -> dict[str, Table]:
    """The tables of the file that have the names of ours."""
    ours = tables()
    rows = connection.execute(
        "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND sql IS NOT NULL"
    )
    found = [parse(sql) for (sql,) in rows.fetchall()]
    return {table.name: table for table in found if table and table.name in ours}


def is_current(connection: sqlite3.Connection) -> bool:
    """Does the file hold every column of schema.sql, and its indexes and views word for word?"""
    there = stored_tables(connection)
    if any(
        name not in there or table.columns.keys() - there[name].columns.keys()
        for name, table in tables().items()
    ):
        return False
    stored = {
        row[0]
        for row in connection.execute("SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL")
    }
    wanted = [
        text[text.index("CREATE ") :].rstrip(";").replace("IF NOT EXISTS ", "")
        for text in statements()
        if "CREATE " in text and not parse(text)
    ]
    return stored.issuperset(wanted)


def make(connection: sqlite3.Connection) -> None:
    """Make what the file lacks, within the transaction of the caller, and all views anew."""
    there = stored_tables(connection)
    for statement in statements():
        connection.execute(statement)
        table = parse(statement)
        if table and table.name in there:
            lacking = [
                column
                for name, column in table.columns.items()
                if name not in there[table.name].columns
            ]
            for column in sorted(
                lacking, key=lambda column: column.expression is not None
            ):  # made of the others
                connection.execute(f"ALTER TABLE main.[{table.name}] ADD COLUMN {column.text}")


def lay_over(connection: sqlite3.Connection) -> None:
    """This version's views as TEMP views, and one over each table whose columns are others."""
    there = stored_tables(connection)
    for name, table in tables().items():
        known = there[name].columns if name in there else {}
        if known.keys() != table.columns.keys():
            connection.execute(f"CREATE TEMP VIEW [{name}] AS {as_ours(table, known)}")
    for statement in statements():
        if "CREATE VIEW" in statement:
            connection.execute(statement.replace("CREATE VIEW", "CREATE TEMP VIEW", 1))


def as_ours(table: Table, known: dict[str, Column]) -> str:
    """SQL that gives a stored table our columns: what it lacks is NULL, or made of the others."""
    shown = [
        f"[{name}]" if name in known else f"NULL AS [{name}]"
        for name, column in table.columns.items()
        if name in known or not column.expression
    ]
    sql = f"SELECT {', '.join(shown)} " + (f"FROM main.[{table.name}]" if known else "WHERE 0")
    for name, column in table.columns.items():
        if column.expression and name not in known:
            sql = f"SELECT *, {column.expression} AS [{name}] FROM ({sql})"
    return sql
