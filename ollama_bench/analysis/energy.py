"""Energy in sentences: where it buys the most tokens, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ollama_bench.analysis.crowd import name_count
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.trends import failures_at
from ollama_bench.analysis.wording import digits, join

JOULES_PER_KWH = 3.6e6
# a level whose server takes so much more CPU, at so much less of the GPU's watts, moved work
MOVED_CORES = 0.5
MOVED_WATTS_RATIO = 0.9
CPU_UNKNOWN = "the CPU's share is not known"


class GpuBest(NamedTuple):
    """The level at which the GPU alone takes the least energy for a token."""

    concurrency: int
    joules_per_token: float


def find_moved_levels(study: Study) -> list[Row]:
    """Return the levels in which the CPU did a part of what the GPU did in another.

    There the joules of the GPU alone miss that part: the server's CPU time rises, the GPU's watts
    fall.
    """
    levels = [
        level
        for level in study.levels
        if is_gpu_only(level) and level["server_cpu_cores"] is not None
    ]
    if not levels:
        return []
    base = min(levels, key=lambda level: level["server_cpu_cores"])
    return [
        level
        for level in levels
        if level["server_cpu_cores"]
        >= base["server_cpu_cores"] + MOVED_CORES
        and level["gpu_power_w"] < MOVED_WATTS_RATIO * base["gpu_power_w"]
    ]


def is_of_gpu(level: Row) -> bool:
    """Return whether the GPU's watts are known, and no others."""
    return level["mean_w"] is None and level["gpu_power_w"] is not None


def is_gpu_only(level: Row) -> bool:
    """Return whether the energy of a level is that of the GPU and of nothing else."""
    of_gpu = level["gpu_energy_j"]
    if of_gpu is None or level["gpu_power_w"] is None:
        return False
    return level["energy_j"] is None or level["energy_j"] <= 1.001 * of_gpu


def leave_out_moved(study: Study) -> Study:
    """Return the study without the levels whose joules per token miss the CPU's part."""
    moved = [level["level_id"] for level in find_moved_levels(study)]
    if not moved:
        return study
    kept = [
        level for level in study.levels if level["level_id"] not in moved
    ]
    return replace(study, levels=kept)


def describe_efficiency(study: Study) -> str:
    """Say at which level a joule buys the most tokens; nothing if no power was measured."""
    study = leave_out_moved(study)
    per_joule = study.mean("output_tokens_per_joule")
    # no source of power, or no token in any level
    if not any(per_joule.values()):
        return describe_gpu_efficiency(study)
    best = max(per_joule, key=lambda n: per_joule[n])
    watts, idle = study.mean("mean_w"), study.mean("idle_w")
    idle_part = ""
    # an idle baseline above the level is a caveat
    if best in idle and idle[best] <= watts[best]:
        idle_part = f", of which {digits(idle[best])} W when idle"
    scopes = [
        f"{source['name']} {source['device']} ({source['scope'] or 'scope not known'})"
        for source in study.sources
    ]
    return (
        f"Energy efficiency is best with {name_count(best, study.levels)}: "
        f"{digits(per_joule[best])} tokens per joule "
        f"at {digits(watts[best])} W{idle_part}{failures_at(study, best)}. "
        f"Power source: {'; '.join(scopes)}.{describe_whole_machine(study)}"
    )


def describe_whole_machine(study: Study) -> str:
    """Say what a token takes of the whole machine at best; nothing where no sensor tells."""
    means = study.mean("system_joules_per_output_token")
    if not means:
        return ""
    best = min(means, key=lambda n: means[n])
    watts = study.mean("system_power_w")[best]
    return (
        f" The whole machine takes {digits(means[best])} J per token "
        f"with {name_count(best, study.levels)}, "
        f"at {digits(watts)} W."
    )


def describe_gpu_efficiency(study: Study) -> str:
    """Say the same of the GPU alone, if only that is known."""
    found = find_gpu_best(study)
    if found is None:
        return ""
    best = found.concurrency
    names = join(
        [
            f"{source['name']} {source['device']}"
            for source in study.sources
        ]
    )
    watts = study.mean("gpu_power_w").get(best)
    return (
        f"Energy efficiency of the GPU alone is best with {name_count(best, study.levels)}: "
        f"{digits(1 / found.joules_per_token)} tokens per joule "
        f"at {digits(watts)} W of the GPU{failures_at(study, best)}; "
        f"{CPU_UNKNOWN}. Power source: {names}."
    )


def find_gpu_best(study: Study) -> GpuBest | None:
    means = study.mean("gpu_joules_per_output_token")
    known = {n: mean for n, mean in means.items() if mean > 0}
    if not known:
        return None
    best = min(known, key=lambda n: known[n])
    return GpuBest(best, known[best])


def describe_cost(
    study: Study, price_per_kwh: float, currency: str
) -> str:
    """Say what the energy of a million tokens costs at the most efficient level."""
    study = leave_out_moved(study)
    price = f"At {digits(price_per_kwh)} {currency}/kWh"
    per_joule = study.mean("output_tokens_per_joule")
    # a server may say that its replies have no tokens
    if any(per_joule.values()):
        best = max(per_joule, key=lambda n: per_joule[n])
        million = cost_of_million(1 / per_joule[best], price_per_kwh)
        return (
            f"{price} a million output tokens cost {digits(million)} {currency} "
            f"with {name_count(best, study.levels)}{describe_scopes(study)}."
        )
    found = find_gpu_best(study)
    if found is None:
        return (
            "The cost of a million output tokens is not known: "
            "no level has both its energy and its tokens."
        )
    million = cost_of_million(found.joules_per_token, price_per_kwh)
    return (
        f"{price} the GPU's energy alone for a million output tokens costs "
        f"{digits(million)} {currency} "
        f"with {name_count(found.concurrency, study.levels)}; {CPU_UNKNOWN}."
    )


def cost_of_million(
    joules_per_token: float, price_per_kwh: float
) -> float:
    return 1e6 * joules_per_token / JOULES_PER_KWH * price_per_kwh


def describe_scopes(study: Study) -> str:
    """Say what the energy includes, such as ", counting CPU, GPU and ANE"."""
    scopes = [
        source["scope"].partition(";")[0]
        for source in study.sources
        if source["scope"]
    ]
    return (
        f", counting {' and '.join(dict.fromkeys(scopes))}"
        if scopes
        else ""
    )
