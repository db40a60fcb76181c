"""How the requests of each level spread: their wait, their duration, the length of the replies."""

from __future__ import annotations

import altair as alt

from ollama_bench.analysis.study import Row, Study
from ollama_bench.charts.axes import (
    CROWD,
    log_time_axis,
    quantity_axis,
    time_axis,
)
from ollama_bench.charts.chart import OF_LEVELS, SIZE, Chart
from ollama_bench.charts.marks import (
    draw_dots,
    draw_ranges,
    mark_failures,
    values_by_level,
    write_number,
    write_time,
)
from ollama_bench.charts.theme import BLUE, HEIGHT

SMALLER_TOP = 32  # the highest level of the smaller chart of each pair

WAIT_SQL = f"""
SELECT run_id, {SIZE} AS concurrency, RequestID AS number, WaitingTime AS wait_s, Status AS status
FROM request_summary {OF_LEVELS} AND concurrency <= :top AND Status = 'completed' ORDER BY 2"""
DURATION_SQL = f"""
SELECT run_id, repeat, {SIZE} AS concurrency, MinDuration AS min, AvgDuration AS mean,
  MaxDuration AS max, requests, errors
FROM duration_metrics {OF_LEVELS} AND Concurrency <= :top ORDER BY 3"""
LENGTH_SQL = f"""
SELECT run_id, {SIZE} AS concurrency, RequestID AS number, TokenCount AS tokens
FROM request_summary {OF_LEVELS} AND Status = 'completed' ORDER BY 2"""


def draw_waits(study: Study, rows: list[Row]) -> alt.TopLevelMixin | None:
    """Draw the wait of every request, and the median of each level."""
    rows = [{**row, "y": row["wait_s"]} for row in rows if row["wait_s"]]
    if not rows:
        return None
    medians = [
        {"concurrency": n, "y": sorted(values)[(len(values) - 1) // 2]}
        for n, values in values_by_level(rows, "y").items()
    ]
    y = log_time_axis(
        [row["y"] for row in rows], "wait for the first token", room=0.1
    )
    highest = max(row["concurrency"] for row in rows)
    return alt.layer(
        draw_dots(rows, medians, y, write_time),
        *mark_failures(study, highest),
    )


def draw_durations(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw from the shortest to the longest stream of each level, and the mean."""
    rows = [row for row in rows if row["mean"] is not None]
    if not rows:
        return None
    y = time_axis(
        [row["max"] * 1.12 for row in rows], "first to last token"
    )
    highest = max(row["concurrency"] for row in rows)
    ranges = draw_ranges(rows, y, BLUE, write_time, HEIGHT)
    return alt.layer(ranges, *mark_failures(study, highest))


def draw_lengths(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw the length of every reply, and the mean of each level."""
    rows = [{**row, "y": row["tokens"]} for row in rows if row["tokens"]]
    if not rows:
        return None
    means = [
        {"concurrency": n, "y": sum(values) / len(values)}
        for n, values in values_by_level(rows, "y").items()
    ]
    y = quantity_axis("output tokens of a reply", rows, "y")
    return draw_dots(rows, means, y, write_number)


WAIT_NOTE = "Dot: a completed request. Orange: the median of a level, its number on top."
DURATION_NOTE = (
    "From the first to the last token, without the wait. "
    "Bar: shortest to longest; line and number: the mean."
)
WAITS_TO_32 = Chart(
    "ttfb_analysis_32",
    f"Wait of every request, up to 32 {CROWD}",
    WAIT_SQL,
    draw_waits,
    "waits up to 32 at once",
    top=SMALLER_TOP,
    note=WAIT_NOTE,
)
WAITS = Chart(
    "ttfb_analysis_256",
    "Wait of every request",
    WAIT_SQL,
    draw_waits,
    "waits",
    note=WAIT_NOTE,
)
DURATIONS_TO_32 = Chart(
    "duration_metrics_32",
    f"How long a reply streams, up to 32 {CROWD}",
    DURATION_SQL,
    draw_durations,
    "durations up to 32 at once",
    top=SMALLER_TOP,
    note=DURATION_NOTE,
)
DURATIONS = Chart(
    "duration_metrics_256",
    "How long a reply streams",
    DURATION_SQL,
    draw_durations,
    "durations",
    note=DURATION_NOTE,
)
LENGTHS = Chart(
    "token_distribution",
    "How long the replies are",
    LENGTH_SQL,
    draw_lengths,
    "token counts",
    note="Dot: a completed request. Orange: the mean of a level, its number on top.",
    counts_tokens=True,
)
