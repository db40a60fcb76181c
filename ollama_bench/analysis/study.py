"""A study: one model on one machine, the runs chosen for it, and all that is known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ollama_bench.statistics.percentiles import (
    MIN_VALUES_FOR_P95,
    MIN_VALUES_FOR_P99,
)

# of a view: columns and their units are documented in schema.sql
Row = dict[str, Any]

# the throughput that levels are compared by
FULL_LOAD = "full_load_tokens_per_s"
# requests of a level that a percentile needs, as in schema.sql
P95_FLOOR, P99_FLOOR = MIN_VALUES_FOR_P95, MIN_VALUES_FOR_P99


@dataclass
class Study:
    """One model on one machine with the runs chosen for it.

    Levels are by concurrency, repeats together.
    """

    model: str
    runs: list[Row]  # of the view runs, oldest first
    # of level_summary, with energy, replies and machine beside
    levels: list[Row]
    targets: list[Row]  # the model on its server, as described in each run
    machine: Row | None  # the computer of the newest run; None if unknown
    outcomes: list[Row]  # of the view outcomes, failures only
    sources: list[Row]  # name, device and scope of what measured the power
    # of the view of that name: levels measured cold and warm
    cache_effect: list[Row]
    # column of request: bound that the newest run was judged by
    objectives: Mapping[str, float]
    # of the view turn_summary: levels of conversations
    turns: list[Row] = field(default_factory=list)
    # of its files: no other model or machine of the results file has it
    folder: str = ""
    # in the table chosen
    number: int = 0
    # which machine, where those that are shown are of several
    place: str = ""
    # the first level of a run, fired again at its end; figures as of levels
    controls: list[Row] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the model, and its machine where there are several."""
        return f"{self.model} on {self.place}" if self.place else self.model

    @property
    def simulated(self) -> bool:
        return any(run["simulated"] for run in self.runs)

    def by_concurrency(self) -> dict[int, list[Row]]:
        """Group the levels by concurrency, rising."""
        groups: dict[int, list[Row]] = {}
        for level in self.levels:
            groups.setdefault(level["concurrency"], []).append(level)
        return groups

    def mean(self, column: str) -> dict[int, float]:
        """Return a column's mean over the repeats of each concurrency that has values."""
        found = {}
        for concurrency, levels in self.by_concurrency().items():
            values = [
                level[column]
                for level in levels
                if level[column] is not None
            ]
            if values:
                found[concurrency] = fmean(values)
        return found


def is_whole(level: Row) -> bool:
    """Tell whether a level came to its end, and the machine did not sleep in it."""
    return level["status"] == "finished" and not level["slept_s"]


def read_arguments(study: Study) -> list[dict[str, object]]:
    """Return what each run was told, by the options' names; {} for an imported one."""
    return [read_arguments_of(run) for run in study.runs]


def read_arguments_of(run: Row) -> dict[str, object]:
    """Return what a run was told; {} where another program wrote something else, too."""
    try:
        arguments = json.loads(run.get("arguments") or "{}")
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}
