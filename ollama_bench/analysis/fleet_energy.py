"""The energy of servers on several machines: each machine's own part, and which one is missing."""

from __future__ import annotations

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import name_loads, name_place
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import digits, join, percent
from ollama_bench.terminal.output import shorten


def describe_machine_energy(study: Study) -> list[str]:
    """Say what a token takes on each machine, in the level where a joule buys the most tokens."""
    groups = group_machines(study)
    known = [
        level
        for level in study.levels
        if any(
            row["joules_per_output_token"]
            for row in groups.get(level["level_id"], [])
        )
    ]
    if not known:
        return []
    best = max(
        known, key=lambda level: level["output_tokens_per_joule"] or 0.0
    )
    return [
        f"With {name_loads([best])} {describe_own_energy(row)}."
        for row in groups[best["level_id"]]
    ]


def describe_own_energy(row: Row) -> str:
    """Say what a token takes on the machine of a row of energy_by_machine."""
    name = f"the machine of {name_machine_hosts(row)}"
    each_j = row["joules_per_output_token"]
    covered = row["coverage_ratio"]
    if each_j is None:
        return f"what a token takes on {name} is not known"
    return (
        f"{name} took {digits(each_j)} "
        f"J per token at "
        f"{digits(row['mean_w'])} W, "
        f"measured for {percent(covered)} "
        f"of the time"
    )


def group_machines(study: Study) -> dict[int, list[Row]]:
    """Return the rows of energy_by_machine of each level that several machines serve."""
    groups: dict[int, list[Row]] = {}
    for row in study.machine_energy:
        groups.setdefault(row["level_id"], []).append(row)
    return {key: rows for key, rows in groups.items() if len(rows) > 1}


def name_machine_hosts(row: Row) -> str:
    """Name a machine by its servers: no name of its own is stored."""
    hosts = str(row["hosts"] or "").split(",")
    named = [host.removeprefix("http://") for host in hosts]
    return shorten(join(named))


def unread_machines(study: Study) -> list[Caveat]:
    """Find levels in which the power of some of the servers' machines was not read at all."""
    found: dict[str, list[Row]] = {}
    levels = {level["level_id"]: level for level in study.levels}
    for row in study.machine_energy:
        level = levels.get(row["level_id"])
        if level is not None and row["source"] is None:
            name = name_machine_hosts(row)
            found.setdefault(name, []).append(level)
    return [
        Caveat(
            f"no power was read on the machine "
            f"of {name} {name_place(levels)}",
            "Without the joules of every machine there is no sum",
            "Run a worker of the fleet there "
            "that can read it; --watch names one "
            "(docs/fleet.md)",
        )
        for name, levels in found.items()
    ]
