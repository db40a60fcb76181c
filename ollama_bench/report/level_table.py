"""The table of the levels on the page, and what its words mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.terminal.rows import GPU_COLUMNS, is_gpu_alone


class Column(NamedTuple):
    """A column of the table: its heading, the column of a level, how a value is written."""

    heading: str
    name: str
    write: Callable[[Any], str]


COLUMNS = (
    Column("run", "run_id", str),
    Column("at once", "concurrency", str),
    Column("repeat", "repeat", str),
    Column("done", "completed", str),
    Column("failed", "errors", str),
    Column("wait, mean", "ttft_mean_s", seconds),
    Column("p50", "ttft_p50_s", seconds),
    Column("p95", "ttft_p95_s", seconds),
    Column("p99", "ttft_p99_s", seconds),
    Column("tokens/s each", "tokens_per_s_mean", digits),
    Column("least", "tokens_per_s_min", digits),
    Column("tokens/s all", "output_tokens_per_s", digits),
    Column("whole reply", "e2e_mean_s", seconds),
    Column("W", "mean_w", digits),
    Column("J/token", "joules_per_output_token", digits),
    Column("less idle", "net_joules_per_output_token", digits),
    Column("whole machine, W", "system_power_w", digits),
    Column(
        "whole machine, J/token", "system_joules_per_output_token", digits
    ),
    Column("GPU alone, W", "gpu_power_w", digits),
    Column("GPU alone, J/token", "gpu_joules_per_output_token", digits),
    Column("ran at once", "peak_streaming", digits),
    Column("took", "duration_s", seconds),
)
DEFINITIONS = (
    ("repeat", "the first, second ... time of a level in its run"),
    (
        "wait (TTFT)",
        "from just before the request is written to the first chunk with text, answer or reasoning",
    ),
    (
        "tokens/s each",
        "(output tokens - 1) / (last - first chunk with text) of a completed request; "
        "the mean of them",
    ),
    (
        "tokens/s all",
        "output tokens of the level / its time from the first request "
        "to the end of the last stream",
    ),
    (
        "failed",
        "every request that did not end completed; it counts in no wait and no speed",
    ),
    ("p95, p99", "nearest rank; blank below 20 and 100 completed requests"),
    (
        "W, J/token",
        "mean watts during the level, and its energy / its output tokens; blank where samples "
        "cover less than 95 % of it. The power source says what the watts include",
    ),
    (
        "whole machine",
        "the same by a sensor of the whole machine, where it shows more than the sum of the others",
    ),
    (
        "GPU alone",
        "the same of the GPU by itself: shown where its sum with the CPU is not known",
    ),
    (
        "ran at once",
        "the most requests that streamed at the same time: the server's slots, seen from outside",
    ),
    (
        "gap between chunks (ITL)",
        "between consecutive chunks with text of one stream; a chunk may carry several tokens",
    ),
)


def write_table(levels: Sequence[Row]) -> str:
    """Return the levels as HTML, without columns that nobody measured.

    The columns run and repeat are shown only if they differ.
    """
    has_gpu = any(map(is_gpu_alone, levels))
    columns = [
        column
        for column in COLUMNS
        if is_shown(column.name, levels, has_gpu)
    ]
    head = "".join(
        f"<th>{escape(column.heading)}</th>" for column in columns
    )
    rows = "".join(write_row(level, columns) for level in levels)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def is_shown(name: str, levels: Sequence[Row], has_gpu: bool) -> bool:
    values = {level[name] for level in levels}
    if values == {None}:
        return False
    if name in GPU_COLUMNS.values():
        return has_gpu
    return name not in ("run_id", "repeat") or len(values) > 1


def write_row(level: Row, columns: Iterable[Column]) -> str:
    cells = "".join(
        write_cell(column, level[column.name]) for column in columns
    )
    return f"<tr>{cells}</tr>"


def write_cell(column: Column, value: Any) -> str:
    bad = ' class="bad"' if column.name == "errors" and value else ""
    text = "–" if value is None else escape(column.write(value))
    return f"<td{bad}>{text}</td>"


def write_terms(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms as HTML, without those that have no text."""
    items = [
        f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>"
        for term, text in pairs
        if text
    ]
    return f"<dl>{''.join(items)}</dl>"
