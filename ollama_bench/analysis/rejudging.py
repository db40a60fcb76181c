"""A study as other objectives than its run's judge it (analyze.py --slo)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlite_utils import Database

from ollama_bench.analysis.service import NO_SERVICE, Service
from ollama_bench.analysis.study import Row, Study

# columns of level_summary that the objectives decide, where nothing can be judged
UNKNOWN: Row = {
    "good_requests": None,
    "good_ratio": None,
    "good_ratio_low": None,
    "good_ratio_high": None,
    "goodput_per_s": None,
}


# seconds of a level's steady part, else of all of it
JUDGED_S = """
SELECT CASE WHEN steady_end_ns > steady_start_ns THEN steady_end_ns - steady_start_ns
  ELSE ended_ns - started_ns END / 1e9
FROM level WHERE id = ?"""


def rejudge(
    database: Database, study: Study, services: Mapping[int, Service]
) -> Study:
    """Return the study with the good requests of these services, by level_id.

    Its searches looked for the most that met other objectives: their levels are levels like any.
    """
    levels = [
        level
        | judge_level(
            database,
            level,
            services.get(level["level_id"], NO_SERVICE),
        )
        for level in study.levels
    ]
    return replace(study, levels=levels, is_rejudged=True)


def judge_level(database: Database, level: Row, service: Service) -> Row:
    """Return the columns that count a level's good requests, as in level_summary.

    The interval of their share stays unknown.
    """
    if not service.asked or service.has_no_rates:
        return UNKNOWN
    ((judged_s,),) = database.execute(JUDGED_S, [level["level_id"]])
    return UNKNOWN | {
        "good_requests": service.good,
        "good_ratio": service.share,
        "undecided_requests": service.undecided,
        "goodput_per_s": service.good / judged_s if judged_s else None,
    }
