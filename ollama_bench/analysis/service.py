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
# by the server, at the end of its context
IS_CUT = "coalesce(1 IN (prompt_cut, reply_cut), 0)"
# how fast a request that this client cut had come until then: it missed
TOO_SLOW = {
    "tpot": "request.ended_ns - first_text_ns > :tpot * 1e9 * seen_tokens",
    "tokens_per_s": "seen_tokens * 1e9 < :tokens_per_s * (request.ended_ns - first_text_ns)",
}
# a single token; chunks may hold several
HAS_NO_RATE = "output_tokens < 2 AND output_tokens_source IS NOT 'chunks'"
RATES = {"tpot": "stream_tpot_s", "tokens_per_s": "stream_tokens_per_s"}
# with the tokens seen of each: of those that were cut the server told no count
REQUESTS = """
SELECT request.*, output_tokens * CASE WHEN output_tokens_source = 'chunks'
  THEN coalesce(counted.tokens_per_chunk, 1) ELSE 1 END AS seen_tokens
FROM request LEFT JOIN (
  SELECT level_id, sum(output_tokens) * 1.0 / sum(chunks) AS tokens_per_chunk
  FROM request WHERE status = 'completed' AND tokens_per_chunk IS NOT NULL
  GROUP BY level_id) AS counted USING (level_id)"""


@dataclass(frozen=True)
class Service:
    """How the requests of one level fared by the objectives."""

    # those of which it can be told whether they met the objectives
    asked: int
    completed: int
    good: int  # completed, not cut and met every objective
    met: Mapping[str, int]  # objective: how many of the completed met it
    # objective: its worst value among the completed
    worst: Mapping[str, float | None]
    cut: int = 0  # completed, but its prompt or reply was cut
    # cut by this client before they had missed an objective
    undecided: int = 0

    @property
    def share(self) -> float:
        """Return which share of those that can be judged met every objective."""
        return self.good / self.asked if self.asked else 0.0

    @property
    def is_decided(self) -> bool:
        """Tell whether so few are undecided that the level can be judged."""
        return known_objectives.is_decided(self.undecided, self.ended)

    @property
    def ended(self) -> int:
        return self.asked + self.undecided

    @property
    def may_be_served(self) -> bool:
        """Tell whether the undecided ones would do, had they met the objectives."""
        return (
            not self.is_decided
            and self.good + self.undecided
            >= known_objectives.ENOUGH_RATIO * self.ended
        )

    @property
    def is_served(self) -> bool:
        """Tell whether enough of the requests are known to have met every objective."""
        is_enough = self.share >= known_objectives.ENOUGH_RATIO
        return is_enough and self.is_decided


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

    A request that this client cut has missed an objective if it had waited too long by then, or
    if its tokens had come too slowly: all that were seen / the time from the first to the cut.
    Otherwise it is undecided, as in level_summary. A level is left out if it was interrupted (the
    requests that had ended were the fast ones), or if the machine slept in it.
    """
    parameters = {**objectives, "study": study.number}
    rows = database.query(make_query(objectives), parameters)
    return {row["level_id"]: make_service(row, objectives) for row in rows}


def judged_part(study: Study, services: Mapping[int, Service]) -> Study:
    """Drop the levels that are not judged: interrupted or slept through."""
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
        row["requests"] - row["undecided"],
        row["completed"],
        row["good"],
        met,
        worst,
        row["cut"],
        row["undecided"],
    )


def make_query(objectives: Objectives) -> str:
    """Return SQL for the counts of each level; the names are known, the bounds are parameters."""
    columns = [
        "request.level_id",
        "count(*) AS requests",
        f"sum({COMPLETED}) AS completed",
        f"sum({COMPLETED} AND {IS_CUT}) AS cut",
    ]
    tests = [COMPLETED, f"NOT {IS_CUT}"]
    for name in objectives:
        column, less_is_better = judged_column(name)
        worst = "max" if less_is_better else "min"
        test = meets(name)
        tests.append(test)
        columns.append(f"sum({COMPLETED} AND {test}) AS met_{name}")
        columns.append(
            f"{worst}(CASE WHEN {COMPLETED} THEN {column} END) AS worst_{name}"
        )
    columns.append(f"sum({' AND '.join(tests)}) AS good")
    missed = " OR ".join(map(missed_when_cut, objectives)) or "0"
    columns.append(
        f"sum(ending = 'cancelled' AND NOT coalesce({missed}, 0)) AS undecided"
    )
    return f"""
SELECT {", ".join(columns)} FROM ({REQUESTS}) AS request
JOIN level ON level.id = request.level_id JOIN chosen USING (run_id, model)
JOIN judged_request ON request_id = request.id
WHERE chosen.study = :study AND level.status = 'finished' AND coalesce(level.slept_s, 0) = 0
  AND request.status <> 'in_flight'
GROUP BY request.level_id"""


def judged_column(name: str) -> tuple[str, bool]:
    """Return the column of request that an objective bounds, and whether less is better."""
    column, less_is_better = known_objectives.METRICS[name]
    return RATES.get(name, column), less_is_better


def meets(name: str) -> str:
    """Return SQL for whether a request meets an objective.

    A reply of a single token has no rate and misses none; several that came at once meet none.
    """
    column, less_is_better = judged_column(name)
    comparison = "<=" if less_is_better else ">="
    otherwise = f"{HAS_NO_RATE}, 0" if name in RATES else "0"
    return f"coalesce({column} {comparison} :{name}, {otherwise})"


def missed_when_cut(name: str) -> str:
    """Return SQL for whether a request had missed an objective when it was cut; NULL is unknown."""
    if name in TOO_SLOW:
        return TOO_SLOW[name]
    return (
        f"{WAITED_UNTIL[name]} - coalesce(due_ns, sent_ns) > :{name} * 1e9"
    )
