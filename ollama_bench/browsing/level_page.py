"""The page of a level: its figures, failures, timeline and requests."""

from __future__ import annotations

from html import escape

from sqlite_utils import Database

from ollama_bench.analysis.study import Study
from ollama_bench.browsing.chart_source import choose_level, write_query
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.run_page import (
    OF_LEVEL,
    read_first_requests,
    write_places,
)
from ollama_bench.browsing.shell import (
    write_chart,
    write_failures,
    write_list,
    write_page,
    write_requests,
)
from ollama_bench.charts import (
    request_charts,
    stream_charts,
    timeline_charts,
)
from ollama_bench.charts.chart import Chart
from ollama_bench.charts.timeline_charts import TIMELINE
from ollama_bench.report.host_table import write_hosts
from ollama_bench.report.level_table import write_table
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.rows import name_load

LEVEL = "SELECT *, id AS level_id FROM level WHERE id = ?"
# what tells something of a single level
CHARTS = {
    timeline_charts.EVOLUTION: "Requests over time",
    request_charts.WAITS: request_charts.WAITS.title,
    stream_charts.GAPS: stream_charts.GAPS.title,
}
# views whose rows speak of a level
VIEWS = (
    "level_summary",
    "level_percentiles",
    "energy_summary",
    "outcomes",
)


def write_level_page(
    database: Database, level_id: int, links: Links
) -> str | None:
    """Return the page as HTML; None if the file has no such level."""
    level = next(database.query(LEVEL, [level_id]), None)
    if level is None:
        return None
    try:
        study = choose_level(database, level_id)
    except ResultsError:  # nothing finished in its run
        study = None
    page = links.level(level_id)
    requests, count = read_first_requests(database, OF_LEVEL, level_id)
    rows = {
        view: links.rows(view, level_id=level_id)
        for view in (*VIEWS, "request")
    }
    timeline = ""
    if study and study.levels:
        timeline = place_chart(
            TIMELINE, TIMELINE.title, study, page, links
        )
    parts = [
        f'<p><a href="{escape(links.playback(level_id))}">'
        "Play it back in real time</a></p>",
        write_places([level], [study] if study else [], links),
        write_study(study, page, links) if study else "",
        write_requests(timeline, requests, count, rows["request"], links),
        f"<h2>Rows</h2><p>{write_list(rows.items())}</p>",
    ]
    title = f"Level {name_load(level)}, {level['model']}"
    run = (f"run {level['run_id']}", links.run(level["run_id"]))
    return write_page(title, [run], "\n".join(parts), links)


def write_study(study: Study, page: str, links: Links) -> str:
    """Return failures, figures and charts of a level that was chosen alone. page: its own."""
    if not study.levels:
        return '<p class="hint">Nothing of it has finished.</p>'
    return "\n".join(
        [
            write_failures(study.outcomes, links),
            write_table(study.levels),
            write_hosts(study),
            *(
                place_chart(chart, title, study, page, links)
                for chart, title in CHARTS.items()
            ),
        ]
    )


def place_chart(
    chart: Chart, title: str, study: Study, page: str, links: Links
) -> str:
    return write_chart(
        title,
        links.chart(page, chart.name, study.folder),
        write_query(chart, study, links),
    )
