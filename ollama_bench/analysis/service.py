"""Hold the requests of each level against the objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlite_utils import Database

from ollama_bench.analysis.study import Row, Study
from ollama_bench.inputs import objectives as known_objectives

Objectives = Mapping[str, float]  # short name: bound

# Until when a request that this client cut had waited, in nanoseconds of the run.
WAITED_UNTIL = {
    "ttft": "coalesce(first_text_ns, request.ended_ns)",
    "ttfat": "coalesce(first_answer_ns, request.ended_ns)",
    "e2e": "request.ended_ns",
}
COMPLETED = "request.status = 'completed'"
# it came at once
HAS_NO_RATE = "output_tokens < 2 OR last_text_ns = first_text_ns"
# by the server, at the end of its context
IS_CUT = "coalesce(1 IN (prompt_cut, reply_cut), 0)"
RATES = ("tpot", "tokens_per_s")


@dataclass(frozen=True)
class Service:
    """How the requests of one level fared by the objectives."""

    asked: int
    completed: int
    good: int  # completed, not cut and met every objective
    met: Mapping[str, int]  # objective: how many of the completed met it
    # objective: its worst value among the completed
    worst: Mapping[str, float | None]
    cut: int = 0  # completed, but its prompt or reply was cut

    @property
    def share(self) -> float:
        return self.good / self.asked if self.asked else 0.0


NO_SERVICE = Service(0, 0, 0, {}, {})


def default_objectives() -> dict[str, float]:
    return known_objectives.parse(known_objectives.DEFAULT)


def stored_objectives(study: Study) -> dict[str, float]:
    """Return the objectives that the newest run was started with, by their short names."""
    return {
        name: study.objectives[column]
        for name, (column, _) in known_objectives.METRICS.items()
        if column in study.objectives
    }


def measure_service(
    database: Database, study: Study, objectives: Objectives
) -> dict[int, Service]:
    """Hold each level's requests against the objectives, by level_id; failures never meet one.

    A request that this client cut counts only if it had missed an objective by then, as in
    level_summary. A level is left out if nothing in it could be judged, if it was interrupted
    (the requests that had ended were the fast ones), or if the machine slept in it.
    """
    parameters = {**objectives, "model": study.model}
    rows = database.query(make_query(objectives), parameters)
    return {row["level_id"]: make_service(row, objectives) for row in rows}


def judged_part(study: Study, services: Mapping[int, Service]) -> Study:
    """Drop the levels in which no request can be judged."""
    levels = [
        level for level in study.levels if level["level_id"] in services
    ]
    effects = [
        pair
        for pair in study.cache_effect
        if {pair["cold_level_id"], pair["warm_level_id"]} <= services.keys()
    ]
    return replace(study, levels=levels, cache_effect=effects)


def make_service(row: Row, objectives: Objectives) -> Service:
    met = {name: row[f"met_{name}"] for name in objectives}
    worst = {name: row[f"worst_{name}"] for name in objectives}
    return Service(
        row["asked"], row["completed"], row["good"], met, worst, row["cut"]
    )


def make_query(objectives: Objectives) -> str:
    """Return SQL for the counts of each level; the names are known, the bounds are parameters."""
    columns = [
        "level_id",
        "count(*) AS asked",
        f"sum({COMPLETED}) AS completed",
        f"sum({COMPLETED} AND {IS_CUT}) AS cut",
    ]
    tests = [COMPLETED, f"NOT {IS_CUT}"]
    for name in objectives:
        column, less_is_better = known_objectives.METRICS[name]
        worst = "max" if less_is_better else "min"
        test = meets(name)
        tests.append(test)
        columns.append(f"sum({COMPLETED} AND {test}) AS met_{name}")
        columns.append(
            f"{worst}(CASE WHEN {COMPLETED} THEN {column} END) AS worst_{name}"
        )
    columns.append(f"sum({' AND '.join(tests)}) AS good")
    missed = [
        missed_when_cut(name) for name in objectives if name in WAITED_UNTIL
    ]
    return f"""
SELECT {", ".join(columns)} FROM request
JOIN level ON level.id = level_id JOIN chosen USING (run_id, model)
WHERE level.model = :model AND level.status = 'finished' AND coalesce(level.slept_s, 0) = 0
  AND request.status <> 'in_flight'
  AND (request.status <> 'cancelled' OR {" OR ".join(["0", *missed])})
GROUP BY level_id"""


def meets(name: str) -> str:
    """Return SQL for whether a request meets an objective; one that came at once has every rate."""
    column, less_is_better = known_objectives.METRICS[name]
    comparison = "<=" if less_is_better else ">="
    otherwise = f"{HAS_NO_RATE}, 0" if name in RATES else "0"
    return f"coalesce({column} {comparison} :{name}, {otherwise})"


def missed_when_cut(name: str) -> str:
    return (
        f"{WAITED_UNTIL[name]} - coalesce(due_ns, sent_ns) > :{name} * 1e9"
    )
