"""The page of a run: failures, answer, table, every chart, and its requests."""

from __future__ import annotations

import json
from html import escape

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.study import Row, Study, size_of
from ollama_bench.analysis.verdict import Verdict, judge
from ollama_bench.analysis.wording import name_run
from ollama_bench.browsing.chart_source import write_query
from ollama_bench.browsing.joint_charts import (
    write_joint_charts,
    write_more_charts,
)
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.live_page import is_live, write_live_page
from ollama_bench.browsing.shell import (
    MOST_REQUESTS,
    write_chart,
    write_failures,
    write_list,
    write_page,
    write_requests,
)
from ollama_bench.charts.catalog import CHARTS
from ollama_bench.charts.chart import Chart
from ollama_bench.charts.timeline_charts import TIMELINE
from ollama_bench.report.level_table import write_terms
from ollama_bench.report.page import write_chapter
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.output import clean
from ollama_bench.terminal.rows import name_group, name_load

RUN = "SELECT * FROM runs WHERE run_id = ?"
LEVELS = "SELECT *, id AS level_id FROM level WHERE run_id = ? ORDER BY id"
# failed ones first, then as they were asked
REQUESTS = """
SELECT level_id, level.concurrency, probe_rate_per_s, number, ending, ttft_s, e2e_s, output_tokens,
  stream_tokens_per_s, coalesce(due_ns, sent_ns) / 1e9 AS asked_s,
  coalesce(request.ended_ns, last_text_ns) / 1e9 AS ended_s
FROM request JOIN level ON level.id = level_id WHERE {condition}
ORDER BY ending IN ('completed', 'in_flight'), coalesce(due_ns, sent_ns), number LIMIT ?"""
COUNT = """
SELECT count(*) AS n FROM request JOIN level ON level.id = level_id WHERE {condition}"""
REASON = """
SELECT detail FROM event WHERE run_id = ? AND kind = 'run_failed' ORDER BY id DESC LIMIT 1"""
OF_RUN, OF_LEVEL = "level.run_id = ?", "level_id = ?"


def write_run_page(
    database: Database, run_id: int, links: Links
) -> str | None:
    """Return the page as HTML; None if the file has no such run."""
    run = next(database.query(RUN, [run_id]), None)
    if run is None:
        return None
    if is_live(run):
        return write_live_page(run, write_run_facts(run), links)
    levels = list(database.query(LEVELS, [run_id]))
    try:
        studies = selection.choose(database, [], [run_id])
    except ResultsError:  # nothing finished in it
        studies = []
    verdicts = [judge(database, study) for study in studies]
    outcomes = [outcome for study in studies for outcome in study.outcomes]
    parts = [
        write_run_facts(run),
        write_reason(database, run),
        write_failures(outcomes, links),
        write_levels(levels, links),
        write_places(levels, studies, links),
        write_joint_charts(verdicts, run_id, links),
        *(write_study(one, run_id, links) for one in verdicts),
        write_run_requests(database, studies, run_id, links),
    ]
    title = f"Run {name_run(run)}"
    return write_page(title, [], "\n".join(parts), links)


def write_run_facts(run: Row) -> str:
    """Return what the run was, as terms."""
    words = {
        "models": run["models"],
        "state": run["status"],
        "began": f"{run['started_utc']} UTC",
        "machine": run["chip"],
        "command": run["command"],
    }
    return write_terms(
        (term, str(text)) for term, text in words.items() if text
    )


def write_reason(database: Database, run: Row) -> str:
    """Return why a run failed; "" where it did not, or that is not known."""
    found = next(database.query(REASON, [run["run_id"]]), None)
    if run["status"] != "failed" or found is None:
        return ""
    reason = escape(clean(found["detail"] or ""))
    return f'<p class="warnings">It failed: {reason}</p>'


def write_levels(levels: list[Row], links: Links) -> str:
    """Return a link to each level; "" without any."""
    if not levels:
        return '<p class="hint">This run has no levels.</p>'
    has_several = len(set(map(name_group, levels))) > 1
    names = [
        f"{name_load(level)} ({name_group(level)})"
        if has_several
        else name_load(level)
        for level in levels
    ]
    ids = [level["level_id"] for level in levels]
    pages = zip(names, map(links.level, ids), strict=True)
    playbacks = zip(names, map(links.playback, ids), strict=True)
    return (
        f"<p>Levels: {write_list(pages)}</p>"
        f"<p>Played back in real time: {write_list(playbacks)}</p>"
    )


def write_places(
    levels: list[Row], studies: list[Study], links: Links
) -> str:
    """Return where the page of each level is, for the marks of the charts of its study."""
    folders = {
        level["level_id"]: study.folder
        for study in studies
        for level in study.levels
    }
    places = [
        {
            "level_id": level["level_id"],
            "study": folders.get(level["level_id"]),
            # as in the charts
            "concurrency": size_of(level),
            "repeat": level["repeat"],
            "page": links.level(level["level_id"]),
        }
        for level in levels
    ]
    text = json.dumps(places)
    return f'<script type="application/json" id="levels">{text}</script>'


def write_study(verdict: Verdict, run_id: int, links: Links) -> str:
    """Return what report.html says of a model, and its charts but the timeline."""
    charts = "".join(
        place_chart(chart, verdict.study, run_id, links)
        for chart in CHARTS
        if chart is not TIMELINE and chart.says_more(verdict.study)
    )
    more = write_more_charts(verdict, run_id, links)
    return write_chapter(verdict, charts + more)


def place_chart(
    chart: Chart, study: Study, run_id: int, links: Links
) -> str:
    return write_chart(
        chart.title,
        links.chart(links.run(run_id), chart.name, study.folder),
        write_query(chart, study, links),
    )


def write_run_requests(
    database: Database, studies: list[Study], run_id: int, links: Links
) -> str:
    """Return every request on a time line, and the rows that a stretch of it chooses."""
    requests, count = read_first_requests(database, OF_RUN, run_id)
    if not count:
        return ""
    sql = (
        "SELECT request.* FROM request JOIN level ON level.id = level_id "
        "WHERE run_id = :run_id"
    )
    all_rows = links.query(sql, {"run_id": run_id})
    timelines = "".join(
        place_chart(TIMELINE, study, run_id, links) for study in studies
    )
    return write_requests(timelines, requests, count, all_rows, links)


def read_first_requests(
    database: Database, condition: str, value: int
) -> tuple[list[Row], int]:
    """Return the first requests of a run or a level, and how many there are."""
    rows = database.query(
        REQUESTS.format(condition=condition), [value, MOST_REQUESTS]
    )
    count = next(
        database.query(COUNT.format(condition=condition), [value])
    )
    return list(rows), count["n"]
