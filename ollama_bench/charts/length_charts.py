"""One model with prompts of several lengths: wait, speeds and capacity over the length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import altair as alt

from ollama_bench.analysis.prompt_lengths import LengthFigures
from ollama_bench.analysis.study import Row
from ollama_bench.charts.axes import CROWD, log_time_axis, quantity_axis
from ollama_bench.charts.chart import Spec, finish
from ollama_bench.charts.marks import (
    make_plot,
    stack_panels,
    write_number,
    write_text,
    write_time,
)
from ollama_bench.charts.theme import BLUE

# by file name
TITLES = {
    "prompt_lengths": "What longer prompts cost",
    "capacity_by_length": "How many are served, by the length of the prompt",
}
MOST_LINES = 6  # levels that are drawn, each a line
COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("ttft_mean_s", "mean wait", write_time),
    ("prefill_tokens_per_s", "prefill tokens/s", write_number),
    ("tokens_per_s_mean", "tokens/s of one", write_number),
    ("output_tokens_per_s", "tokens/s of all", write_number),
)


def draw_lengths(lengths: Sequence[LengthFigures]) -> dict[str, Spec]:
    """Return the charts over the length of prompts, by file name; none for a single length."""
    known = [one for one in lengths if one.tokens]
    if len(known) < 2:
        return {}
    found = {
        "prompt_lengths": draw_costs(known),
        "capacity_by_length": draw_capacity(known),
    }
    simulated = any(one.study.simulated for one in known)
    return {
        name: finish(
            painted[0],
            TITLES[name],
            known[0].study.model_name,
            simulated,
            notes=[painted[1]],
            levels=known[0].study.levels,
        )
        for name, painted in found.items()
        if painted
    }


def draw_costs(
    lengths: Sequence[LengthFigures],
) -> tuple[alt.TopLevelMixin, str] | None:
    """Draw wait and speeds over the length, a line for each level."""
    chosen = choose_lines(lengths)
    panels = []
    for column, title, write in COLUMNS:
        rows = list_rows(lengths, chosen, column, write)
        if len({row["tokens"] for row in rows}) > 1:
            panels.append(draw_panel(rows, title, write is write_time))
    if not panels:
        return None
    return (
        stack_panels(panels).resolve_scale(color="shared"),
        "Means of the levels' repeats.",
    )


def choose_lines(lengths: Sequence[LengthFigures]) -> list[int]:
    """Return the levels to draw: all, or some that are evenly spread."""
    levels = sorted({n for one in lengths for n in one.levels})
    if len(levels) <= MOST_LINES:
        return levels
    step = (len(levels) - 1) / (MOST_LINES - 1)
    return [levels[round(place * step)] for place in range(MOST_LINES)]


def list_rows(
    lengths: Sequence[LengthFigures],
    chosen: Sequence[int],
    column: str,
    write: Callable[[float], str],
) -> list[Row]:
    return [
        {
            "tokens": one.tokens,
            "study": one.study.folder,
            "concurrency": n,
            "y": value,
            "text": write(value),
        }
        for one in lengths
        for n in chosen
        if (value := one.levels.get(n, {}).get(column))
    ]


def length_axis(rows: Sequence[Row]) -> alt.X:
    """Show lengths on a logarithmic scale, with a tick at each."""
    lengths = sorted({row["tokens"] for row in rows})
    ends = [lengths[0] * 0.8, lengths[-1] * 1.25]
    return alt.X(
        "tokens:Q",
        title="length of the prompt (tokens, logarithmic)",
        scale=alt.Scale(type="log", domain=ends, nice=False),
        axis=alt.Axis(values=lengths, format=",d"),
    )


def draw_panel(rows: list[Row], title: str, is_time: bool) -> alt.Chart:
    y = quantity_axis(title, rows, "y")
    if is_time:
        y = log_time_axis([row["y"] for row in rows], title)
    colour = alt.Color(
        "concurrency:N",
        title=CROWD,
        sort="ascending",
        legend=alt.Legend(orient="top"),
    )
    tooltip = [
        alt.Tooltip("tokens:Q", title="prompt tokens", format=",d"),
        alt.Tooltip("concurrency:O", title=CROWD),
        alt.Tooltip("text:N", title=title),
    ]
    lines = make_plot(rows).mark_line(point=True, strokeWidth=2.5)
    return lines.encode(
        x=length_axis(rows), y=y, color=colour, tooltip=tooltip
    )


def draw_capacity(
    lengths: Sequence[LengthFigures],
) -> tuple[alt.TopLevelMixin, str] | None:
    """Draw how many are served at once over the length."""
    rows: list[Row] = [
        {
            "tokens": one.tokens,
            "y": one.at_once,
            "text": one.capacity,
        }
        for one in lengths
        if one.at_once is not None
    ]
    if len(rows) < 2:
        return None
    x, y = length_axis(rows), quantity_axis(f"served {CROWD}", rows, "y")
    y = y.axis(tickMinStep=1)
    tooltip = [
        alt.Tooltip("tokens:Q", title="prompt tokens", format=",d"),
        alt.Tooltip("text:N", title=f"served {CROWD}"),
    ]
    line = make_plot(rows).mark_line(
        point=alt.OverlayMarkDef(color=BLUE), strokeWidth=2.5, color=BLUE
    )
    numbers = write_text(rows, "text", {"dy": -14}, x=x, y=y)
    return (
        alt.layer(line.encode(x=x, y=y, tooltip=tooltip), numbers),
        "The highest level that met the objectives, as every level below it; "
        "'or more': no higher one was measured.",
    )
