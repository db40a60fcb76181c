"""Axes that the charts share, and the ranges of values that they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from ollama_bench.analysis.study import Row

TIME_STEPS_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    28800,
    86400,
)
MOST_TIME_TICKS = 8
MINUTES_FROM_S = 120  # from here on a time axis is in m:ss
# a logarithmic axis takes the coarsest ticks that give as many
FEW_TICKS = 3
# on a shorter axis ticks at 1 and 3 leave the upper end bare
TWO_DECADES = 100
ONE_THREE_S = (
    *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    *(60, 180, 600, 1800, 3600, 10800, 36000),
)
ONE_TWO_FIVE_S = (
    *(
        0.001,
        0.002,
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        20,
        30,
    ),
    *(60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000),
)
FINE_DIGITS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
MSS = "floor(datum.value / 60) + ':' + format(floor(datum.value % 60), '02d')"
SECONDS_OR_MSS = f"datum.value >= 60 ? {MSS} : datum.value + ' s'"


# what the levels count, named when a chart is finished: Chart.draw fills them in
LEVELS = "\ue000"  # above them: "requests at once", "people"
CROWD = "\ue001"  # after a number: "at once", "people"


def level_axis(**more: Any) -> alt.X:
    """Space levels evenly: they double, and a linear axis would press the small ones together."""
    return alt.X("concurrency:O", title=LEVELS, **more)


def time_axis(
    values: Sequence[float | None],
    title: str | None,
    channel: type[alt.X] | type[alt.Y] = alt.Y,
    field: str = "y",
    start: float = 0,
) -> alt.X | alt.Y:
    """Show times from start to the largest value, in seconds, with ticks on round times.

    Ticks are in seconds if the longest is below two minutes, else in m:ss.
    """
    longest = (
        max((value for value in values if value is not None), default=1)
        or 1
    )
    scale = alt.Scale(domain=[start, longest], nice=False)
    if longest < MINUTES_FROM_S:
        # parity keeps the labels evenly spaced
        axis, unit = alt.Axis(labelOverlap="parity"), "s"
    else:
        fitting = (
            step
            for step in TIME_STEPS_S
            if (longest - start) / step <= MOST_TIME_TICKS
        )
        step = next(fitting, TIME_STEPS_S[-1])
        ticks = list(
            range(math.ceil(start / step) * step, int(longest) + 1, step)
        )
        axis, unit = alt.Axis(values=ticks, labelExpr=MSS), "m:ss"
    title = title and f"{title} ({unit})"
    return channel(f"{field}:Q", title=title, scale=scale, axis=axis)


def log_time_axis(
    values: Sequence[float | None],
    title: str,
    channel: type[alt.X] | type[alt.Y] = alt.Y,
    field: str = "y",
    room: float = 0,
) -> alt.X | alt.Y:
    """Show times on a logarithmic scale; room is the share of the axis left free at its end."""
    low, high = log_domain(values, room)
    return channel(
        f"{field}:Q",
        title=f"{title} (logarithmic)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(
            values=log_ticks(low, high), labelExpr=SECONDS_OR_MSS
        ),
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Return round times from low to high, enough to read a point by."""
    steps: list[Sequence[float]] = [
        ONE_THREE_S,
        ONE_TWO_FIVE_S,
        fine_ticks(),
    ]
    if high / low < TWO_DECADES:
        steps = steps[1:]
    choices = [
        [tick for tick in ticks if low <= tick <= high] for ticks in steps
    ]
    return next(
        (ticks for ticks in choices if len(ticks) >= FEW_TICKS),
        choices[-1],
    )


def fine_ticks() -> list[float]:
    """Return every digit of each decade below a minute, then round minutes and hours."""
    below = [
        round(digit * power, 5)
        for power in (0.001, 0.01, 0.1, 1, 10)
        for digit in FINE_DIGITS
        if digit * power < 60
    ]
    above = [
        unit * digit
        for unit in (60, 600, 3600, 36000)
        for digit in FINE_DIGITS
        if unit != 600 or digit < 6
    ]
    return below + above


def log_domain(
    values: Sequence[float | None], room: float = 0
) -> tuple[float, float]:
    """Return the ends of a logarithmic axis: a little beyond the least and the most."""
    known = [value for value in values if value and value > 0] or [1]
    low, high = min(known) * 0.75, max(known) * 1.3
    return low, high * (high / low) ** room


def quantity_axis(title: str, rows: list[Row], *fields: str) -> alt.Y:
    """Show quantities from 0, with room for numbers above the points."""
    scale = alt.Scale(domain=[0, headroom(rows, *fields)], nice=False)
    return alt.Y("y:Q", title=title, scale=scale)


def headroom(rows: list[Row], *fields: str) -> float:
    """Return the upper end of an axis with room above the largest value of some fields."""
    known = [
        row[field]
        for row in rows
        for field in fields
        if row.get(field) is not None
    ]
    return 1.12 * (max(known, default=1) or 1)


def aggregate_axis(axis: alt.Y, shorthand: str) -> alt.Y:
    """Return the same axis for another field or an aggregate, such as mean(y):Q."""
    copied = axis.copy()
    copied.shorthand = shorthand
    return copied
