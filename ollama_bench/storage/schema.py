"""What schema.sql declares, and how it gets into a results file or is laid over one.

    schema.statements()                     # schema.sql, one statement an entry
    schema.create_missing(connection)       # what the file lacks: tables, columns, indexes, views
    schema.create_temp_views(connection)    # the same for a file that is only read

A new version of the tool adds columns and changes none. So a file of an older version gets them
when it is opened for writing, and a file of a newer one keeps those that are not known here.
"""

from __future__ import annotations

import functools
import pathlib
import sqlite3

from ollama_bench.storage.declarations import (
    ColumnDeclaration,
    Table,
    parse_table,
)

# in a wheel; in a clone it is in the root
PACKAGED = pathlib.Path(__file__).with_name("schema.sql")
SCHEMA = (
    PACKAGED
    if PACKAGED.exists()
    else pathlib.Path(__file__).parents[2] / "schema.sql"
)


def statements() -> list[str]:
    """Return the statements of schema.sql."""
    return read_statements(SCHEMA)


def tables() -> dict[str, Table]:
    """Return the tables of schema.sql by name."""
    return read_tables(SCHEMA)


@functools.lru_cache(maxsize=4)
def read_statements(path: pathlib.Path) -> list[str]:
    found, text = [], ""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text.strip())
            text = ""
    return found


@functools.lru_cache(maxsize=4)
def read_tables(path: pathlib.Path) -> dict[str, Table]:
    found = [parse_table(statement) for statement in read_statements(path)]
    return {table.name: table for table in found if table}


def read_stored_tables(
    connection: sqlite3.Connection, file: str = "main"
) -> dict[str, Table]:
    """Return the tables of the file, or of an attached one, that have the names of ours."""
    ours = tables()
    rows = connection.execute(
        f"SELECT sql FROM {file}.sqlite_master WHERE type = 'table' AND sql IS NOT NULL"
    )
    found = [parse_table(sql) for (sql,) in rows.fetchall()]
    return {
        table.name: table
        for table in found
        if table and table.name in ours
    }


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether the file has every column of schema.sql, and its very indexes and views."""
    stored_tables = read_stored_tables(connection)
    for name, table in tables().items():
        stored = stored_tables.get(name)
        if stored is None or table.columns.keys() - stored.columns.keys():
            return False
    forms = [
        form for form in list_stored_forms(SCHEMA) if not parse_table(form)
    ]
    return read_stored_forms(connection).issuperset(forms)


def is_verbatim(connection: sqlite3.Connection) -> bool:
    """Whether the file's tables, indexes and views are those of schema.sql, word for word."""
    forms = list_stored_forms(SCHEMA)
    return read_stored_forms(connection).issuperset(forms)


def read_stored_forms(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL"
    )
    return {sql for (sql,) in rows.fetchall()}


@functools.lru_cache(maxsize=4)
def list_stored_forms(path: pathlib.Path) -> list[str]:
    """Return our tables, indexes and views as SQLite stores them."""
    forms = []
    for text in read_statements(path):
        if "CREATE " in text:
            form = text[text.index("CREATE ") :].rstrip(";")
            forms.append(form.replace("IF NOT EXISTS ", ""))
    return forms


def create_missing(connection: sqlite3.Connection) -> None:
    """Create what the file lacks, and all views anew, in the transaction of the caller."""
    stored_tables = read_stored_tables(connection)
    for statement in statements():
        connection.execute(statement)
        table = parse_table(statement)
        if table and table.name in stored_tables:
            for column in list_missing(table, stored_tables[table.name]):
                connection.execute(
                    f"ALTER TABLE main.[{table.name}] ADD COLUMN {column.text}"
                )


def list_missing(table: Table, stored: Table) -> list[ColumnDeclaration]:
    """Return the columns that a stored table lacks, generated ones after those they are made of."""
    missing = [
        column
        for name, column in table.columns.items()
        if name not in stored.columns
    ]
    return sorted(
        missing, key=lambda column: column.expression is not None
    )


def create_temp_views(connection: sqlite3.Connection) -> None:
    """Create this version's views as TEMP views, and one over each table with other columns."""
    stored_tables = read_stored_tables(connection)
    for name, table in tables().items():
        stored = (
            stored_tables[name].columns if name in stored_tables else {}
        )
        if stored.keys() != table.columns.keys():
            sql = select_our_columns(table, stored)
            connection.execute(f"CREATE TEMP VIEW [{name}] AS {sql}")
    for statement in statements():
        if "CREATE VIEW" in statement:
            connection.execute(
                statement.replace("CREATE VIEW", "CREATE TEMP VIEW", 1)
            )


def select_our_columns(
    table: Table, stored: dict[str, ColumnDeclaration]
) -> str:
    """Return SQL that gives a stored table our columns: NULL, or generated, where it lacks them."""
    missing = {
        name: column
        for name, column in table.columns.items()
        if name not in stored
    }
    shown = []
    for name in table.columns:
        if name in stored:
            shown.append(f"[{name}]")
        elif not missing[name].expression:
            shown.append(f"NULL AS [{name}]")
    source = f"FROM main.[{table.name}]" if stored else "WHERE 0"
    sql = f"SELECT {', '.join(shown)} {source}"
    for name, column in missing.items():
        if column.expression:
            sql = f"SELECT *, {column.expression} AS [{name}] FROM ({sql})"
    return sql
