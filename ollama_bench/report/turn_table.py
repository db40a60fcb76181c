"""The table of conversations by turn, on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ollama_bench.analysis.crowd import AT_ONCE
from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import digits, percent, seconds
from ollama_bench.report.level_table import (
    Column,
    is_shown,
    write_columns,
)
from ollama_bench.terminal import rows
from ollama_bench.terminal.figures import (
    UNKNOWN,
    format_duration,
    format_number,
)

ESTIMATED = "~"  # before a share that the prefill time tells
NOTE = (
    f"{ESTIMATED}: estimated from the prefill time, since the server does not say what it "
    "cached: as if first turns were evaluated whole, and later ones at their speed; rather "
    "too low, for few tokens are evaluated more slowly"
)
TERMINAL_COLUMNS: rows.Columns = (
    rows.Column("", "LEVEL", 12, 9),
    rows.Column("", "TURN", 6, 9),
    rows.Column("", "OK", 10, 7),
    rows.Column("WAIT", "p50", 9, 8),
    rows.Column("PROMPT", "tokens", 9, 4),
    rows.Column("", "CACHED", 9, 6),
    rows.Column("", "PREFILL", 10, 3),
    rows.Column("PREFILL", "tok/s", 10, 5),
)
PAGE_COLUMNS = (
    Column("run", "run_id", str),
    Column("at once", "concurrency", str),
    Column("requests/s asked", "probe_rate_per_s", digits),
    Column("repeat", "repeat", str),
    Column("turn", "turn", str),
    Column("done", "completed", str),
    Column("failed", "errors", str),
    Column("wait, p50", "ttft_p50_s", seconds),
    Column("prompt tokens", "prompt_tokens_mean", digits),
    Column("cached", "cached", str),
    Column("prefill", "prefill_s", seconds),
    Column("prefill tokens/s", "prefill_tokens_per_s", digits),
)


def format_turns(turns: Sequence[Row], width: int) -> list[str]:
    """Return the lines of the terminal's table."""
    lines = [format_turn(turn, width) for turn in turns]
    return [rows.format_heading(TERMINAL_COLUMNS, width), *lines]


def format_turn(turn: Row, width: int) -> str:
    return rows.format_row(
        TERMINAL_COLUMNS,
        [
            rows.name_level(turn),
            str(turn["turn"]),
            f"{turn['completed']}/{turn['requests']}",
            format_duration(turn["ttft_p50_s"]),
            format_number(turn["prompt_tokens_mean"], 0),
            describe_cached(turn) or UNKNOWN,
            format_duration(turn["prefill_s"]),
            format_number(turn["prefill_tokens_per_s"], 0),
        ],
        width,
    )


def write_turns(turns: Sequence[Row], crowd: str = AT_ONCE) -> str:
    """Return the page's table as HTML; "" without conversations.

    crowd: what a level counts.
    """
    if not turns:
        return ""
    shown = [{**turn, "cached": describe_cached(turn)} for turn in turns]
    columns = [
        column
        for column in PAGE_COLUMNS
        if is_shown(column.name, shown, has_gpu=False)
    ]
    note = describe_estimates(turns)
    hint = f"<p class=hint>{escape(note)}.</p>" if note else ""
    return f"<h3>By turn</h3>{write_columns(columns, shown, crowd)}{hint}"


def describe_estimates(turns: Sequence[Row]) -> str | None:
    """Return what the mark of an estimate means; None where nothing is estimated."""
    return NOTE if any(map(is_estimated, turns)) else None


def describe_cached(turn: Row) -> str | None:
    """Return the share of the prompt that was cached; None where nothing tells."""
    if turn["cached_ratio"] is None:
        return None
    mark = ESTIMATED if is_estimated(turn) else ""
    return f"{mark}{percent(turn['cached_ratio'])}"


def is_estimated(turn: Row) -> bool:
    return turn["cached_source"] not in (None, "server")
