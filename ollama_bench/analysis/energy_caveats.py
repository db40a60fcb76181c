"""What to know before trusting the watts and joules of a study."""

from __future__ import annotations

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import name_place
from ollama_bench.analysis.energy import find_moved_levels, is_of_gpu
from ollama_bench.analysis.fleet_energy import unread_machines
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import digits, percent, span

# of a level's joules: what a gap can hide without being mentioned
HIDDEN_RATIO = 0.01


def uncovered_energy(study: Study) -> list[Caveat]:
    bare = [level for level in study.levels if lacks_energy(level)]
    if not bare:
        return []
    return [
        Caveat(
            f"power samples cover too little of the time {name_place(bare)}"
            f"{describe_hidden(bare)}",
            "Below 95 % a level has neither watts nor energy",
            "Use longer replies (--tokens) for longer levels with more samples",
        )
    ]


def lacks_energy(level: Row) -> bool:
    """Return whether samples with watts cover a part of the level, too small for its energy."""
    covered = level["coverage_ratio"] or level["gpu_coverage_ratio"]
    return (
        bool(covered)
        and level["energy_j"] is None
        and level["gpu_energy_j"] is None
    )


def energy_gaps(study: Study) -> list[Caveat]:
    """Find levels whose energy is known but for a gap that may hide more than a little."""
    open_levels = [
        level
        for level in study.levels
        if level["energy_j"]
        and (level["uncovered_most_j"] or 0)
        > HIDDEN_RATIO * level["energy_j"]
    ]
    if not open_levels:
        return []
    return [
        Caveat(
            f"power samples have a gap {name_place(open_levels)}"
            f"{describe_hidden(open_levels)}",
            "The gap is counted at the level's mean watts",
            "Measure that level again if so much matters",
        )
    ]


def describe_hidden(levels: list[Row]) -> str:
    """Say how much of the levels no sample covers, and the most joules it can hide."""
    known = [
        level
        for level in levels
        if level["coverage_ratio"]
        and level["uncovered_most_j"] is not None
    ]
    if not known:
        return ""
    shares = [1 - level["coverage_ratio"] for level in known]
    most = [level["uncovered_most_j"] for level in known]
    return (
        f" ({span(shares, percent)} of the time, which can hide up to "
        f"{digits(max(most))} J)"
    )


def idle_above_level(study: Study) -> list[Caveat]:
    """Find levels that took less than the idle baseline: less idle power they have no energy."""
    found = [
        level
        for level in study.levels
        if level["idle_w"] is not None
        and level["mean_w"] is not None
        and level["idle_w"] > level["mean_w"]
    ]
    if not found:
        return []
    return [
        Caveat(
            f"the idle baseline took {span([level['idle_w'] for level in found])} W, "
            f"more than the levels {name_place(found)} "
            f"({span([level['mean_w'] for level in found])} W)",
            "Something else ran during the baseline: energy less idle power is not known there",
            "Stop other programs and run it again",
        )
    ]


def gpu_alone(study: Study) -> list[Caveat]:
    levels = [level for level in study.levels if is_of_gpu(level)]
    if not levels:
        return []
    return [
        Caveat(
            f"watts and joules are of the GPU alone {name_place(levels)}",
            "The CPU's share could not be read",
            "Started with sudo, it can be read on most machines",
        )
    ]


def moved_work(study: Study) -> list[Caveat]:
    moved = find_moved_levels(study)
    if not moved:
        return []
    cores = [level["server_cpu_cores"] for level in moved]
    least = min(
        level["server_cpu_cores"]
        for level in study.levels
        if level["server_cpu_cores"] is not None
    )
    return [
        Caveat(
            f"part of the work moved to the CPU {name_place(moved)}: the server took "
            f"{span(cores)} cores there and {digits(least)} elsewhere, at fewer watts of the GPU",
            "The joules are of the GPU alone and miss that part: they cannot be compared with "
            "those of the other levels",
            "Measure the whole chip or machine: with sudo, or by a sensor of the machine",
        )
    ]


def uncounted_tokens(study: Study) -> list[Caveat]:
    """Find levels some of whose tokens only this client counted, by their chunks."""
    if any(run["source"] == "import" for run in study.runs):
        return []  # all of them are words, which has a caveat of its own
    found = [
        level
        for level in study.levels
        if level["uncounted_tokens"]
        and (
            level["energy_j"] is not None
            or level["gpu_energy_j"] is not None
        )
    ]
    if not found:
        return []
    shares = [
        level["uncounted_tokens"] / level["output_tokens"]
        for level in found
    ]
    return [
        Caveat(
            f"{span(shares, percent)} of the tokens {name_place(found)} were counted "
            "by their chunks, not by the server",
            "A chunk may hold several tokens: joules per token may be lower than shown",
            "A reply that is not cut (--deadline, --duration) has the server's count",
        )
    ]


ENERGY_CHECKS = (
    uncovered_energy,
    unread_machines,
    energy_gaps,
    idle_above_level,
    gpu_alone,
    moved_work,
    uncounted_tokens,
)
