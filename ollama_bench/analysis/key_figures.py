"""The few figures that answer the question: how many at once, how fast, at what wait and power.

key = find_key_figures(study, objectives, services)
if key.tokens_per_s is not None: print(key.at_once, key.tokens_per_s.value, key.limit)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ollama_bench.analysis.bottlenecks import name_limits
from ollama_bench.analysis.capacity import CapacityAnswer, find_search
from ollama_bench.analysis.comparability import undisturbed_part
from ollama_bench.analysis.energy import leave_out_moved
from ollama_bench.analysis.intervals import (
    LevelIntervals,
    find_intervals,
    independent_means,
    tells,
)
from ollama_bench.analysis.service import (
    NO_SERVICE,
    Service,
    judged_part,
)
from ollama_bench.analysis.study import Row, Study
from ollama_bench.inputs.objectives import Objectives
from ollama_bench.statistics.intervals import Interval

# tries of a load that a search found served count where they lasted at least the longest / this:
# a first look is short, and most of it fills or drains
LOOKS_ALIKE = 2


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval, in the unit of the figure; None: not known."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class KeyFigures:
    """The answer in figures; None is unknown."""

    # the most served at once; 0: not even the fewest measured
    # None: cannot be told, or requests came at a rate
    at_once: int | None
    is_highest: bool  # nothing above it was measured
    # whose figures follow: the highest served, else the fewest measured
    level: Row | None
    tokens_per_s: Estimate | None  # of each
    wait_s: Estimate | None  # time to the first token, mean
    watts: float | None  # mean during the level
    joules_per_token: float | None
    watts_of: str  # "GPU" if it is the GPU alone, else ""
    limit: str  # what limits the highest level; "" where not known


def find_key_figures(
    study: Study, objectives: Objectives, services: Mapping[int, Service]
) -> KeyFigures:
    """Return the figures of the highest level that is served, else of the lowest.

    Levels that are not judged count for nothing. A figure is the mean over a level's repeats, or
    over runs, as its interval is.
    """
    study = judged_part(study, services)
    limit = " and ".join(name_limits(study, undisturbed_part(study)))
    if not study.levels:
        return KeyFigures(
            None, False, None, None, None, None, None, "", limit
        )
    at_once = find_at_once(study, services)
    if search := find_search(study):
        levels = find_tries(study, search)
    else:
        levels = choose_levels(study, at_once, services)
    n = levels[0]["concurrency"]
    intervals = next(
        iter(find_intervals(replace(study, levels=levels))),
        LevelIntervals(n, None, None, 0, ""),
    )
    watts_of = "GPU" if is_of_gpu_alone(levels) else ""
    prefix = "gpu_" if watts_of else ""
    kept = [row["level_id"] for row in leave_out_moved(study).levels]
    joules = f"{prefix}joules_per_output_token"
    return KeyFigures(
        at_once,
        at_once == study.levels[-1]["concurrency"],
        levels[0],
        estimate(levels, "tokens_per_s_mean", intervals.tokens_per_s),
        estimate(levels, "ttft_mean_s", intervals.wait_s),
        mean_of(levels, "gpu_power_w" if watts_of else "mean_w"),
        mean_of(
            [row for row in levels if row["level_id"] in kept], joules
        ),
        watts_of,
        limit,
    )


def find_tries(study: Study, search: CapacityAnswer) -> list[Row]:
    """Return the levels of the highest load that a search found served, without short looks."""
    chosen = search.find_level()
    if search.is_rate:
        return [chosen]
    tries = study.by_size()[chosen["concurrency"]]
    longest_s = max(level["duration_s"] or 0.0 for level in tries)
    return [
        level
        for level in tries
        if (level["duration_s"] or 0.0) >= longest_s / LOOKS_ALIKE
    ]


def is_open(study: Study) -> bool:
    """Return whether requests arrived at a rate: then concurrency is only a limit, not the load."""
    return any(level["load"] == "open" for level in study.levels)


def find_at_once(
    study: Study, services: Mapping[int, Service]
) -> int | None:
    """Return the highest level below which none misses the objectives, as KeyFigures.at_once."""
    if search := find_search(study):
        return search.count
    if is_open(study):
        return None
    served = 0
    for n, levels in study.by_size().items():
        found = [
            services.get(level["level_id"], NO_SERVICE) for level in levels
        ]
        short = [service for service in found if not service.is_served]
        if short:
            is_doubtful = all(
                service.may_be_served or service.has_no_rates
                for service in short
            )
            return None if is_doubtful and not served else served
        served = n
    return served


def choose_levels(
    study: Study, at_once: int | None, services: Mapping[int, Service]
) -> list[Row]:
    """Return the repeats of the level that the figures are of."""
    groups = study.by_size()
    if at_once:
        return groups[at_once]
    if not is_open(study):
        return next(iter(groups.values()))
    # each rate is a load of its own
    served = [
        level
        for level in study.levels
        if services[level["level_id"]].is_served
    ]
    return [(served or study.levels)[-1 if served else 0]]


def estimate(
    levels: Sequence[Row], column: str, interval: Interval | None
) -> Estimate | None:
    mean = mean_of(levels, column)
    if mean is None:
        return None
    # from 0 on, it says that too little was measured
    low, high = interval if tells(interval) else (None, None)
    return Estimate(mean, low, high)


def is_of_gpu_alone(levels: Sequence[Row]) -> bool:
    return mean_of(levels, "mean_w") is None and any(
        level["gpu_power_w"] is not None for level in levels
    )


def mean_of(levels: Sequence[Row], column: str) -> float | None:
    means = independent_means(levels, column)
    return fmean(mean.value for mean in means) if means else None
