"""A run over time: every request as a bar, power and memory below; the largest level over time."""

from __future__ import annotations

import altair as alt

from ollama_bench.analysis.study import Row, Study
from ollama_bench.charts.axes import CROWD, time_axis
from ollama_bench.charts.chart import (
    OF_LEVELS,
    OF_MODEL,
    OF_STUDY,
    SIZE,
    Chart,
    counts_words,
)
from ollama_bench.charts.marks import make_plot, make_zoom, thin
from ollama_bench.charts.memory import (
    describe_loaded,
    name_resident_memory,
)
from ollama_bench.charts.request_bars import TIMELESS, draw_request_bars
from ollama_bench.charts.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE_RED,
    PURPLE,
    RED,
)

MOST_POINTS = 600  # of a line over time: one for each pixel or so
# a gap of so many times the median between samples breaks the line
LONG_GAP = 6

# One run: the chosen one with the most requests. SQLite thins the lines over time: a mean for each
# of MOST_POINTS stretches.
TIMELINE_SQL = f"""
WITH one AS (
  SELECT run_id, count(*) AS requests,
    max(1e-9, max(ended_at_s) / {MOST_POINTS}) AS stretch_s
  FROM request_timeline {OF_STUDY}
  GROUP BY run_id ORDER BY 2 DESC, 1 DESC LIMIT 1)
SELECT 'request' AS kind, run_id, level_id, status, {SIZE} AS concurrency, number,
  sent_at_s AS at_s, first_text_at_s AS first_s, first_answer_at_s AS answer_s, ended_at_s AS end_s,
  NULL AS name, NULL AS value, chunks, reasoning_chunks
FROM request_timeline JOIN one USING (run_id) WHERE {OF_MODEL}
UNION ALL SELECT 'power', NULL, NULL, NULL, NULL, NULL, avg(end_at_s), NULL, NULL, NULL,
  source || CASE WHEN max(gpu_power_w) IS NOT NULL THEN ' GPU' ELSE '' END,
  coalesce(avg(gpu_power_w), avg(power_w)), NULL, NULL
FROM power_over_time JOIN one USING (run_id) GROUP BY source, CAST(end_at_s / stretch_s AS INTEGER)
UNION ALL SELECT 'memory', NULL, NULL, CASE WHEN count(footprint_bytes) THEN 'footprint' END,
  NULL, NULL, avg(at_s), NULL, NULL, NULL, process,
  avg(max(coalesce(rss_bytes, footprint_bytes), coalesce(footprint_bytes, rss_bytes))
    / 1073741824.0), NULL, NULL
FROM process_over_time JOIN one USING (run_id) GROUP BY process, CAST(at_s / stretch_s AS INTEGER)
ORDER BY kind, at_s"""
EVOLUTION_SQL = f"""
WITH largest AS (
  SELECT level_id, errors FROM level_summary {OF_LEVELS} AND completed > 0
  ORDER BY {SIZE} DESC, level_id DESC LIMIT 1)
SELECT {SIZE} AS concurrency, at_s, waiting, answering, completed, failed, errors
FROM request_evolution JOIN largest USING (level_id) ORDER BY at_s"""


def draw_timeline(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw every request as a bar; power and the server's memory below, on the same axis."""
    requests = [row for row in rows if row["kind"] == "request"]
    start, end = time_span(requests)
    samples = {
        kind: samples_within(rows, kind, start, end)
        for kind in ("power", "memory")
    }
    kinds = [
        "request",
        *(kind for kind, known in samples.items() if has_line(known)),
    ]
    axes = {
        kind: time_axis([end], None, alt.X, "x", start)
        for kind in kinds[:-1]
    }
    axes[kinds[-1]] = time_axis(
        [end], "time since the run began", alt.X, "x", start
    )
    bars = draw_request_bars(requests, axes["request"], start, end)
    panels = [bars.add_params(make_zoom("x"))]
    for kind in kinds[1:]:
        title: str | list[str]
        title, colour = memory_title(study, samples[kind]), PURPLE
        if kind == "power":
            title, colour = power_title(samples[kind]), ORANGE
        panels.append(
            draw_samples(samples[kind], axes[kind], title, colour)
        )
    return alt.vconcat(*panels, spacing=14).resolve_scale(
        x="shared", color="independent", strokeDash="independent"
    )


def time_span(requests: list[Row]) -> tuple[float, float]:
    """Return from when to when the timeline goes, in seconds since the run began.

    It starts a little before the first request, or with the run if that is near.
    """
    first = min(row["at_s"] for row in requests)
    ends = [row["end_s"] for row in requests if row["end_s"] is not None]
    last = max(ends, default=first + 1)
    start = (
        0.0
        if first < 0.2 * (last - first)
        else first - 0.04 * (last - first)
    )
    return max(0.0, start), max(last, first + 1e-3)


def samples_within(
    rows: list[Row], kind: str, start: float, end: float
) -> list[Row]:
    return [
        row
        for row in rows
        if row["kind"] == kind
        and row["value"] is not None
        and start <= row["at_s"] <= end
    ]


def has_line(rows: list[Row]) -> bool:
    """Tell whether a line can be seen: a single sample of each source or process is none."""
    return len(rows) > len({row["name"] for row in rows})


def power_title(rows: list[Row]) -> str:
    """Say what the watts include: the GPU alone, or everything that the source counts."""
    scopes = {row["name"] for row in rows}
    if all(scope.endswith(" GPU") for scope in scopes):
        return "GPU power (W)"
    return f"{scopes.pop()} (W)" if len(scopes) == 1 else "power (W)"


def memory_title(study: Study, rows: list[Row]) -> list[str]:
    """Say what the memory includes; in two lines, for the panel is low."""
    has_gpu = any(row["status"] == "footprint" for row in rows)
    what = (
        "memory with the GPU's" if has_gpu else name_resident_memory(study)
    )
    return ["server:", f"{what} (GiB)"]


def draw_samples(
    rows: list[Row], x: alt.X, title: str | list[str], colour: str
) -> alt.Chart:
    """Draw a line over time for each source or process."""
    points = [
        {"x": row["at_s"], "y": row["value"], "name": row["name"]}
        for row in rows
    ]
    points = break_at_gaps(points)
    name = title if isinstance(title, str) else " ".join(title)
    has_several = len({point["name"] for point in points}) > 1
    legend = alt.Legend(columns=4) if has_several else None
    tooltip = [
        "name:N",
        alt.Tooltip("x:Q", title="s", format=".1f"),
        alt.Tooltip("y:Q", title=name, format=".3~g"),
    ]
    lines = make_plot(points).mark_line(
        strokeWidth=1.6, color=colour, clip=True
    )
    return lines.encode(
        x=x,
        y=alt.Y("y:Q", title=title, scale=alt.Scale(zero=True)),
        detail="name:N",
        strokeDash=alt.StrokeDash("name:N", legend=legend),
        tooltip=tooltip,
    ).properties(height=110)


def break_at_gaps(points: list[Row]) -> list[Row]:
    """Add a point without a value where samples are missing: there the line breaks."""
    found = []
    for name in dict.fromkeys(point["name"] for point in points):
        own = [point for point in points if point["name"] == name]
        gaps = [
            right["x"] - left["x"]
            for left, right in zip(own, own[1:], strict=False)
        ]
        usual = sorted(gaps)[len(gaps) // 2] if gaps else 0
        for left, gap in zip(own, [*gaps, 0], strict=True):
            found.append(left)
            if gap > LONG_GAP * usual:
                found.append({"x": left["x"], "y": None, "name": name})
    return found


def note_on_timeline(study: Study, rows: list[Row]) -> str:
    """Say which run it is, and what is before the first bar."""
    run = next(row["run_id"] for row in rows if row["kind"] == "request")
    note = (
        f"Run {run} alone, of {len(study.runs)} chosen. "
        if len(study.runs) > 1
        else ""
    )
    note += f"A number is a level: that many {CROWD}."
    if not counts_words(
        study
    ):  # an import has neither baseline nor warm-up
        note += " Before the first bar: idle baseline and warm-up."
    if any(row["kind"] == "memory" for row in rows):
        note = f"{note} {describe_loaded(study)}".rstrip()
    return note


def draw_evolution(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw how many requests of the largest level wait, stream and have ended over time."""
    states = {
        "completed": GREEN,
        "answering": BLUE,
        "waiting": GREY,
        "failed": RED,
    }
    timeless = failures_without_time(rows)
    # the last state of each instant
    rows = list({row["at_s"]: row for row in rows}.values())
    rows = thin(rows, MOST_POINTS)
    if timeless:
        states[TIMELESS] = PALE_RED
        rows = [{**row, TIMELESS: timeless} for row in rows]
    points = [
        point for row in rows for point in state_points(row, list(states))
    ]
    most = max(sum(row[state] for state in states) for row in rows)
    count = alt.Y(
        "y:Q",
        stack="zero",
        title=f"requests of the level with {rows[0]['concurrency']} {CROWD}",
        axis=alt.Axis(tickMinStep=1, format="d"),
        scale=alt.Scale(domain=[0, most], nice=False),
    )
    colours = alt.Scale(domain=list(states), range=list(states.values()))
    tooltip = [
        alt.Tooltip("x:Q", title="s", format=".1f"),
        "state:N",
        alt.Tooltip("y:Q", title="requests"),
    ]
    areas = make_plot(points).mark_area(
        interpolate="step-after", clip=True
    )
    return areas.encode(
        x=time_axis(
            [row["at_s"] for row in rows],
            "time since the level began",
            alt.X,
            "x",
        ),
        y=count,
        color=alt.Color("state:N", scale=colours),
        order="order:Q",
        tooltip=tooltip,
    ).add_params(make_zoom("x"))


def state_points(row: Row, states: list[str]) -> list[Row]:
    """Return a point for each state of one instant."""
    common = {"x": row["at_s"], "concurrency": row["concurrency"]}
    return [
        {**common, "state": state, "order": place, "y": row[state]}
        for place, state in enumerate(states)
    ]


def failures_without_time(rows: list[Row]) -> int:
    """Count the level's failures of which no instant is known: no row shows them."""
    count: int = rows[0]["errors"] - max(row["failed"] for row in rows)
    return count


def note_on_evolution(study: Study, rows: list[Row]) -> str:
    timeless = failures_without_time(rows)
    if not timeless:
        return ""
    return f"{timeless} failed at an unknown time; shown as the top band."


TIMELINE = Chart(
    "timeline",
    "Every request: waiting, reasoning, answering",
    TIMELINE_SQL,
    draw_timeline,
    "requests",
    note=note_on_timeline,
)
EVOLUTION = Chart(
    "request_evolution",
    "The largest level over time",
    EVOLUTION_SQL,
    draw_evolution,
    "requests",
    note=note_on_evolution,
)
