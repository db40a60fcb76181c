"""Several models side by side."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt

from ollama_bench.analysis.study import Row, Study
from ollama_bench.charts.axes import (
    CROWD,
    level_axis,
    log_time_axis,
    quantity_axis,
)
from ollama_bench.charts.chart import (
    WORDS_NOTE,
    Spec,
    counts_words,
    finish,
)
from ollama_bench.charts.marks import make_plot, write_number, write_time

LONG_NAME = 45  # letters: two such names have no room side by side
WAIT = "ttft_mean_s"
# by file name: column of a level, title, title of its axis
COLUMNS = {
    "comparative_throughput": (
        "output_tokens_per_s",
        "All requests together",
        "tokens/s",
    ),
    "comparative_wait": (
        WAIT,
        "How long a request waits",
        "mean wait",
    ),
    "comparative_efficiency": (
        "output_tokens_per_joule",
        "Tokens for a joule",
        "output tokens per joule",
    ),
}


def compare_models(studies: list[Study]) -> dict[str, Spec]:
    """Return the charts across models by file name; none for fewer than two models."""
    found = {
        name: compare_column(studies, *column)
        for name, column in COLUMNS.items()
    }
    return {name: spec for name, spec in found.items() if spec}


def compare_column(
    studies: list[Study],
    column: str,
    title: str,
    y_title: str,
) -> Spec | None:
    """Return a line for each model over the levels; None if fewer than two have the column."""
    is_time = column == WAIT
    rows = rows_of_models(
        studies, column, write_time if is_time else write_number
    )
    models = list(dict.fromkeys(row["model"] for row in rows))
    if len(models) < 2:
        return None
    y = quantity_axis(y_title, rows, "y")
    if is_time:
        y = log_time_axis([row["y"] for row in rows], y_title)
    tooltip = [
        "model:N",
        alt.Tooltip("concurrency:O", title=CROWD),
        alt.Tooltip("text:N", title=y_title),
    ]
    colour = alt.Color(
        "model:N",
        scale=alt.Scale(domain=models),
        legend=alt.Legend(
            columns=1 if max(map(len, models)) > LONG_NAME else 2,
            labelLimit=640,
        ),
    )
    lines = make_plot(rows).mark_line(point=True, strokeWidth=2.5)
    chart = lines.encode(
        x=level_axis(), y=y, color=colour, tooltip=tooltip
    )
    shown = [study for study in studies if study.name in models]
    notes = [] if is_time else notes_on_words(shown)
    simulated = any(study.simulated for study in studies)
    return finish(
        chart,
        title,
        "means of the levels' repeats",
        simulated,
        notes=notes,
        levels=[level for study in studies for level in study.levels],
    )


def rows_of_models(
    studies: list[Study], column: str, write: Callable[[float], str]
) -> list[Row]:
    return [
        {
            "concurrency": n,
            "model": study.name,
            "study": study.folder,
            "y": value,
            "text": write(value),
        }
        for study in studies
        for n, value in study.mean(column).items()
        if value
    ]


def notes_on_words(studies: list[Study]) -> list[str]:
    """Say whose tokens are words."""
    counting = [study.name for study in studies if counts_words(study)]
    if not counting:
        return []
    if len(counting) == len(studies):
        return [WORDS_NOTE]
    return [f"Tokens of {', '.join(counting)} are words."]
