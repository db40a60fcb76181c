"""Hold the requests of each level against the objectives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sqlite_utils import Database

from ollama_bench.analysis.study import IN_STUDY, Row, Study
from ollama_bench.inputs import objectives as known_objectives
from ollama_bench.inputs.objectives import (
    Demand,
    Objective,
    Objectives,
    list_demands,
)

# Until when a request that this client cut had waited, in nanoseconds of the run.
WAITED_UNTIL = {
    "ttft": "coalesce(first_text_ns, request.ended_ns)",
    "ttfat": "coalesce(first_answer_ns, request.ended_ns)",
    "e2e": "request.ended_ns",
}
COMPLETED = "request.status = 'completed'"
ASKED_NS = "coalesce(due_ns, sent_ns, request.ended_ns)"
FAILED_STRAIN = 1e9  # of what met no bound, however loose
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
class DemandOutcome:
    """How many of a level's requests met the objectives of one demand."""

    demand: Demand
    ended: int
    good: int
    undecided: int = 0  # cut by this client before they had missed one
    # how near to its bounds each came that can be judged, in the order of asking: good up to 1
    strains: tuple[float, ...] = ()

    @property
    def asked(self) -> int:
        """Return of how many requests it can be told."""
        return self.ended - self.undecided

    @property
    def is_reached(self) -> bool:
        """Tell whether enough of the requests are known to be good."""
        share = self.good / self.asked if self.asked else 0.0
        return share >= self.demand.enough and self.is_decided

    @property
    def is_decided(self) -> bool:
        """Tell whether so few are undecided that it can be judged."""
        return known_objectives.is_decided(
            self.undecided, self.ended, self.demand.enough
        )

    @property
    def may_be_reached(self) -> bool:
        """Tell whether it is, or would be had the undecided ones been good."""
        most = self.good + self.undecided
        return self.is_reached or (
            not self.is_decided and most >= self.demand.enough * self.ended
        )


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
    demands: tuple[DemandOutcome, ...] = ()

    @property
    def share(self) -> float:
        """Return which share of those that can be judged met every objective."""
        return self.good / self.asked if self.asked else 0.0

    @property
    def ended(self) -> int:
        return self.asked + self.undecided

    @property
    def may_be_served(self) -> bool:
        """Tell whether the undecided ones would do, had they met the objectives."""
        return not self.is_served and all(
            outcome.may_be_reached for outcome in self.demands
        )

    @property
    def has_no_rates(self) -> bool:
        """Tell whether all that is missed are speeds that nobody knows: replies in one piece."""
        enough = known_objectives.ENOUGH_RATIO * self.completed
        missed = [name for name, met in self.met.items() if met < enough]
        is_whole = self.completed == self.ended > 0 and not self.cut
        unknown = [
            name in RATES and self.worst[name] is None for name in missed
        ]
        return is_whole and bool(missed) and all(unknown)

    @property
    def is_served(self) -> bool:
        """Tell whether every demand is known to be reached."""
        return bool(self.demands) and all(
            outcome.is_reached for outcome in self.demands
        )


NO_SERVICE = Service(0, 0, 0, {}, {})


def default_objectives() -> Objectives:
    return known_objectives.parse(known_objectives.DEFAULT)


def stored_objectives(study: Study) -> dict[str, Objective]:
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
    bounds = {name: bound for name, (bound, _) in objectives.items()}
    parameters = {**bounds, **study.key}
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
        if {pair["cold_level_id"], pair["warm_level_id"]}
        <= services.keys()
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
        tuple(
            DemandOutcome(
                demand,
                row["requests"],
                row[f"good_{number}"],
                row[f"undecided_{number}"],
                read_strains(row[f"strains_{number}"]),
            )
            for number, demand in enumerate(list_demands(objectives))
        ),
    )


def read_strains(text: str) -> tuple[float, ...]:
    """Return the strains of a level's requests, in the order of asking."""
    pairs = sorted(pair for pair in json.loads(text) if None not in pair)
    return tuple(strain for _, strain in pairs)


def make_query(objectives: Objectives) -> str:
    """Return SQL for the counts of each level; the names are known, the bounds are parameters."""
    columns = [
        "request.level_id",
        "count(*) AS requests",
        f"sum({COMPLETED}) AS completed",
        f"sum({COMPLETED} AND {IS_CUT}) AS cut",
    ]
    for name in objectives:
        column, less_is_better = judged_column(name)
        worst = "max" if less_is_better else "min"
        columns.append(f"sum({COMPLETED} AND {meets(name)}) AS met_{name}")
        columns.append(
            f"{worst}(CASE WHEN {COMPLETED} THEN {column} END) AS worst_{name}"
        )
    columns += count_good(objectives, "")
    for number, demand in enumerate(list_demands(objectives)):
        columns += count_good(demand.names, f"_{number}")
        strain = measure_strain(demand.names)
        columns.append(
            f"json_group_array(json_array({ASKED_NS}, {strain})) AS strains_{number}"
        )
    return f"""
SELECT {", ".join(columns)} FROM ({REQUESTS}) AS request
JOIN level ON level.id = request.level_id JOIN chosen USING (run_id, model)
JOIN judged_request ON request_id = request.id
WHERE level.model = :model AND level.id IN (SELECT id FROM level WHERE {IN_STUDY})
  AND level.status = 'finished' AND coalesce(level.slept_s, 0) = 0
  AND request.status <> 'in_flight'
GROUP BY request.level_id"""


def count_good(names: Iterable[str], suffix: str) -> list[str]:
    """Return SQL for how many requests met these objectives, and of how many it cannot be told."""
    tests = [COMPLETED, f"NOT {IS_CUT}", *map(meets, names)]
    missed = " OR ".join(map(missed_when_cut, names)) or "0"
    return [
        f"sum({' AND '.join(tests)}) AS good{suffix}",
        f"sum(ending = 'cancelled' AND NOT coalesce({missed}, 0)) AS undecided{suffix}",
    ]


def measure_strain(names: Iterable[str]) -> str:
    """Return SQL for how near to its bounds a request came: good up to 1, NULL is undecided."""
    strains, missed = ["0"], ["0"]
    for name in names:
        column, less_is_better = judged_column(name)
        ratio = f"{column} / :{name}"
        if not less_is_better:
            ratio = f":{name} / {column}"
        alone = (
            f"CASE WHEN {HAS_NO_RATE} THEN 0 END, "
            if name in RATES
            else ""
        )
        strains.append(f"coalesce({ratio}, {alone}{FAILED_STRAIN})")
        missed.append(f"coalesce({missed_when_cut(name)}, 0)")
    return f"""CASE WHEN {COMPLETED} AND NOT {IS_CUT} THEN max({", ".join(strains)})
  WHEN ending = 'cancelled' AND NOT ({" OR ".join(missed)}) THEN NULL
  ELSE {FAILED_STRAIN} END"""


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
