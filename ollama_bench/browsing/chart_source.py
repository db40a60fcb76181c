"""Where a chart of a page comes from: its spec, and a query that Datasette can run."""

from __future__ import annotations

import re
from dataclasses import replace

from sqlite_utils import Database

from ollama_bench.analysis import selection
from ollama_bench.analysis.service import (
    default_objectives,
    stored_objectives,
)
from ollama_bench.analysis.study import Study
from ollama_bench.browsing import joint_charts
from ollama_bench.browsing.links import Links
from ollama_bench.charts.catalog import CHARTS
from ollama_bench.charts.chart import Chart, Spec
from ollama_bench.storage.results_file import ResultsError

BY_NAME = {chart.name: chart for chart in CHARTS}
LEVEL = """
SELECT run_id, model, asked_prompt_tokens, prompt_mix FROM level WHERE id = ?"""
OTHER_LEVELS = """
INSERT INTO aside SELECT id FROM level WHERE run_id = ? AND id NOT IN (SELECT level_id FROM aside)
  AND id <> ?"""
ITS_TIMELINE = """(SELECT * FROM request_timeline
  WHERE level_id NOT IN (SELECT level_id FROM aside))"""
# the TEMP tables of a selection, as Datasette's own connection can have them
SELECTION = """chosen (run_id, model, machine) AS (VALUES (:run_id, :model, :machine)),
aside (level_id) AS (
  SELECT level_id FROM level_standing
  WHERE run_id = :run_id AND model = :model
    AND (superseded OR is_warm_twin OR is_control))"""


def draw_for_run(
    database: Database, run_id: int, folder: str, name: str
) -> Spec | None:
    """Return the spec of a chart of a run; None without data for it.

    folder: that of the files of the study that it is of. Raises ResultsError.
    """
    studies = selection.choose(database, [], [run_id])
    study = next((one for one in studies if one.folder == folder), None)
    if study is None:
        raise ResultsError(f"run {run_id} has no {folder}")
    if name not in joint_charts.NAMES:
        return draw(database, study, BY_NAME[name])
    return leave_to_page(
        joint_charts.draw_joint_chart(database, studies, study, name)
    )


def draw_for_level(
    database: Database, level_id: int, name: str
) -> Spec | None:
    """Return the spec of a chart of one level; None without data for it. Raises ResultsError."""
    study = choose_level(database, level_id)
    chart = BY_NAME[name]
    sql = chart.sql.replace("request_timeline", ITS_TIMELINE)
    return draw(database, study, replace(chart, sql=sql))


def choose_level(database: Database, level_id: int) -> Study:
    """Select one level as if the others were not there. Raises ResultsError if it is unknown."""
    level = next(database.query(LEVEL, [level_id]), None)
    if level is None:
        raise ResultsError(f"no level {level_id} in this file")
    run_id, model = level["run_id"], level["model"]
    chosen = selection.choose_runs(database, [model], [run_id])
    [(_, machine)] = chosen
    database.execute(OTHER_LEVELS, [run_id, level_id])
    database.execute("DELETE FROM aside WHERE level_id = ?", [level_id])
    return selection.read_study(
        database,
        model,
        machine,
        level["asked_prompt_tokens"],
        level["prompt_mix"],
    )


def draw(database: Database, study: Study, chart: Chart) -> Spec | None:
    objectives = stored_objectives(study) or default_objectives()
    return leave_to_page(chart.draw(database, study, objectives))


def leave_to_page(spec: Spec | None) -> Spec | None:
    """Return a spec without what the page has of its own: title and look."""
    if spec is not None:
        for name in ("title", "config"):
            spec.pop(name, None)
    return spec


def write_query(chart: Chart, study: Study, links: Links) -> str:
    """Return the address of the rows of a chart, by the SQL that feeds it."""
    sql = re.sub(r"^\s*WITH ", "", chart.sql.strip())
    is_with = sql != chart.sql.strip()
    joint = ",\n" if is_with else "\n"
    parameters = {
        "run_id": study.runs[-1]["run_id"],
        "top": chart.top,
        **study.key,
    }
    query = f"WITH {SELECTION}{joint}{sql}"
    # in an address there is no NULL
    for name in [
        key for key, value in parameters.items() if value is None
    ]:
        query = re.sub(rf":{name}\b", "NULL", query)
        del parameters[name]
    return links.query(query, parameters)
