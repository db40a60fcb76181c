"""The 95 % intervals of each level's means: over runs, else repeats, else of the one time sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple, TypeGuard

from ollama_bench.analysis.crowd import name_count
from ollama_bench.analysis.study import Row, Study, is_whole
from ollama_bench.analysis.wording import digits, join, seconds, span
from ollama_bench.statistics.intervals import (
    LEAST_MEANS,
    LEAST_VALUES,
    Interval,
    mean_interval,
)

OF_ONE_BURST = "requests of this burst"


class Mean(NamedTuple):
    """A mean of one repeat or one run, and how many requests it is of."""

    value: float
    requests: int


@dataclass(frozen=True)
class LevelIntervals:
    """The intervals of one level, and what they are made of."""

    concurrency: int
    wait_s: Interval | None
    tokens_per_s: Interval | None
    n: int  # values that they are made of
    basis: str  # what these are: "runs", "repeats"
    # of requests that came at one; None: at none
    rate_per_s: float | None = None

    @property
    def is_known(self) -> bool:
        return tells(self.wait_s) or tells(self.tokens_per_s)

    @property
    def number(self) -> str:
        """Write the rate, else the concurrency."""
        rate = self.rate_per_s
        return f"{rate:g}" if rate else str(self.concurrency)

    @property
    def of(self) -> str:
        return f"{self.n:,} {self.basis}"

    def describe(self, crowd: str) -> str:
        """Return one line: of how many, the intervals, and n."""
        parts = [
            f"{name} {write_interval(interval, write)}"
            for name, interval, write in (
                ("wait", self.wait_s, seconds),
                ("tokens/s each", self.tokens_per_s, digits),
            )
            if tells(interval)
        ]
        return f"{crowd}: {', '.join(parts)} ({self.of})"


def describe_intervals(
    found: Sequence[LevelIntervals], levels: Sequence[Row]
) -> list[str]:
    """Return a line for each level, then those that too few repeats tell nothing of.

    levels: those of the study, which tell what a concurrency counts.
    """

    def name(number: str) -> str:
        has_rates = any(one.rate_per_s for one in found)
        if has_rates:
            return f"{number} requests/s"
        return name_count(number, levels)

    lines = [
        one.describe(name(one.number)) for one in found if one.is_known
    ]
    unknown: dict[str, list[str]] = {}
    for one in found:
        if not one.is_known:
            unknown.setdefault(one.of, []).append(one.number)
    return lines + [
        f"{name(join(numbers))}: too few to tell ({of})"
        for of, numbers in unknown.items()
    ]


def find_intervals(study: Study) -> list[LevelIntervals]:
    """Return the intervals of the levels that have one or were repeated, by concurrency and rate.

    The requests of one burst share the state of the machine, so their interval speaks of that
    burst; only repeats tell what another time would give. Repeats of one run share its state too:
    of several runs each is one value. Too few values have no interval. What was interrupted or
    slept through counts for nothing.
    """
    loads: dict[tuple[int, float], list[Row]] = {}
    for level in filter(is_whole, study.levels):
        load = level["concurrency"], level.get("rate_per_s") or 0.0
        loads.setdefault(load, []).append(level)
    found = [
        replace(
            over_repeats(n, levels)
            if len(levels) > 1
            else of_one(n, levels[0]),
            rate_per_s=rate or None,
        )
        for (n, rate), levels in sorted(
            loads.items(), key=lambda item: item[0]
        )
    ]
    return [level for level in found if level.n]


def over_repeats(
    concurrency: int, levels: Sequence[Row]
) -> LevelIntervals:
    basis = "repeats"
    if len({level["run_id"] for level in levels}) > 1:
        basis = "runs"
    waits_s, rates = (
        independent_means(levels, name)
        for name in ("ttft_mean_s", "tokens_per_s_mean")
    )
    return LevelIntervals(
        concurrency,
        interval_of(waits_s),
        interval_of(rates),
        max(len(waits_s), len(rates)),
        basis,
    )


def interval_of(means: Sequence[Mean]) -> Interval | None:
    """Return the interval of some means; None where too few of too few requests have none."""
    are_many = all(mean.requests >= LEAST_VALUES for mean in means)
    if len(means) < (LEAST_MEANS if are_many else LEAST_VALUES):
        return None
    return mean_interval([mean.value for mean in means])


def independent_means(levels: Sequence[Row], name: str) -> list[Mean]:
    """Return the values of one run's repeats, or the mean of each of several runs."""
    runs: dict[int, list[Mean]] = {}
    for level in levels:
        if level[name] is not None:
            mean = Mean(level[name], level["judged_completed"])
            runs.setdefault(level["run_id"], []).append(mean)
    if len(runs) > 1:
        return [*map(pool, runs.values())]
    return [mean for means in runs.values() for mean in means]


def pool(means: Sequence[Mean]) -> Mean:
    """Return the mean of repeats of equal weight."""
    return Mean(
        fmean(mean.value for mean in means),
        sum(mean.requests for mean in means),
    )


def of_one(concurrency: int, level: Row) -> LevelIntervals:
    """Return what was stored with a level; before version 1.1 that was nothing that holds."""
    if not level["interval_basis"]:
        return LevelIntervals(concurrency, None, None, 0, "")
    basis = OF_ONE_BURST
    if level["interval_basis"] == "batches":
        basis = "batches of this load"
    elif level["load"] != "burst":
        basis = "requests of this load"
    wait_s, tokens_per_s = (
        Interval(level[f"{name}_low{unit}"], level[f"{name}_high{unit}"])
        if level[f"{name}_low{unit}"] is not None
        else None
        for name, unit in (("ttft_mean", "_s"), ("tokens_per_s_mean", ""))
    )
    return LevelIntervals(
        concurrency, wait_s, tokens_per_s, level["interval_n"], basis
    )


def write_interval(
    interval: Interval | None, write: Callable[[float], str]
) -> str:
    return span(interval, write) if tells(interval) else "–"


def tells(interval: Interval | None) -> TypeGuard[Interval]:
    """Return whether an interval says anything: one from 0 on says that too little was measured."""
    return interval is not None and interval.low > 0
