"""The card of a study, to be shown elsewhere: its figures, a small curve, where they are from.

The size is that of a preview on web pages. Each text has a room and ends there with an ellipsis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from ollama_bench.analysis.crowd import AT_ONCE, name_axis
from ollama_bench.analysis.study import Row
from ollama_bench.charts.chart import Spec
from ollama_bench.charts.marks import write_number
from ollama_bench.charts.theme import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    PAGE,
    RED,
    TEXT,
)

WIDTH_PX, HEIGHT_PX = 1200, 630
LEFT, RIGHT = 64, 1136
QUIET = "#57606a"  # of what is read second; legible at half the size
FIGURE_LEFT = (LEFT, 432, 800)
FIGURE_ROOM = 330
# pixels of a letter of a figure, by its height
LETTER_RATIO = 0.6
LEAST_SIZE, MOST_SIZE = 30, 84  # heights of a figure
# the plot of the curve
CURVE_LEFT, CURVE_RIGHT, CURVE_TOP, CURVE_BOTTOM = 104, 1096, 426, 494
LEAST_STEP = 62  # between the numbers of neighbouring levels
FIGURE_COLOURS = (GREEN, BLUE, ORANGE)


@dataclass(frozen=True)
class CardFigure:
    """A large number and what it is."""

    value: str
    label: str
    interval: str = ""  # of 95 %, in words


@dataclass(frozen=True)
class Card:
    """Everything that stands on a card, as text that may be shown to anybody."""

    model: str
    build: str  # quantization and size of the model, name and version of the server
    machine: str
    figures: tuple[CardFigure, ...]
    # size, y: tokens/s of all, None where nothing was completed,
    # is_served: True, False, or None if not known
    curve: tuple[Row, ...]
    objectives: str
    origin: str  # date, tool and digest
    is_simulated: bool
    # what the levels count
    crowd: str = AT_ONCE


def draw_card(card: Card) -> Spec:
    """Return the Vega-Lite spec of a card."""
    with debug_mode(False):
        layers = [
            draw_rule(5, 0, WIDTH_PX, BLUE, 10),
            write(LEFT, 84, card.model, 46, bold=True),
            write(LEFT, 126, card.build, 25, QUIET),
            write(LEFT, 161, card.machine, 25, QUIET),
            *draw_figures(card.figures),
            *draw_curve(card.curve, card.crowd),
            draw_rule(547, LEFT, RIGHT, FAINT, 2),
            write(LEFT, 578, card.objectives, 21, QUIET),
            write(LEFT, 608, card.origin, 21, QUIET),
        ]
        if card.is_simulated:
            layers.append(write_across("SIMULATED"))
        whole = alt.layer(*layers).properties(
            width=WIDTH_PX,
            height=HEIGHT_PX,
            padding=0,
            autosize="none",
            usermeta={"notes": []},
        )
        spec: Spec = whole.to_dict(validate=False)
    return spec


def write(
    x: float,
    y: float,
    text: str,
    size: float,
    color: str = TEXT,
    align: str = "left",
    room: float = RIGHT - LEFT,
    bold: bool = False,
) -> alt.Chart:
    """Write a line on y; in a room of so many pixels."""
    style = {
        "fontSize": size,
        "color": color,
        "align": align,
        "limit": room,
        "fontWeight": "bold" if bold else "normal",
        "baseline": "alphabetic",
    }
    return place(x, y, {"text": text}).mark_text(**style)


def place(x: float, y: float, row: Row) -> alt.Chart:
    """Return a plot of one row at a place of the card."""
    plot = alt.Chart(alt.InlineData(values=[row]))
    channels: dict[str, Any] = {"x": alt.value(x), "y": alt.value(y)}
    if "text" in row:
        channels["text"] = alt.Text("text:N")
    return plot.encode(**channels)


def draw_rule(
    y: float, left: float, right: float, color: str, width: float
) -> alt.Chart:
    rule = place(left, y, {}).mark_rule(color=color, strokeWidth=width)
    return rule.encode(x2=alt.value(right))


def draw_figures(figures: tuple[CardFigure, ...]) -> list[alt.Chart]:
    layers = []
    columns = zip(figures, FIGURE_LEFT, FIGURE_COLOURS, strict=False)
    for figure, left, colour in columns:
        fitting = FIGURE_ROOM / LETTER_RATIO / max(1, len(figure.value))
        size = max(LEAST_SIZE, min(MOST_SIZE, fitting))
        layers += [
            write(
                left,
                262,
                figure.value,
                size,
                colour,
                room=FIGURE_ROOM,
                bold=True,
            ),
            write(left, 303, figure.label, 27, room=FIGURE_ROOM),
            write(left, 335, figure.interval, 21, QUIET, room=FIGURE_ROOM),
        ]
    return layers


def draw_curve(levels: tuple[Row, ...], crowd: str) -> list[alt.Chart]:
    """Draw the throughput over the levels: filled points are served, hollow ones are not."""
    levels = tuple(level for level in levels if level["y"] is not None)
    if not levels:
        return []
    by = name_axis(crowd)
    title = f"tokens/s of all, by {by}"
    if any(level["is_served"] is False for level in levels):
        title += "; hollow: the objectives are not met"
    top = max(level["y"] for level in levels) or 1
    step = (CURVE_RIGHT - CURVE_LEFT) / max(1, len(levels) - 1)
    every = -(-LEAST_STEP // max(1, int(step)))
    points = [
        {
            "x": CURVE_LEFT + step * number,
            "y": CURVE_BOTTOM
            - (CURVE_BOTTOM - CURVE_TOP) * level["y"] / top,
            "foot": CURVE_BOTTOM,
            "level": f"{level['size']:.12g}",
            "speed": write_number(level["y"]),
            "is_served": level["is_served"] is not False,
        }
        for number, level in enumerate(levels)
    ]
    labelled = points[::-1][::every]
    hollow = [point for point in points if not point["is_served"]]
    return [
        write(LEFT, 387, title, 21, QUIET),
        over(points, "y")
        .mark_area(color=BLUE, opacity=0.1)
        .encode(y2=alt.Y2("foot:Q")),
        over(points, "y").mark_line(color=BLUE, strokeWidth=4),
        over(points, "y").mark_point(color=BLUE, size=150, opacity=1),
        over(hollow, "y").mark_point(color=PAGE, size=50, opacity=1),
        *(
            over(labelled, "y")
            .mark_text(dy=-16, fontSize=20, **letters)
            .encode(text=alt.Text("speed:N"))
            for letters in ({"style": "halo"}, {"color": TEXT})
        ),
        over(labelled, None)
        .mark_text(fontSize=20, color=QUIET)
        .encode(text=alt.Text("level:N"), y=alt.value(522)),
    ]


def over(points: list[Row], y: str | None) -> alt.Chart:
    """Return a plot of points whose x and y are pixels of the card."""
    plot = alt.Chart(alt.InlineData(values=points))
    x_scale = alt.Scale(domain=[0, WIDTH_PX], nice=False)
    y_scale = alt.Scale(domain=[HEIGHT_PX, 0], nice=False)
    channels = {"x": alt.X("x:Q", scale=x_scale, axis=None)}
    if y:
        channels["y"] = alt.Y(f"{y}:Q", scale=y_scale, axis=None)
    return plot.encode(**channels)


def write_across(text: str) -> alt.Chart:
    """Write one word over the whole card, as a seal."""
    row = place(WIDTH_PX / 2, HEIGHT_PX / 2, {"text": text})
    return row.mark_text(
        fontSize=190,
        fontWeight="bold",
        color=RED,
        opacity=0.16,
        angle=-18,
        baseline="middle",
    )
