"""What more load buys and what it costs: speed, wait and failures by level."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import altair as alt

from ollama_bench.analysis.study import P99_FLOOR, Row, Size, Study
from ollama_bench.analysis.wording import digits
from ollama_bench.charts.axes import (
    LEVELS,
    headroom,
    log_domain,
    log_time_axis,
    quantity_axis,
    time_axis,
)
from ollama_bench.charts.chart import OF_LEVELS, SIZE, Chart
from ollama_bench.charts.labels import group_by_offset, place_labels
from ollama_bench.charts.marks import (
    arrange_grid,
    draw_line,
    draw_ranges,
    group_by_level,
    make_plot,
    make_tooltips,
    make_zoom,
    mark_failures,
    stack_panels,
    write_number,
    write_text,
    write_time,
)
from ollama_bench.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    HEIGHT,
    ORANGE,
    RED,
)
from ollama_bench.inputs.objectives import Objective

LABEL_ROOM = 0.09  # of an axis, left free for the label of the last point
KINDS = ("known", "few", "endless")  # of a wait, the least doubtful first

LEVEL_SQL = f"""
SELECT run_id, repeat, {SIZE} AS concurrency, requests, completed, errors, error_ratio, ttft_mean_s,
  ttft_p99_with_errors_s, ttft_max_s, tokens_per_s_mean AS tokens_per_s, output_tokens_per_s,
  duration_s
FROM level_summary {OF_LEVELS} AND completed > 0 ORDER BY 3"""
SPEED_SQL = f"""
SELECT run_id, repeat, {SIZE} AS concurrency, p.min, p.mean, p.max, p.n
FROM level_summary JOIN level_percentiles AS p USING (level_id) {OF_LEVELS}
  AND metric = 'tokens_per_s' ORDER BY 3"""


def draw_combined(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw the speed of all, the speed of one and the wait below each other."""
    wait = time_axis(
        [(row["ttft_mean_s"] or 0) * 1.2 for row in rows], "mean wait"
    )
    speed_of_all = quantity_axis(
        "tokens/s of all", rows, "output_tokens_per_s"
    )
    speed_of_one = quantity_axis("tokens/s of one", rows, "tokens_per_s")
    lines = (
        ("output_tokens_per_s", speed_of_all, GREEN, write_number),
        # a single token has none
        ("tokens_per_s", speed_of_one, BLUE, write_number),
        ("ttft_mean_s", wait, ORANGE, write_time),
    )
    panels = [
        draw_line(rows, field, y, colour, write)
        for field, y, colour, write in lines
        if any(row[field] is not None for row in rows)
    ]
    if not panels:
        return None
    return stack_panels(
        [alt.layer(panels[0], *mark_failures(study)), *panels[1:]]
    )


def draw_performance(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw two speeds, the wait and the share of failures in a grid."""
    for row in rows:
        row["error_percent"] = (row["error_ratio"] or 0) * 100.0
    speed_of_one = quantity_axis(
        "tokens/s of one request", rows, "tokens_per_s"
    )
    speed_of_all = quantity_axis(
        "tokens/s of all", rows, "output_tokens_per_s"
    )
    wait = log_time_axis([row["ttft_mean_s"] for row in rows], "mean wait")
    percent = alt.Scale(domain=[0, 100])
    failed = alt.Y("y:Q", title="failed requests (%)", scale=percent)
    return arrange_grid(
        [
            draw_line(rows, "tokens_per_s", speed_of_one, BLUE),
            draw_line(rows, "output_tokens_per_s", speed_of_all, GREEN),
            draw_line(rows, "ttft_mean_s", wait, ORANGE),
            draw_line(rows, "error_percent", failed, RED),
        ]
    )


def draw_against_mean_wait(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    known = [
        {**row, "wait_s": row["ttft_mean_s"], "kind": "known"}
        for row in rows
    ]
    return draw_trade_off(known, "mean wait for the first token")


def draw_against_p99_wait(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    waits = [{**row, **slowest_wait(row)} for row in rows]
    return draw_trade_off(waits, "p99 wait for the first token")


def slowest_wait(level: Row) -> Row:
    """Return the p99 wait with failures as endless; if unknown, the longest wait and why.

    The kind is "few" if there were too few requests for a p99, "endless" if the p99 has no end.
    """
    p99 = level["ttft_p99_with_errors_s"]
    if p99 is not None:
        return {"wait_s": p99, "kind": "known"}
    are_few = level["completed"] + level["errors"] < P99_FLOOR
    return {
        "wait_s": level["ttft_max_s"],
        "kind": "few" if are_few else "endless",
    }


def draw_trade_off(
    rows: list[Row], title: str
) -> alt.TopLevelMixin | None:
    """Draw the speed of all over the wait: a path through the levels' means, repeats faint."""
    rows = [
        {**row, "x": row["wait_s"], "y": row["output_tokens_per_s"]}
        for row in rows
        if (row["wait_s"] or 0) > 0 and row["output_tokens_per_s"]
    ]
    if not rows:
        return None
    groups = group_by_level(rows)
    means = [merge_repeats(n, own) for n, own in sorted(groups.items())]
    repeats = [
        row for own in groups.values() if len(own) > 1 for row in own
    ]
    waits = [row["x"] for row in rows]
    x = log_time_axis(waits, title, alt.X, "x", LABEL_ROOM)
    y = quantity_axis("tokens/s of all together", rows, "y")
    place_labels(
        means, log_domain(waits, LABEL_ROOM), headroom(rows, "y"), repeats
    )
    path = make_plot(means).mark_line(color=GREY, strokeWidth=1.5)
    path = path.encode(x=x, y=y, order="concurrency:Q").add_params(
        make_zoom("x", "y")
    )
    layers = [path, *draw_points(means, repeats, x, y)]
    for (dx, dy, has_failures), group in group_by_offset(means).items():
        letters = {"color": RED} if has_failures else {}
        layers.append(
            write_text(
                group, "label", {"dx": dx, "dy": dy}, letters, x=x, y=y
            )
        )
    return alt.layer(*layers)


def merge_repeats(concurrency: Size, repeats: list[Row]) -> Row:
    """Merge the repeats of a level into one point, as doubtful as the most doubtful of them."""
    errors = sum(row["errors"] for row in repeats)
    return {
        "concurrency": concurrency,
        "x": fmean(row["x"] for row in repeats),
        "y": fmean(row["y"] for row in repeats),
        "repeats": len(repeats),
        "failed": errors,
        "label": f"{concurrency:.12g}, {errors} failed"
        if errors
        else f"{concurrency:.12g}",
        "kind": max((row["kind"] for row in repeats), key=KINDS.index),
    }


def draw_points(
    means: list[Row], repeats: list[Row], x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    """Draw repeats faint, means full, and hollow where the wait is not what the axis says."""
    layers = []
    if repeats:
        faint = make_plot(repeats).mark_point(
            color=BLUE, size=45, opacity=0.3
        )
        layers.append(
            faint.encode(x=x, y=y, tooltip=make_tooltips(repeats))
        )
    looks: dict[str, dict[str, Any]] = {
        "known": {"color": BLUE},
        "few": {"color": BLUE, "filled": False},
        "endless": {"color": RED, "filled": False},
    }
    for kind, look in looks.items():
        if group := [row for row in means if row["kind"] == kind]:
            points = make_plot(group).mark_point(
                size=90, strokeWidth=2, opacity=1, **look
            )
            layers.append(
                points.encode(x=x, y=y, tooltip=make_tooltips(group))
            )
    return layers


def draw_speed_of_one(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw the speeds of the requests of each level, with the objective as a dashed line."""
    bound = speed_objective(study, rows)
    y = quantity_axis(
        "tokens/s of one request", [*rows, {"max": bound}], "max"
    )
    layers = [
        draw_ranges(rows, y, BLUE, height=HEIGHT),
        *mark_failures(study),
    ]
    if bound:
        rule = make_plot([{"y": bound}]).mark_rule(
            strokeDash=[6, 4], color=GREEN
        )
        layers.insert(0, rule.encode(y=y))
    return alt.layer(*layers)


def speed_objective(study: Study, rows: list[Row]) -> float | None:
    """Return the objective in tokens/s, if it is near enough to be in the picture."""
    slowest = study.objectives.get("tokens_per_s")
    longest = study.objectives.get("tpot_s", Objective(math.inf))
    bound = slowest.bound if slowest else 1 / longest.bound
    fastest = max((row["max"] for row in rows), default=0)
    return bound if 0 < bound <= 2 * fastest else None


def note_on_speed(study: Study, rows: list[Row]) -> str:
    note = "Bar: least to most of a request; line and number: the mean."
    bound = speed_objective(study, rows)
    return (
        f"{note} Dashed: the objective, {digits(bound)} tokens/s."
        if bound
        else note
    )


LOAD_NOTE = (
    f"Number: {LEVELS}. Line through the means of the levels, "
    "faint points: their repeats."
)
COMBINED = Chart(
    "combined_metrics",
    "Speed, wait and failures",
    LEVEL_SQL,
    draw_combined,
    "finished levels",
    counts_tokens=True,
)
AGAINST_MEAN_WAIT = Chart(
    "throughput_vs_avg_wait",
    "What more load buys, and what it costs",
    LEVEL_SQL,
    draw_against_mean_wait,
    "finished levels",
    note=LOAD_NOTE,
    counts_tokens=True,
)
AGAINST_P99_WAIT = Chart(
    "throughput_vs_p99_wait",
    "What more load costs the slowest",
    LEVEL_SQL,
    draw_against_p99_wait,
    "finished levels",
    note=f"{LOAD_NOTE} Solid: p99, with failures as endless waits. "
    f"Hollow: the longest wait, of fewer than {P99_FLOOR} requests; "
    "red if too many failed for a p99.",
    counts_tokens=True,
)
SPEED_OF_ONE = Chart(
    "average_throughput",
    "How fast one request is answered",
    SPEED_SQL,
    draw_speed_of_one,
    "token rates",
    note=note_on_speed,
    counts_tokens=True,
)
PERFORMANCE = Chart(
    "performance_metrics",
    "Four measures of each level",
    LEVEL_SQL,
    draw_performance,
    "finished levels",
    note="Points: repeats of a level; lines: their means.",
    counts_tokens=True,
)
