"""export_csv.py - writes the chosen runs as the original Go tool's CSV tree.

    analyze.py --export-csv DIR      DIR/ollama/<model>/test_results_<level>/*.csv

request_summary, duration_metrics, gpu_metrics and process_<pid>_metrics with that tool's
columns; repeats follow each other in the same file, as its own did. import_csv.py reads it.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ollama_bench.storage import files
from ollama_bench.analysis.selection import Study

OF_LEVEL = "JOIN chosen USING (run_id, model) WHERE model = :model AND {} = :concurrency AND level_id NOT IN (SELECT level_id FROM aside) ORDER BY run_id, repeat"
FILES = {  # name: columns, then the SQL that gives them
    "request_summary.csv": (
        [
            "RequestID",
            "TTFB",
            "TotalDuration",
            "ResponseDuration",
            "WaitingTime",
            "TokenCount",
            "StatusCode",
            "Status",
        ],
        "SELECT * FROM request_summary " + OF_LEVEL.format("concurrency") + ", request_id",
    ),
    "duration_metrics.csv": (
        ["Timestamp", "Concurrency", "MaxDuration", "MinDuration", "AvgDuration", "P99Duration"],
        "SELECT * FROM duration_metrics " + OF_LEVEL.format("Concurrency"),
    ),
    "gpu_metrics.csv": (
        ["Timestamp", "Usage%", "Power(W)", "Frequency(MHz)"],
        "SELECT * FROM gpu_metrics " + OF_LEVEL.format("concurrency") + ", at_ns",
    ),
}
PROCESS_COLUMNS = ["Timestamp", "PID", "CPU%", "MEM%", "Threads", "FDs", "VSZ", "RSS"]
PROCESS_SQL = "SELECT * FROM process_metrics " + OF_LEVEL.format("concurrency") + ", PID, at_ns"
PLACES = {
    "Usage%": 2,
    "Power(W)": 2,
    "Frequency(MHz)": 2,
    "CPU%": 2,
    "MEM%": 2,
}  # decimals; durations have three
DURATIONS = (
    "TTFB",
    "TotalDuration",
    "ResponseDuration",
    "WaitingTime",
    "MaxDuration",
    "MinDuration",
    "AvgDuration",
    "P99Duration",
)


def write(database, studies: list[Study], top: Path) -> int:
    """Write the tree and return the number of files."""
    written = 0
    for study in studies:
        for n in study.by_concurrency():
            folder = top / "ollama" / study.folder / f"test_results_{n}"
            asked = {"model": study.model, "concurrency": n}
            for name, (columns, sql) in FILES.items():
                written += write_file(top, folder / name, columns, list(database.query(sql, asked)))
            by_pid: dict[int, list[dict]] = {}
            for row in database.query(PROCESS_SQL, asked):
                by_pid.setdefault(row["PID"], []).append(row)
            for pid, rows in by_pid.items():
                written += write_file(
                    top, folder / f"process_{pid}_metrics.csv", PROCESS_COLUMNS, rows
                )
    return written


def write_file(top: Path, path: Path, columns: list[str], rows: list[dict]) -> int:
    """Write the rows, if any, and say how many files that made."""
    if not rows:
        return 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(column, row) for column in columns] for row in rows)
    files.write(path, text.getvalue(), top)
    return 1


def cell(column: str, row: dict) -> str:
    """A value as the original wrote it; what it had no word for keeps ours."""
    value = row[column]
    if column == "Status":
        return harmless("Completed" if value == "completed" else str(value))
    if column == "P99Duration" and value is None:
        value = row["MaxDuration"]  # below 100 requests the original's p99 is the longest
    if value is None:
        return (
            "0.000"
            if column in DURATIONS
            else "0"
            if column in ("TokenCount", "StatusCode")
            else ""
        )
    if isinstance(value, str):
        return harmless(value)
    if column in DURATIONS:
        return f"{value:.3f}"
    return f"{value:.{PLACES[column]}f}" if column in PLACES else str(value)


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
