"""The table of levels by host, on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_bench.analysis.crowd import noun
from ollama_bench.analysis.hosts import group_hosts, name_host
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.report.level_table import (
    Column,
    is_shown,
    write_columns,
)
from ollama_bench.terminal import rows
from ollama_bench.terminal.figures import (
    format_duration,
    format_number,
    format_speed,
)

LEAST_HOST = 8  # cells
COLUMNS = (
    Column("run", "run_id", str),
    Column("at once", "concurrency", str),
    Column("requests/s asked", "probe_rate_per_s", digits),
    Column("repeat", "repeat", str),
    Column("host", "host", str),
    Column("slots", "slots", str),
    Column("done", "completed", str),
    Column("failed", "errors", str),
    Column("wait, mean", "ttft_mean_s", seconds),
    Column("tokens/s each", "tokens_per_s_mean", digits),
    Column("tokens/s all, while busy", "busy_tokens_per_s", digits),
    Column("busy", "busy_s", seconds),
    Column("in flight, most", "in_flight_peak", str),
)


def format_hosts(study: Study, width: int) -> list[str]:
    """Return the lines of the terminal's table; [] where there was one host."""
    found = list_hosts(study)
    if not found:
        return []
    names = [name_host(row) for row in found]
    cells = max(LEAST_HOST, *(len(name) + 2 for name in names))
    columns = (
        rows.Column("", "LEVEL", 11, 9),
        rows.Column("", "HOST", cells, 9),
        rows.Column("", "OK", 10, 8),
        rows.Column("WAIT", "mean", 9, 7),
        rows.Column("TOK/S", "each", 9, 6),
        rows.Column("TOK/S", "busy", 9, 5),
        rows.Column("FLIGHT", "most", 8, 8),
    )
    lines = [
        rows.format_row(columns, list_cells_of(row, name), width)
        for row, name in zip(found, names, strict=True)
    ]
    return [rows.format_heading(columns, width), *lines]


def list_cells_of(row: Row, name: str) -> Sequence[str]:
    return [
        rows.name_level(row),
        name,
        f"{row['completed']}/{row['requests']}",
        format_duration(row["ttft_mean_s"]),
        format_speed(row["tokens_per_s_mean"]),
        format_speed(row["busy_tokens_per_s"]),
        format_number(row["in_flight_peak"], 0),
    ]


def list_hosts(study: Study) -> list[Row]:
    return [row for hosts in group_hosts(study).values() for row in hosts]


def write_hosts(study: Study) -> str:
    """Return the page's table as HTML; "" where there was one host."""
    found = [{**row, "host": name_host(row)} for row in list_hosts(study)]
    if not found:
        return ""
    columns = [
        column
        for column in COLUMNS
        if is_shown(column.name, found, has_gpu=False)
    ]
    return f"<h3>By host</h3>{write_columns(columns, found, noun(study.levels))}"
