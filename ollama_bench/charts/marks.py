"""Marks that the charts share: lines, bars, dots, counts of failures; and how plots stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import altair as alt

from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import seconds
from ollama_bench.charts.axes import CROWD, aggregate_axis, level_axis
from ollama_bench.charts.labels import place_numbers
from ollama_bench.charts.theme import (
    AMBER,
    BLUE,
    HEIGHT,
    ORANGE,
    RED,
    SMALL_HEIGHT,
    WIDTH,
)

ALL_LEVELS = 10**9  # no level is above it
CROWDED = 9  # levels: with more of them "12 failed" would touch the next
DOT_COLUMNS = 9  # the dots of a level lie in as many columns
NOT_IN_TOOLTIPS = ("y", "y2", "text", "model", "spread", "index", "offset")


# Altair has no types for mypy
class Plot(alt.Chart):  # type: ignore[misc]
    """A chart whose copies share rows, mark and channels, which Altair replaces and never changes.

    Altair copies all plots at each step that joins some; its own copies hold all that they have.
    """

    def __deepcopy__(self, memo: object) -> Plot:
        copied: Plot = self.copy(deep=False)
        return copied


def make_plot(rows: list[Row]) -> alt.Chart:
    """Return an empty plot of some rows, to be given a mark."""
    return Plot(alt.InlineData(values=rows), width=WIDTH, height=HEIGHT)


def write_text(
    rows: list[Row],
    field: str,
    style: dict[str, Any],
    letters: dict[str, Any] | None = None,
    **channels: Any,
) -> alt.LayerChart:
    """Write a field on a halo of the page's colour; letters is the style of the text alone."""
    layers = [
        make_plot(rows)
        .mark_text(**style, **more)
        .encode(text=alt.Text(f"{field}:N"), **channels)
        for more in ({"style": "halo"}, letters or {})
    ]
    return alt.layer(*layers)


def mark_failures(study: Study, top: int = ALL_LEVELS) -> list[alt.Chart]:
    """Write a red count above each level, up to top, in which requests failed."""
    groups = study.by_size()
    rows = [
        failure_count(n, levels)
        for n, levels in groups.items()
        if n <= top
    ]
    rows = [row for row in rows if row["failed"]]
    if not rows:
        return []
    # neighbours would meet
    in_two_lines = len(rows) > 1 and len(groups) > CROWDED
    between = "\n" if in_two_lines else " "
    rows = [
        {**row, "text": f"{row['failed']}{between}failed"} for row in rows
    ]
    tooltip = [
        alt.Tooltip("concurrency:O", title=CROWD),
        alt.Tooltip("failed:Q"),
        alt.Tooltip("of:Q"),
    ]
    text = make_plot(rows).mark_text(
        color=RED, fontSize=12, baseline="line-bottom", lineBreak="\n"
    )
    return [
        text.encode(
            x=level_axis(),
            y=alt.value(-5),
            text=alt.Text("text:N"),
            tooltip=tooltip,
        )
    ]


def failure_count(concurrency: int, levels: list[Row]) -> Row:
    return {
        "concurrency": concurrency,
        "failed": sum(level["errors"] for level in levels),
        "of": sum(level["requests"] for level in levels),
    }


def draw_line(
    rows: list[Row],
    field: str,
    y: alt.Y,
    colour: str,
    write: Callable[[float], str] | None = None,
    above: str | None = None,
    height: int = SMALL_HEIGHT,
) -> alt.LayerChart:
    """Draw a line through the mean of each level, and a point for each repeat.

    With write each mean has its number, above the largest value of the field above if given.
    """
    rows = [
        {**row, "y": row[field]} for row in rows if row[field] is not None
    ]
    plot, through = make_plot(rows), aggregate_axis(y, "mean(y):Q")
    line = plot.mark_line(color=colour, strokeWidth=2.5).encode(
        x=level_axis(), y=through
    )
    points = plot.mark_point(color=colour).encode(
        x=level_axis(), y=y, tooltip=make_tooltips(rows)
    )
    layers = [line, points]
    if write:
        means = [
            mean_of_level(n, own, write, above)
            for n, own in group_by_level(rows).items()
        ]
        at = aggregate_axis(y, "over:Q")
        top = y["scale"]["domain"][1]
        for place, group in place_numbers(means, top, height).items():
            layers.append(
                write_text(
                    group, "text", place._asdict(), x=level_axis(), y=at
                )
            )
    return alt.layer(*layers)


def mean_of_level(
    concurrency: int,
    rows: list[Row],
    write: Callable[[float], str],
    above: str | None,
) -> Row:
    """Return the mean of a level's repeats, its number and the value that it stands above."""
    mean = fmean(row["y"] for row in rows)
    own = [row.get(above) if above else None for row in rows]
    tops = [
        row["y"] if top is None else top
        for row, top in zip(rows, own, strict=True)
    ]
    return {
        "concurrency": concurrency,
        "y": mean,
        "text": write(mean),
        "over": max(tops),
    }


def draw_ranges(
    rows: list[Row],
    y: alt.Y,
    colour: str,
    write: Callable[[float], str] | None = None,
    height: int = SMALL_HEIGHT,
) -> alt.LayerChart:
    """Draw for each level a bar from the least to the most, and its mean with a number."""
    low, high = aggregate_axis(y, "min(min):Q"), alt.Y2("max(max):Q")
    plot = make_plot([row for row in rows if row["min"] is not None])
    bars = plot.mark_bar(
        color=colour, opacity=0.28, width={"band": 0.5}
    ).encode(x=level_axis(), y=low, y2=high, tooltip=range_tooltips())
    means = [{**row, "y": row["mean"]} for row in rows]
    return bars + draw_line(
        means, "y", y, colour, write or write_number, "max", height
    )


def draw_dots(
    rows: list[Row],
    middles: list[Row],
    y: alt.Y,
    write: Callable[[float], str],
) -> alt.LayerChart:
    """Draw a dot for each request and a bar for the middle of each level, with its number."""
    columns = alt.Scale(domain=list(range(DOT_COLUMNS)), paddingOuter=0.5)
    rows = [
        {**row, "spread": row["number"] * 4 % DOT_COLUMNS} for row in rows
    ]
    middles = [{**row, "text": write(row["y"])} for row in middles]
    dots = make_plot(rows).mark_circle(color=BLUE, opacity=0.45, size=26)
    numbers = make_plot(middles).mark_text(
        fontWeight="bold",
        color=AMBER,
        fontSize=13 if len(middles) <= 12 else 11,
    )
    return alt.layer(
        dots.encode(
            x=level_axis(),
            xOffset=alt.XOffset("spread:O", scale=columns),
            y=y,
            tooltip=make_tooltips(rows),
        ),
        draw_across_level(middles, y, 0.1, 0.9),
        numbers.encode(
            x=level_axis(), y=alt.value(9), text=alt.Text("text:N")
        ),
    )


def draw_across_level(
    rows: list[Row], y: alt.Y, left: float, right: float
) -> alt.Chart:
    """Draw a thick line over a part of each level's width, from left to right."""
    rule = make_plot(rows).mark_rule(strokeWidth=3, color=ORANGE)
    end = alt.X2("concurrency:O", bandPosition=right)
    return rule.encode(x=level_axis(bandPosition=left), x2=end, y=y)


def make_tooltips(rows: list[Row]) -> list[alt.Tooltip]:
    """Return what the pointer shows: every column of a row, numbers with four digits."""
    first = rows[0] if rows else {}
    return [
        make_tooltip(name, isinstance(value, float))
        for name, value in first.items()
        if name not in NOT_IN_TOOLTIPS
    ]


def make_tooltip(name: str, is_float: bool) -> alt.Tooltip:
    if name == "concurrency":
        return alt.Tooltip("concurrency:O", title=CROWD)
    title = name.replace("_", " ")
    if is_float:
        return alt.Tooltip(f"{name}:Q", title=title, format=",.4~g")
    return alt.Tooltip(f"{name}:N", title=title)


def range_tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("concurrency:O", title=CROWD),
        alt.Tooltip("min(min):Q", title="least", format=",.4~g"),
        alt.Tooltip("mean(mean):Q", title="mean", format=",.4~g"),
        alt.Tooltip("max(max):Q", title="most", format=",.4~g"),
    ]


def make_zoom(*channels: str) -> alt.Parameter:
    """Let a reader drag a plot, and zoom it with Shift and the wheel."""
    return alt.selection_interval(
        bind="scales",
        encodings=list(channels),
        zoom="wheel![event.shiftKey]",
        name="zoom",
    )


def arrange_grid(panels: Sequence[alt.TopLevelMixin]) -> alt.ConcatChart:
    """Arrange plots in two columns, each half as large."""
    small = [
        panel.properties(width=WIDTH // 2 - 40, height=220)
        for panel in panels
    ]
    return alt.concat(*small, columns=2).resolve_scale(color="shared")


def stack_panels(panels: Sequence[alt.TopLevelMixin]) -> alt.VConcatChart:
    """Arrange plots below each other."""
    small = [
        panel.properties(width=WIDTH, height=SMALL_HEIGHT)
        for panel in panels
    ]
    return alt.vconcat(*small)


def group_by_level(rows: list[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["concurrency"], []).append(row)
    return groups


def values_by_level(rows: list[Row], field: str) -> dict[int, list[float]]:
    return {
        n: [row[field] for row in own]
        for n, own in group_by_level(rows).items()
    }


def thin(rows: list[Row], most: int) -> list[Row]:
    """Return evenly fewer rows, with the first and the last."""
    step = -(-len(rows) // most)
    return rows if step <= 1 else rows[:-1:step] + rows[-1:]


def write_number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.5 else f"{value:.3g}"


def write_time(value: float) -> str:
    return seconds(value)
