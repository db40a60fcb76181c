"""Tables on the terminal: their columns, which ones fit, and lines for rows of the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ollama_bench.terminal.figures import (
    UNKNOWN,
    format_clock,
    format_duration,
    format_number,
    format_speed,
    name_lengths,
)

Row = Mapping[str, Any]  # a row of a view of results.db: column -> value

WIDTH = 80
LEAST_WIDTH = 20  # for a window that reports less, or no width at all
GPU_MARK = "g"  # after watts and joules of the GPU alone
GPU_NOTE = (
    f"        {GPU_MARK}: GPU only; the total with the CPU is unknown"
)
GPU_COLUMNS = {  # the column of a level -> the same of the GPU alone
    "mean_w": "gpu_power_w",
    "joules_per_output_token": "gpu_joules_per_output_token",
}


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    above: str  # first line of its heading
    name: str  # second line
    cells: int
    # columns of low rank are dropped first where there is no room
    rank: int


Columns = tuple[Column, ...]

LEVEL_COLUMNS: Columns = (
    Column("", "LEVEL", 11, 9),
    Column("", "OK", 10, 8),
    Column("WAIT", "mean", 9, 7),
    Column("WAIT", "max", 9, 3),
    Column("TOK/S", "each", 9, 6),
    Column("TOK/S", "all", 9, 5),
    Column("AT", "once", 7, 2),
    Column("", "J/TOK", 9, 4),
)


def name_columns(rows: Sequence[Row]) -> Columns:
    """Return the columns of a table of levels: what is counted are people, where they think."""
    if {row.get("load") for row in rows} == {"people"}:
        return (
            replace(LEVEL_COLUMNS[0], name="PEOPLE"),
            *LEVEL_COLUMNS[1:],
        )
    return LEVEL_COLUMNS


def choose_columns(columns: Columns, width: int) -> list[int]:
    """Return the numbers of the columns that a window of this width shows, in order."""
    shown = list(range(len(columns)))
    while (
        sum(columns[number].cells for number in shown) > width
        and len(shown) > 1
    ):
        shown.remove(min(shown, key=lambda number: columns[number].rank))
    return shown


def format_row(columns: Columns, values: Sequence[str], width: int) -> str:
    """Return the values under their columns, without columns that do not fit.

    A blank stands before each, however wide a value is.
    """
    cells = [
        f" {values[n]:>{columns[n].cells - 1}}"
        for n in choose_columns(columns, width)
    ]
    return "".join(cells).rstrip()


def format_heading(columns: Columns, width: int) -> str:
    """Return the names of the columns, in one or two lines."""
    above = format_row(
        columns, [column.above for column in columns], width
    )
    names = format_row(columns, [column.name for column in columns], width)
    return f"{above}\n{names}" if above else names


def format_level(row: Row, width: int = WIDTH) -> str:
    """Return a row of level_summary joined with energy_summary."""
    return format_row(
        LEVEL_COLUMNS,
        [
            name_level(row),
            f"{row['completed']}/{row['requests']}",
            format_duration(row["ttft_mean_s"]),
            format_duration(row["ttft_max_s"]),
            format_number(row["tokens_per_s_mean"]),
            format_number(row["output_tokens_per_s"]),
            format_number(row["peak_streaming"]),
            format_power(row, "joules_per_output_token", 3),
        ],
        width,
    )


def format_result(row: Row) -> str:
    """Return what a level gave as a line of words, where other lines stand between levels."""
    people = " people" if row.get("load") == "people" else ""
    return (
        f"  {name_level(row)}{people}: {row['completed']}/{row['requests']} ok,"
        f" wait {format_duration(row['ttft_mean_s'])},"
        f" {format_speed(row['tokens_per_s_mean'])} tokens/s each,"
        f" {format_speed(row['output_tokens_per_s'])} together"
    )


def name_level(row: Row) -> str:
    """Return the size of a level, and what sets it apart: "4", "4 #2 warm", "2.5/s"."""
    size = write_size(row)
    if row.get("probe_rate_per_s"):
        return size
    marks = {
        f"#{row['repeat']}": row["repeat"] > 1,
        "warm": row["cache"] == "warm",
        "control": row.get("is_control"),
    }
    return " ".join([size, *(name for name in marks if marks[name])])


def write_size(row: Row) -> str:
    """Return how many requests at once or people; the rate of a search for one: "2.5/s"."""
    if rate := row.get("probe_rate_per_s"):
        return f"{rate:g}/s"
    return str(row["concurrency"])


def name_load(row: Row) -> str:
    """Return the name of a level with what it counts: "4 at once", "4 people #2"."""
    size, *marks = name_level(row).split()
    if row.get("think_time_s") is not None:
        size = "1 person" if size == "1" else f"{size} people"
    elif not row.get("probe_rate_per_s"):
        size = f"{size} at once"
    return " ".join([size.replace("/s", " requests/s"), *marks])


def name_group(row: Row) -> str:
    """Return what levels have in common that stand in one table: model and prompt length."""
    lengths = name_lengths(
        row.get("asked_prompt_tokens"), row.get("prompt_mix")
    )
    return ", ".join(filter(None, (row["model"], lengths)))


def format_power(row: Row, column: str, places: int) -> str:
    """Return a level's watts or joules; the GPU's alone, marked, where no more is known."""
    of_gpu = row[GPU_COLUMNS[column]]
    if row[column] is not None or of_gpu is None:
        return format_number(row[column], places)
    return (
        format_number(of_gpu, places if of_gpu < 9.9995 else 1) + GPU_MARK
    )


def is_gpu_alone(row: Row) -> bool:
    """Return whether watts or joules of a level are known for the GPU only."""
    return any(
        row[all_] is None and row[gpu] is not None
        for all_, gpu in GPU_COLUMNS.items()
    )


def format_steady(row: Row) -> str:
    """Return a row of steady_summary, to stand under its level."""
    return (
        f"        steady for {format_clock(row['duration_s'])}:"
        f" {row['completed']}/{row['requests']} ok,"
        f" {format_speed(row['requests_per_s'])} requests/s,"
        f" {format_speed(row['output_tokens_per_s'])} tokens/s together"
    )


def format_cache_effect(row: Row, crowd: str = "at once") -> str:
    """Return a row of cache_effect; crowd: what its level counts."""
    ratio = row["ttft_saved_ratio"]
    # a zero without its sign
    saved = UNKNOWN if ratio is None else f"{round(ratio, 2) + 0.0:.0%}"
    return (
        f"  {row['model']}, {row['concurrency']} {crowd}:"
        f" TTFT {format_duration(row['cold_ttft_mean_s'])} cold,"
        f" {format_duration(row['warm_ttft_mean_s'])} warm: the prompt cache saves {saved}"
    )


def format_lengths(rows: Sequence[Row]) -> str:
    """Return how long prompts and replies were, least and most of the levels; "" if unknown."""
    words = {
        "prompt_tokens_mean": "prompts of {} tokens",
        "output_tokens_mean": "replies of {} tokens",
    }
    parts = []
    for column, text in words.items():
        means = [row[column] for row in rows if row[column] is not None]
        ends = (
            dict.fromkeys(
                f"{end:,.0f}" for end in (min(means), max(means))
            )
            if means
            else {}
        )
        if ends:
            parts.append(text.format(" to ".join(ends)))
    return f"  {', '.join(parts)} (mean of a level)" if parts else ""
