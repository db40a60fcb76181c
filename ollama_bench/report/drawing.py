"""Draw every chart as a PNG, and write the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sqlite_utils import Database

from ollama_bench.analysis.verdict import Verdict
from ollama_bench.charts import catalog, png
from ollama_bench.charts.chart import Chart
from ollama_bench.charts.model_charts import compare_models
from ollama_bench.report import page
from ollama_bench.report.terminal_report import print_wrapped


def preload() -> None:
    """Read the page's files now: the user may not be allowed to once root is given up."""
    for name in ("page.html", "page.css", "page.js"):
        page.read_asset(name)


def draw(
    database: Database, verdicts: Sequence[Verdict], out: Path
) -> None:
    """Draw the charts of each study and those across models below out, and the page of all.

    Prints what is not drawn and why. Raises OSError.
    """
    drawn: dict[str, page.TITLED] = {
        verdict.study.model: [] for verdict in verdicts
    }
    absent: dict[str, list[str]] = {}
    written = 0
    to_draw = [
        (verdict, chart) for verdict in verdicts for chart in catalog.CHARTS
    ]
    for place, (verdict, chart) in enumerate(to_draw, 1):
        show_progress(f"drawing {place} of {len(to_draw)}: {chart.name}")
        model, file = (
            verdict.study.model,
            f"{verdict.study.folder}/{chart.name}.png",
        )
        spec = chart.draw(database, verdict.study, verdict.objectives)
        if spec is None:
            absent.setdefault(chart.needs, []).append(file)
            continue
        png.save_png(spec, out / file, out)
        written += 1
        if is_on_page(chart, verdict):
            drawn[model].append((chart.title, spec))
    across = compare_models([verdict.study for verdict in verdicts])
    for name, spec in across.items():
        png.save_png(spec, out / f"{name}.png", out)
    show_progress("writing the report")
    path = page.write(out / "report.html", verdicts, drawn, across)
    show_progress("")
    for needs, names in absent.items():
        print_wrapped(
            f"not drawn, no {needs} in this file: {', '.join(names)}"
        )
    print_wrapped(
        f"{written + len(across)} charts in {out}/, all of them live in {path}"
    )


def is_on_page(chart: Chart, verdict: Verdict) -> bool:
    """Return whether the page shows a chart: not if a sibling shows the same levels."""
    return chart.says_more(verdict.study)


def show_progress(text: str) -> None:
    """Show one line that replaces itself, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
