"""The table of a model's prompt lengths, on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_bench.analysis.crowd import name_count, noun
from ollama_bench.analysis.prompt_lengths import (
    Figures,
    LengthFigures,
    find_shared_level,
)
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.report.level_table import join_table, write_cells
from ollama_bench.terminal import rows
from ollama_bench.terminal.figures import format_duration, format_number

LEAST_NAME = 8  # cells


def format_length_table(
    lengths: Sequence[LengthFigures], width: int
) -> list[str]:
    """Return the lines of the terminal's table, with a heading."""
    shared = find_shared_level(lengths)
    names = [name_row(one) for one in lengths]
    cells = max(LEAST_NAME, *(len(name) + 2 for name in names))
    above = "" if shared is None else f"WITH {shared}"
    columns = (
        rows.Column("PROMPT", "tokens", cells, 9),
        rows.Column("SERVED", noun(lengths[0].study.levels), 15, 8),
        rows.Column(above, "wait", 9, 7),
        rows.Column(above, "prefill/s", 11, 5),
        rows.Column(above, "tok/s", 9, 6),
    )
    lines = [
        f"{lengths[0].study.name_on_machine} by the length of the prompt",
        rows.format_heading(columns, width),
    ]
    for name, one in zip(names, lengths, strict=True):
        level = find_level(one, shared)
        values = [
            name,
            one.capacity,
            format_duration(level.get("ttft_mean_s")),
            format_number(level.get("prefill_tokens_per_s"), 0),
            format_number(level.get("tokens_per_s_mean")),
        ]
        lines.append(rows.format_row(columns, values, width))
    return lines


def name_row(one: LengthFigures) -> str:
    """Return the length alone, or those of a mixture."""
    plain = f"{one.tokens:,}" if one.tokens else "other"
    return one.study.prompt_mix or plain


def find_level(one: LengthFigures, shared: int | None) -> Figures:
    return {} if shared is None else one.levels[shared]


def write_length_table(lengths: Sequence[LengthFigures]) -> str:
    """Return the page's table as HTML."""
    shared = find_shared_level(lengths)
    levels = lengths[0].study.levels
    at = "" if shared is None else f", {name_count(shared, levels)}"
    headings = [
        "prompt tokens",
        f"served {noun(levels)}",
        f"wait, mean{at}",
        f"prefill tokens/s{at}",
        f"tokens/s each{at}",
        "tokens/s all, best",
    ]
    return join_table(
        headings,
        [write_cells(list_cells(one, shared)) for one in lengths],
    )


def list_cells(one: LengthFigures, shared: int | None) -> list[str]:
    level = find_level(one, shared)
    together = [
        figures["output_tokens_per_s"] for figures in one.levels.values()
    ]
    best = max((value for value in together if value), default=None)
    return [
        name_row(one),
        one.capacity,
        seconds(level.get("ttft_mean_s")),
        digits(level.get("prefill_tokens_per_s")),
        digits(level.get("tokens_per_s_mean")),
        digits(best),
    ]
