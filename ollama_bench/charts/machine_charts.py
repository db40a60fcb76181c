"""What the machine did during each level: power and energy, the GPU, the server's processes."""

from __future__ import annotations

import altair as alt

from ollama_bench.analysis.energy import is_of_gpu
from ollama_bench.analysis.study import Row, Study
from ollama_bench.charts.axes import (
    CROWD,
    aggregate_axis,
    level_axis,
    quantity_axis,
)
from ollama_bench.charts.chart import OF_LEVELS, SIZE, Chart
from ollama_bench.charts.marks import (
    arrange_grid,
    draw_line,
    draw_ranges,
    make_plot,
    make_tooltips,
    stack_panels,
    write_number,
)
from ollama_bench.charts.memory import (
    describe_loaded,
    name_resident_memory,
)
from ollama_bench.charts.theme import BLUE, GREEN, GREY, ORANGE, PURPLE

ENERGY_SQL = f"""
SELECT run_id, repeat, {SIZE} AS concurrency, source, coverage_ratio, mean_w, max_w, idle_w,
  energy_wh, joules_per_output_token, net_joules_per_output_token, output_tokens_per_joule,
  gpu_power_w, gpu_joules_per_output_token, system_power_w, system_joules_per_output_token
FROM energy_summary {OF_LEVELS} ORDER BY 3"""
GPU_SQL = f"""
SELECT run_id, repeat, {SIZE} AS concurrency, metric, source, n AS samples, min, mean, max,
  idle_samples
FROM gpu_summary {OF_LEVELS} ORDER BY 3"""
PROCESS_SQL = f"""
SELECT {SIZE} AS concurrency,
  coalesce(watcher || ': ', '')
    || coalesce(role, name, 'process')
    || ' ' || PID AS process,
  avg("CPU%") / 100 AS cpu_cores, max(RSS) / 1048576.0 AS rss_gib,
  max(footprint_bytes) / 1073741824.0 AS footprint_gib,
  max(Threads) AS threads, max(FDs) AS fds, count(*) AS samples
FROM process_metrics {OF_LEVELS}
GROUP BY run_id, concurrency, repeat, watcher, PID
ORDER BY 1"""

GPU_METRICS = (  # metric, title, factor, colour
    ("gpu_power_w", "GPU power (W)", 1, ORANGE),
    ("gpu_mhz", "GPU clock (MHz)", 1, PURPLE),
    ("gpu_busy_ratio", "GPU busy (%)", 100, GREEN),
)
ENERGY_FIELDS = (
    ("mean_w", "mean power (W)", ORANGE),
    ("joules_per_output_token", "energy (J per token)", BLUE),
    (
        "net_joules_per_output_token",
        "less idle power (J per token)",
        PURPLE,
    ),
    ("system_power_w", "whole machine (W)", ORANGE),
    (
        "system_joules_per_output_token",
        "whole machine (J per token)",
        BLUE,
    ),
)
GPU_ENERGY_FIELDS = (
    ("gpu_power_w", "GPU alone, mean power (W)", ORANGE),
    (
        "gpu_joules_per_output_token",
        "GPU alone, energy (J per token)",
        BLUE,
    ),
)


def draw_energy(study: Study, rows: list[Row]) -> alt.TopLevelMixin | None:
    """Draw watts and joules per token; those of the GPU alone where no more is known."""
    panels = []
    for field, title, colour in ENERGY_FIELDS + GPU_ENERGY_FIELDS * any(
        map(is_of_gpu, rows)
    ):
        known = [row for row in rows if row[field] is not None]
        if known:
            y = quantity_axis(title, known, field)
            panels.append(draw_line(known, field, y, colour, write_number))
    return stack_panels(panels) if panels else None


def note_on_energy(study: Study, rows: list[Row]) -> str:
    sources = sorted({row["source"] for row in rows if row["source"]})
    if not sources:
        return ""
    alone = (
        " GPU alone: the CPU's share is not known."
        if any(map(is_of_gpu, rows))
        else ""
    )
    names = ", ".join(sources)
    return f"Power source: {names}.{alone} Means of a level; energy where samples cover it."


def draw_gpu(study: Study, rows: list[Row]) -> alt.TopLevelMixin | None:
    """Draw the GPU's power, clock, how busy it was and how often it was not."""
    panels = []
    for metric, title, factor, colour in GPU_METRICS:
        known = [
            scale(row, factor) for row in rows if row["metric"] == metric
        ]
        if known:
            y = quantity_axis(title, known, "max", "mean")
            panels.append(draw_ranges(known, y, colour))
    if idle := share_idle(rows):
        y = quantity_axis("samples with an idle GPU (%)", idle, "idle")
        panels.append(draw_line(idle, "idle", y, GREY, write_number))
    return stack_panels(panels) if panels else None


def share_idle(rows: list[Row]) -> list[Row]:
    """Return each level with the share of its samples in which the GPU was idle; none if none was.

    A mean hides them: a level that waits half of its time looks like one at half speed.
    """
    known = [
        {**row, "idle": 100 * row["idle_samples"] / row["samples"]}
        for row in rows
        if row["metric"] == "gpu_busy_ratio" and row["samples"]
    ]
    return known if any(row["idle"] for row in known) else []


def scale(row: Row, factor: float) -> Row:
    """Return a row with its least, mean and most multiplied."""
    names = ("min", "mean", "max")
    scaled = {
        name: row[name] * factor for name in names if row[name] is not None
    }
    return {**row, **scaled}


def draw_processes(
    study: Study, rows: list[Row]
) -> alt.TopLevelMixin | None:
    """Draw processor, memory, threads and open files of the server's processes."""
    panels = []
    for field, title in (
        ("cpu_cores", "processor (cores, mean)"),
        ("memory_gib", choose_memory(study, rows)),
        ("threads", "threads (most)"),
        ("fds", "open files (most)"),
    ):
        known = [
            {**row, "y": row[field]}
            for row in rows
            if row[field] is not None
        ]
        if known:
            panels.append(draw_lines_by_process(known, title))
    return arrange_grid(panels) if panels else None


def choose_memory(study: Study, rows: list[Row]) -> str:
    """Set memory_gib of each row to the larger of its two figures, and return the axis title.

    Resident memory lacks the GPU's, the footprint that macOS charges lacks mapped files.
    """
    title = f"{name_resident_memory(study)} (GiB, most)"
    for row in rows:
        row["memory_gib"], footprint = (
            row.pop("rss_gib"),
            row.pop("footprint_gib"),
        )
        if (footprint or 0) > (row["memory_gib"] or 0):
            row["memory_gib"], title = (
                footprint,
                "memory with the GPU's (GiB, most)",
            )
    return title


def draw_lines_by_process(rows: list[Row], title: str) -> alt.LayerChart:
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=True))
    colour = alt.Color("process:N", legend=alt.Legend(columns=4))
    through = aggregate_axis(y, "mean(y):Q")
    lines = make_plot(rows).mark_line(strokeWidth=2.5)
    points = make_plot(rows).mark_point()
    return lines.encode(
        x=level_axis(), y=through, color=colour
    ) + points.encode(
        x=level_axis(), y=y, color=colour, tooltip=make_tooltips(rows)
    )


def note_on_processes(study: Study, rows: list[Row]) -> str:
    loaded = describe_loaded(study)
    bare = sorted(
        set(study.by_size()) - {row["concurrency"] for row in rows}
    )
    if not bare:
        return loaded
    levels = ", ".join(map(str, bare))
    return f"Not shown, too short for a sample: {levels} {CROWD}. {loaded}".strip()


ENERGY = Chart(
    "energy",
    "Power and energy",
    ENERGY_SQL,
    draw_energy,
    "power samples",
    note=note_on_energy,
    counts_tokens=True,
)
GPU = Chart(
    "gpu_metrics",
    "The GPU during each level",
    GPU_SQL,
    draw_gpu,
    "GPU samples",
    note="Bar: least to most of the samples at least half within a level; "
    "line and number: the mean over its time. Idle is a GPU busy for less than 5 %.",
)
PROCESSES = Chart(
    "process_metrics",
    "The server's processes during each level",
    PROCESS_SQL,
    draw_processes,
    "process samples",
    note=note_on_processes,
)
