"""Long prompts among short ones: what the others get beside one, and else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import altair as alt

from ollama_bench.analysis.interference import (
    Contrast,
    Interference,
    MeanTime,
)
from ollama_bench.analysis.study import Row, Study
from ollama_bench.charts.axes import level_axis, log_time_axis
from ollama_bench.charts.chart import Spec, finish
from ollama_bench.charts.marks import make_plot, stack_panels, write_time
from ollama_bench.charts.theme import BLUE, ORANGE
from ollama_bench.terminal.figures import name_lengths

TITLE = "What long prompts do to the others"
BESIDE, ELSE = "beside a long prompt", "otherwise"
COLOURS = {BESIDE: ORANGE, ELSE: BLUE}
NOTE = (
    "Of the prompts that are not the longest, while one of the longest is evaluated and while none "
    "is. Bars: 95 % intervals of the means."
)
PANELS: tuple[
    tuple[str, Callable[[Interference], Contrast | None]], ...
] = (
    ("between two chunks", lambda one: one.token),
    ("wait of who asks", lambda one: one.wait),
)


def draw_interference(
    study: Study, found: Sequence[Interference]
) -> Spec | None:
    """Draw the time of a token and the wait by level; None where nothing is known."""
    panels = [
        draw_panel(rows, title)
        for title, find in PANELS
        if (rows := list_contrasts(found, find))
    ]
    if not panels:
        return None
    painted = stack_panels(panels).resolve_scale(color="shared")
    subject = study.name
    if not study.prompts:
        subject += f", {name_lengths(None, study.prompt_mix)}"
    return finish(
        painted,
        TITLE,
        subject,
        study.simulated,
        notes=[NOTE],
        levels=study.levels,
    )


def list_contrasts(
    found: Sequence[Interference],
    find: Callable[[Interference], Contrast | None],
) -> list[Row]:
    return [
        {
            "concurrency": one.level["concurrency"],
            **describe_mean(kind, mean),
        }
        for one in found
        if (known := find(one))
        for kind, mean in ((BESIDE, known.during), (ELSE, known.otherwise))
    ]


def describe_mean(kind: str, mean: MeanTime) -> Row:
    low, high = mean.interval
    return {
        "kind": kind,
        "y": mean.value_s,
        # an axis of logarithms has no 0
        "low": max(low, mean.value_s / 10),
        "high": high,
        "n": mean.stretches,
        "text": f"{write_time(mean.value_s)} "
        f"(95 %: {write_time(low)} to {write_time(high)})",
    }


def draw_panel(rows: list[Row], title: str) -> alt.LayerChart:
    ends = [row[name] for row in rows for name in ("low", "high")]
    y = log_time_axis(ends, title)
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=[*COLOURS], range=[*COLOURS.values()]),
        legend=alt.Legend(orient="top"),
    )
    x = level_axis()
    bars = make_plot(rows).mark_rule(strokeWidth=2.5)
    points = make_plot(rows).mark_point(filled=True, size=70, opacity=1)
    tooltip = [
        alt.Tooltip("kind:N", title="when"),
        alt.Tooltip("text:N", title=title),
        alt.Tooltip("n:Q", title="stretches"),
    ]
    low = y.copy()
    low.shorthand = "low:Q"
    return alt.layer(
        bars.encode(x=x, y=low, y2="high:Q", color=colour),
        points.encode(x=x, y=y, color=colour, tooltip=tooltip),
    )
