"""Write chosen runs as a tree of the original tool's CSV files.

    analyze.py --export study DIR    DIR/ollama/<model>/test_results_<level>/*.csv

request_summary, duration_metrics, gpu_metrics and process_<pid>_metrics with that tool's columns;
repeats follow each other in the same file, as its own did. The import reads them back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import sqlite_utils

from ollama_bench.formats.own_files import write_own
from ollama_bench.formats.study import columns

Row = Mapping[str, object]

FOLDER = "ollama"

CHOSEN = """SELECT * FROM {view} JOIN chosen USING (run_id, model)
    WHERE model = :model AND concurrency = :concurrency
    AND level_id IN (SELECT id FROM level
      WHERE (asked_prompt_tokens, prompt_mix) IS (:prompt_tokens, :prompt_mix))
    AND machine = :machine
    AND level_id NOT IN (SELECT level_id FROM aside) ORDER BY run_id, repeat"""
FILES = {  # name: the SQL that gives its rows
    columns.REQUEST_SUMMARY: CHOSEN.format(view="request_summary")
    + ", request_id",
    columns.DURATION_METRICS: CHOSEN.format(view="duration_metrics"),
    columns.GPU_METRICS: CHOSEN.format(view="gpu_metrics") + ", at_ns",
}
PROCESS_SQL = CHOSEN.format(view="process_metrics") + ", PID, at_ns"
TWO_DECIMALS = frozenset(
    ("Usage%", "Power(W)", "Frequency(MHz)", "CPU%", "MEM%")
)
THREE_DECIMALS = frozenset(
    ("TTFB", "TotalDuration", "ResponseDuration", "WaitingTime")
    + ("MaxDuration", "MinDuration", "AvgDuration", "P99Duration")
)
ZERO_IF_UNKNOWN = frozenset(("TokenCount", "StatusCode"))
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class ExportedStudy(Protocol):
    """A model with the runs that were chosen for it."""

    @property
    def key(self) -> Mapping[str, object]:
        """The model, its machine and the length of its prompts, as parameters of SQL."""

    @property
    def folder(self) -> str:
        """The name of its folder: no other model of the results file has it."""

    @property
    def levels(self) -> Iterable[Row]:
        """Its levels, by the columns of level_summary."""


def write(
    database: sqlite_utils.Database,
    studies: Iterable[ExportedStudy],
    top: Path,
) -> int:
    """Write the tree and return the number of files."""
    written = 0
    for study in studies:
        counts = {int(str(level["concurrency"])) for level in study.levels}
        for concurrency in sorted(counts):
            folder = (
                top / FOLDER / study.folder / f"test_results_{concurrency}"
            )
            asked = {**study.key, "concurrency": concurrency}
            for name, sql in FILES.items():
                rows = database.query(sql, asked)
                written += write_file(
                    top, folder / name, list(columns.COLUMNS[name]), rows
                )
            by_pid = group_by_pid(database.query(PROCESS_SQL, asked))
            for pid, process_rows in by_pid.items():
                path = folder / f"process_{pid}_metrics.csv"
                written += write_file(
                    top,
                    path,
                    list(columns.COLUMNS[columns.PROCESS]),
                    process_rows,
                )
    return written


def group_by_pid(rows: Iterable[Row]) -> dict[object, list[Row]]:
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["PID"], []).append(row)
    return groups


def write_file(
    top: Path, path: Path, names: list[str], rows: Iterable[Row]
) -> int:
    """Write the rows, if there are any, and return the number of files this made."""
    rows = list(rows)
    if not rows:
        return 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(
        [format_cell(name, row) for name in names] for row in rows
    )
    write_own(path, text.getvalue(), top, ",".join(names) + "\n")
    return 1


def format_cell(name: str, row: Row) -> str:
    """Return a value as the original tool wrote it; words that it did not have stay ours."""
    value = row[name]
    if name == "Status" and value == "completed":
        return "Completed"
    if name == "P99Duration" and value is None:
        # below 100 requests its p99 is the longest
        value = row["MaxDuration"]
    if value is None:
        return format_unknown(name)
    if isinstance(value, str):
        return escape_formula(value)
    if name in THREE_DECIMALS:
        return f"{value:.3f}"
    return f"{value:.2f}" if name in TWO_DECIMALS else str(value)


def format_unknown(name: str) -> str:
    if name in THREE_DECIMALS:
        return "0.000"
    return "0" if name in ZERO_IF_UNKNOWN else ""


def escape_formula(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
