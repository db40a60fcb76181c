"""Where the time of a request goes on the server, and how its chunks are spaced."""

from __future__ import annotations

import altair as alt

from ollama_bench.analysis.study import Row, Study, size_of
from ollama_bench.analysis.wording import seconds
from ollama_bench.charts.axes import CROWD, level_axis
from ollama_bench.charts.chart import OF_LEVELS, SIZE, Chart
from ollama_bench.charts.marks import (
    draw_across_level,
    make_plot,
    values_by_level,
)
from ollama_bench.charts.theme import BLUE, GREY, ORANGE, PURPLE

SPLIT_SQL = f"""
SELECT run_id, {SIZE} AS concurrency, queue_s, load_s, prefill_s, decode_s, total_s
FROM server_split {OF_LEVELS} ORDER BY 2"""
SPLIT_COLOURS = {
    "queue": GREY,
    "load": PURPLE,
    "prefill": ORANGE,
    "decode": BLUE,
}

# Edges of the histogram's cells, from 0.1 ms to 3 h; shorter gaps came in one read.
EDGES_NS = [round(10 ** (6 + tenth / 10)) for tenth in range(-10, 71)]
# and where in a level they stand
PERCENTILES = (("p50", 0), ("p95", 1 / 3), ("p99", 2 / 3))


def cell_of_ns(first: int, last: int) -> str:
    """Return SQL for the cell of EDGES_NS, between two, that ns is in.

    It halves: that is exact, and SQLite may have no logarithm.
    """
    if first == last:
        return str(first)
    middle = (first + last + 1) // 2
    below, above = cell_of_ns(first, middle - 1), cell_of_ns(middle, last)
    return (
        f"CASE WHEN ns < {EDGES_NS[middle]} THEN {below} ELSE {above} END"
    )


# SQLite makes the histogram where the chunks are: millions become a few hundred rows.
# Of more gaps than these each :step-th of a stream counts, an odd number since tokens may come
# in pairs; the streams begin at different ones. CROSS JOIN: only chunks of what is shown are read.
MOST_GAPS = 100_000
GAP_SQL = f"""
WITH shown AS MATERIALIZED (
  SELECT request_id, {SIZE} AS concurrency, chunks FROM request_timeline {OF_LEVELS}
), thinning AS MATERIALIZED (
  SELECT 1 + coalesce(sum(chunks), 0) / {MOST_GAPS} | 1 AS step FROM shown
), gap AS (
  SELECT concurrency, step, later.at_ns - earlier.at_ns AS ns
  FROM thinning CROSS JOIN shown CROSS JOIN chunk AS later USING (request_id)
  CROSS JOIN chunk AS earlier
    ON earlier.request_id = later.request_id AND earlier.number = later.number - 1
  WHERE (later.number + later.request_id) % step = 0
), placed AS (
  SELECT concurrency, step, {cell_of_ns(0, len(EDGES_NS) - 2)} AS cell FROM gap
) SELECT concurrency, cell, count(*) AS gaps, step FROM placed GROUP BY concurrency, cell"""


def draw_server_split(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw the share of each part of a request's time on the server."""
    parts = [
        {
            "concurrency": row["concurrency"],
            "part": part,
            "order": place,
            "y": row[f"{part}_s"],
        }
        for row in rows
        for place, part in enumerate(SPLIT_COLOURS)
        if row[f"{part}_s"] is not None
    ]
    totals = [
        {"concurrency": n, "text": seconds(sum(values) / len(values))}
        for n, values in values_by_level(rows, "total_s").items()
    ]
    share = alt.Y(
        "sum(y):Q",
        stack="normalize",
        title="share of a request's time on the server",
        axis=alt.Axis(format="%"),
    )
    colours = alt.Scale(
        domain=list(SPLIT_COLOURS), range=list(SPLIT_COLOURS.values())
    )
    tooltip = [
        alt.Tooltip("concurrency:O", title=CROWD),
        "part:N",
        alt.Tooltip("mean(y):Q", title="seconds", format=",.3f"),
    ]
    bars = make_plot(parts).mark_bar()
    times = make_plot(totals).mark_text(baseline="bottom")
    return alt.layer(
        bars.encode(
            x=level_axis(),
            order="order:Q",
            y=share,
            color=alt.Color(
                "part:N", scale=colours, legend=alt.Legend(offset=26)
            ),
            tooltip=tooltip,
        ),
        times.encode(x=level_axis(), y=alt.value(-4), text="text:N"),
    )


def draw_gaps(study: Study, rows: list[Row]) -> alt.TopLevelMixin | None:
    """Draw how the gaps between chunks spread: dark where there are many."""
    cells = share_of_level(rows)
    least, most = (
        min(cell["y"] for cell in cells),
        max(cell["y2"] for cell in cells),
    )
    ticks = [
        digit * 10**power for power in range(-1, 6) for digit in (1, 2, 5)
    ]
    y = alt.Y(
        "y:Q",
        title="gap between chunks (ms, logarithmic)",
        scale=alt.Scale(type="log", domain=[least, most], nice=False),
        axis=alt.Axis(values=ticks, format=",~g"),
    )
    colour = alt.Color(
        "share:Q",
        scale=alt.Scale(scheme="blues", domainMin=0),
        legend=alt.Legend(
            title=name_share(rows[0]["step"]),
            format="%",
            gradientLength=180,
        ),
    )
    tooltip = [
        alt.Tooltip("concurrency:O", title=CROWD),
        alt.Tooltip("y:Q", title="from ms", format=".3~g"),
        alt.Tooltip("y2:Q", title="to ms", format=".3~g"),
        alt.Tooltip("share:Q", format=".1%"),
    ]
    heat = make_plot(cells).mark_rect()
    heat = heat.encode(
        x=level_axis(), y=y, y2="y2:Q", color=colour, tooltip=tooltip
    )
    marks = draw_percentiles(study, y)
    return alt.layer(heat, *marks) if marks else heat


def name_share(step: int) -> list[str]:
    """Return the lines that say what is shown, where only each step-th gap counts."""
    counted = f"(1 in {step} counted)"
    return ["share of gaps", counted] if step > 1 else ["share of gaps"]


def draw_percentiles(study: Study, y: alt.Y) -> list[alt.Chart]:
    marks = []
    for percentile, left in PERCENTILES:
        column = f"itl_{percentile}_s"
        known = [
            {
                "concurrency": size_of(level),
                "y": level[column] * 1000,
            }
            for level in study.levels
            if level[column]
        ]
        if known:
            marks.append(
                draw_across_level(known, y, left + 0.02, left + 0.31)
            )
    return marks


def share_of_level(rows: list[Row]) -> list[Row]:
    """Return the histogram's counts as shares of their level; y and y2 are edges in ms."""
    totals = {
        n: sum(counts)
        for n, counts in values_by_level(rows, "gaps").items()
    }
    return [
        {
            "concurrency": row["concurrency"],
            "y": EDGES_NS[row["cell"]] / 1e6,
            "y2": EDGES_NS[row["cell"] + 1] / 1e6,
            "share": row["gaps"] / totals[row["concurrency"]],
        }
        for row in rows
    ]


SERVER_SPLIT = Chart(
    "server_split",
    "Where the server spends a request's time",
    SPLIT_SQL,
    draw_server_split,
    "timings of the server",
    note="Above each bar: how long a request was on the server, on average.",
)
GAPS = Chart(
    "itl",
    "Gaps between the chunks of a stream",
    GAP_SQL,
    draw_gaps,
    "chunks",
    note="Darker: more of the level's gaps. "
    "Orange, from the left of each level: median, p95 and p99.",
)
