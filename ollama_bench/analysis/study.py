"""A study: one model on one machine, the runs chosen for it, and all that is known of them.

Levels whose prompts were asked to have another length are a study of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ollama_bench.inputs.objectives import Objective
from ollama_bench.statistics.percentiles import (
    MIN_VALUES_FOR_P95,
    MIN_VALUES_FOR_P99,
)
from ollama_bench.terminal.output import LONGEST_NAME, clean_line

# of a view: columns and their units are documented in schema.sql
Row = dict[str, Any]
# how much load a level is: an int, but for the requests/s of a search for a rate
Size = Any

# SQL: a level is of the length that a study is of
OF_LENGTH = (
    "(asked_prompt_tokens, prompt_mix) IS (:prompt_tokens, :prompt_mix)"
)
# SQL: and of the machine that it is of
IN_STUDY = f"{OF_LENGTH} AND run_id IN (SELECT run_id FROM chosen WHERE machine = :machine)"
# the throughput that levels are compared by
FULL_LOAD = "full_load_tokens_per_s"
# requests of a level that a percentile needs, as in schema.sql
P95_FLOOR, P99_FLOOR = MIN_VALUES_FOR_P95, MIN_VALUES_FOR_P99


@dataclass
class Study:
    """One model on one machine with the runs chosen for it.

    Levels are by size, repeats together.
    Its levels have the same asked_prompt_tokens and prompt_mix.
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
    # column of request: what the newest run was judged by
    objectives: Mapping[str, Objective]
    # the results file that it is read from; "" where nobody says
    file: str = ""
    # by other objectives than these: what its searches found does not count
    is_rejudged: bool = False
    # of the view turn_summary: levels of conversations
    turns: list[Row] = field(default_factory=list)
    # of the view host_summary: levels that several hosts share
    hosts: list[Row] = field(default_factory=list)
    # of the view energy_by_machine, where a fleet knows the servers' machines
    machine_energy: list[Row] = field(default_factory=list)
    # run_id, from_unix, to_unix: runs beside it that loaded the same server
    other_runs: list[Row] = field(default_factory=list)
    # of its files: no other model or machine of the results file has it
    folder: str = ""
    # the first level of a run, fired again at its end; figures as of levels
    controls: list[Row] = field(default_factory=list)
    # of its levels, as stored
    asked_prompt_tokens: int | None = None
    prompt_mix: str | None = None
    # the same in words where the model has other studies beside it; else ""
    prompts: str = ""
    # its machine's number in the table chosen, and the machine's name where the
    # studies that are shown are of several
    machine_number: int = 0
    place: str = ""

    @property
    def name(self) -> str:
        """What it is called: the model, and what tells it from others beside it.

        That is the machine among several, and the length of its prompts.
        """
        return ", ".join(
            filter(None, (self.name_on_machine, self.prompts))
        )

    @property
    def name_on_machine(self) -> str:
        """What its model is called, with the machine among several."""
        if not self.place:
            return self.model_name
        place = clean_line(self.place)[:LONGEST_NAME]
        return f"{self.model_name} on {place}"

    @property
    def key(self) -> dict[str, Any]:
        """What its rows are found by: the parameters of IN_STUDY, and the model."""
        return {
            "model": self.model,
            "prompt_tokens": self.asked_prompt_tokens,
            "prompt_mix": self.prompt_mix,
            "machine": self.machine_number,
        }

    @property
    def model_name(self) -> str:
        """The model as it is shown: in one line, and bounded, yet no other's."""
        if len(self.model) <= LONGEST_NAME:
            return clean_line(self.model)
        return f"{self.folder.partition('~')[0]}..."

    @property
    def simulated(self) -> bool:
        return any(run["simulated"] for run in self.runs)

    def by_size(self) -> dict[Size, list[Row]]:
        """Group the levels by their size, rising."""
        groups: dict[Size, list[Row]] = {}
        for level in sorted(self.levels, key=size_of):
            groups.setdefault(size_of(level), []).append(level)
        return groups

    def mean(self, column: str) -> dict[Size, float]:
        """Return a column's mean over the repeats of each size that has values."""
        found = {}
        for size, levels in self.by_size().items():
            values = [
                level[column]
                for level in levels
                if level[column] is not None
            ]
            if values:
                found[size] = fmean(values)
        return found


def size_of(level: Row) -> Size:
    """Return what the number of a level counts: requests at once or people.

    Of a search for the highest rate it is the requests/s of the probe: its concurrency is no more
    than a limit, and the same for all.
    """
    return level.get("probe_rate_per_s") or level["concurrency"]


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
