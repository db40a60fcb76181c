"""describe.py - says in metadata.yaml what every table, view and column of results.db means.

    python tools/describe.py   write metadata.yaml anew, after a change of schema.sql
    datasette results.db -m metadata.yaml     (or: datasette . )

A table's columns are described by the comments in schema.sql, so that a meaning stands in
one place; what a view computes is described in meanings.py.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ollama_bench.storage import schema  # noqa: E402
from tools.meanings import HERE, WORDS  # noqa: E402

METADATA = Path(__file__).parents[1] / "metadata.yaml"

START = (
    "Start with level_summary: a row for each level, with waits, speeds and errors. "
    "runs lists the runs; energy_summary has watts and joules, "
    "outcomes how requests ended, server_split where the time went, request every single one."
)
UNITS = {
    "_s": "s",
    "_ns": "ns",
    "_w": "W",
    "_j": "J",
    "_bytes": "byte",
    "_mhz": "MHz",
}  # by ending; a rate ends in _per_s and has none
SECONDS = {
    "TTFB",
    "TotalDuration",
    "ResponseDuration",
    "WaitingTime",
    "MaxDuration",
    "MinDuration",
    "AvgDuration",
    "P99Duration",
}
SPELLED = {
    "s": "seconds",
    "ns": "nanoseconds",
    "W": "watts",
    "J": "joules",
    "byte": "bytes",
    "MHz": "MHz",
}
SHOWN = {  # how Datasette orders and filters a table or view at first
    "runs": {
        "sort_desc": "run_id",
        "facets": ["source", "status", "models"],
    },
    "run": {"sort_desc": "id", "label_column": "title"},
    "level_summary": {
        "sort_desc": "run_id",
        "facets": ["run_id", "model", "concurrency", "simulated"],
    },
    "energy_summary": {
        "sort_desc": "run_id",
        "facets": ["run_id", "model", "simulated"],
    },
    "energy_by_source": {
        "sort_desc": "run_id",
        "facets": ["run_id", "source"],
    },
    "server_split": {"sort_desc": "run_id", "facets": ["run_id", "model"]},
    "outcomes": {"sort_desc": "run_id", "facets": ["run_id", "status"]},
    "request": {"sort_desc": "id", "facets": ["ending", "done_reason"]},
    "level": {
        "sort_desc": "id",
        "facets": ["model", "concurrency", "status"],
    },
    "machine": {"label_column": "chip"},
    "target": {"label_column": "model", "facets": ["model", "server"]},
    "power_source": {"label_column": "name", "facets": ["name", "status"]},
    "process": {"label_column": "role", "facets": ["role"]},
    "event": {"sort_desc": "id", "facets": ["kind"]},
    "request_summary": {
        "facets": ["run_id", "model", "concurrency", "Status"]
    },
}


def main() -> int:
    METADATA.write_text(text(), encoding="utf-8")
    print(f"{METADATA.name} describes {len(described())} tables and views")
    return 0


def text() -> str:
    """metadata.yaml. Strings are written as JSON, which YAML takes as they are."""
    lines = [
        "# Written by describe.py from the comments in schema.sql: change those, then run it.",
        'title: "ollama-bench: how many at once, how fast, for how many joules"',
        "databases:",
        "  results:",
        f"    description: {json.dumps(START)}",
        "    tables:",
    ]
    for name, (meaning, columns) in described().items():
        lines += [
            f"      {name}:",
            f"        description: {json.dumps(meaning)}",
        ]
        lines += [
            f"        {key}: {json.dumps(value)}"
            for key, value in SHOWN.get(name, {}).items()
        ]
        lines += ["        columns:"] + [
            f"          {json.dumps(column)}: {json.dumps(words)}"
            for column, words in columns.items()
        ]
        units = {
            column: unit for column in columns if (unit := unit_of(column))
        }
        if units:
            lines += ["        units:"] + [
                f"          {json.dumps(column)}: {unit}"
                for column, unit in units.items()
            ]
    return "\n".join(lines) + "\n"


def described() -> dict[str, tuple[str, dict[str, str]]]:
    """Return each table and view with its meaning and those of its columns, in schema.sql's order.

    Each meaning stands alone, with its unit.
    """
    connection = sqlite3.connect(":memory:")
    found, comments = {}, {}
    for statement in schema.statements():
        connection.execute(statement)
        match = re.search(
            r"CREATE (TABLE IF NOT EXISTS|VIEW) (\w+)[^\n]*?--\s*(.+)",
            statement,
        )
        if not match:
            continue
        name, is_view = match[2], match[1] == "VIEW"
        names = [
            row[1]
            for row in connection.execute(f"PRAGMA table_xinfo({name})")
        ]
        own = (
            {}
            if is_view
            else {
                column: comment
                for column in names
                if (comment := comment_on(statement, column))
            }
        )
        comments = {
            **{
                f"{name}.{column}": comment
                for column, comment in own.items()
            },
            **own,
            **comments,
        }
        found[name] = (
            match[3],
            {
                column: with_unit(
                    column,
                    own.get(column) or words(name, column, comments),
                )
                for column in names
            },
        )
    connection.close()
    return found


def words(table: str, column: str, comments: dict[str, str]) -> str:
    """Return what is said of a column without a comment: its own words, common ones, a table's."""
    here = HERE.get(f"{table}.{column}", "")
    said = (
        comments.get(here)
        or here
        or WORDS.get(column)
        or comments.get(column)
    )
    if not said:
        raise SystemExit(
            f"describe.py: no words for {table}.{column}: comment it in schema.sql, "
            "or add it to WORDS"
        )
    return said


def comment_on(statement: str, column: str) -> str | None:
    """Return the comment on a column of a CREATE TABLE, with the values it can have.

    A definition may go on, indented, on further lines.
    """
    match = re.search(rf"^  {column} (.*(?:\n    .*)*)", statement, re.M)
    comment = match and re.search(r"--\s*(.+)", match[1])
    if not comment:
        return None
    values = re.findall(
        r"'(\w+)'",
        "".join(re.findall(rf"CHECK \({column} IN \(([^)]*)\)", match[1])),
    )
    if not values or all(
        re.search(rf"\b{value}\b", comment[1]) for value in values
    ):
        return comment[1]
    first, semicolon, rest = comment[1].partition(";")
    return f"{first}: {', '.join(values[:-1])} or {values[-1]}{semicolon}{rest}"


def with_unit(column: str, said: str) -> str:
    """A description with the column's unit in its first part: not every Datasette shows units."""
    unit = SPELLED.get(unit_of(column) or "")
    if not unit or re.search(rf"(?<!\w){unit}\b", said):
        return said
    since = (
        " since the run began"
        if unit == "nanoseconds" and not column.startswith("server_")
        else ""
    )
    first, semicolon, rest = said.partition(";")
    return f"{first}, {unit}{since}{semicolon}{rest}"


def unit_of(column: str) -> str | None:
    if column in SECONDS:
        return "s"
    if column == "Power(W)":
        return "W"
    if column == "Frequency(MHz)":
        return "MHz"
    ending = next(
        (ending for ending in UNITS if column.endswith(ending)), None
    )
    return (
        UNITS[ending] if ending and not column.endswith("_per_s") else None
    )


if __name__ == "__main__":
    sys.exit(main())
