"""How far a change between two sides can come from chance.

The run is the unit: what moves a whole run (heat, other programs, memory) moves all its levels,
and no repeat within it shows that. From three runs a side on, their own spread tells; else that of
this machine's earlier runs; else RUN_RATIO from run to run and LEVEL_RATIO of a level measured once
are assumed. All values are logarithms, so that spreads are ratios.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean, median
from typing import NamedTuple

from ollama_bench.analysis.conditions import COLUMNS
from ollama_bench.analysis.study import Row
from ollama_bench.statistics.welch import (
    VariancePart,
    pool_variance,
    sum_parts,
)

RUN_RATIO = 0.05  # standard deviation from run to run if unknown
LEVEL_RATIO = 0.05  # the same of a level that was measured once
ENOUGH_FREEDOM = 4  # three runs on both sides: 2 + 2
# of a median deviation in a standard one: 1.48 in large samples, and
# a third more for the four levels of a usual run (Croux, Rousseeuw 1992)
DEVIATION_FACTOR = 2.0

Run = Mapping[int, Sequence[Row]]  # the levels of one run by concurrency


class RunMean(NamedTuple):
    """The mean of one run, over levels of equal weight."""

    value: float
    # part of the variance of a single measurement that it has
    part: float


@dataclass(frozen=True)
class Noise:
    """What a change can come from: parts of its variance, and what is known of the runs."""

    parts: tuple[VariancePart, ...]
    runs: tuple[int, int]  # on either side
    run_ratio: float  # standard deviation from run to run
    # what told it: runs, history or nothing
    known_by: str


@dataclass(frozen=True)
class Sides:
    """The runs on both sides, and groups of earlier ones that were alike."""

    before: Sequence[Run]
    after: Sequence[Run]
    history: Sequence[Sequence[Run]] = ()

    def change(
        self, metric: str, places: Sequence[int]
    ) -> tuple[float, Noise] | None:
        """Return the logarithm of a change over some levels, and its noise; None if not known."""
        old = means_of(self.before, metric, places)
        new = means_of(self.after, metric, places)
        if not old or not new:
            return None
        ratio = fmean(run.value for run in new) - fmean(
            run.value for run in old
        )
        return ratio, self.noise(metric, places, old, new)

    def noise(
        self,
        metric: str,
        places: Sequence[int],
        old: Sequence[RunMean],
        new: Sequence[RunMean],
    ) -> Noise:
        runs = len(old), len(new)
        share = 1 / len(old) + 1 / len(new)
        seen = pool_variance(
            [run.value for run in side] for side in (old, new)
        )
        if seen.freedom >= ENOUGH_FREEDOM:
            pooled = VariancePart(seen.variance * share, seen.freedom)
            part = widen(pooled, old, new)
            ratio = math.sqrt(seen.variance)
            return Noise((part,), runs, ratio, "runs")
        earlier = self.earlier_variance(metric, places)
        if earlier.freedom >= ENOUGH_FREEDOM:
            part = VariancePart(earlier.variance * share, earlier.freedom)
            ratio = math.sqrt(earlier.variance)
            return Noise((part,), runs, ratio, "history")
        single = self.single_variance(metric, places)
        taken = sum(
            run.part / len(side) ** 2
            for side in (old, new)
            for run in side
        )
        parts: tuple[VariancePart, ...] = (
            VariancePart(RUN_RATIO**2 * share, math.inf),
            VariancePart(single.variance * taken, single.freedom),
        )
        # two runs that differ by more than is assumed
        if seen.variance * share > sum(part.variance for part in parts):
            parts = (VariancePart(seen.variance * share, math.inf),)
        return Noise(parts, runs, RUN_RATIO, "nothing")

    def earlier_variance(
        self, metric: str, places: Sequence[int]
    ) -> VariancePart:
        groups = [
            means_of(group, metric, places) for group in self.history
        ]
        return pool_variance(
            [run.value for run in group] for group in groups
        )

    def single_variance(
        self, metric: str, places: Sequence[int]
    ) -> VariancePart:
        """Return the variance of a level that is measured once.

        Its repeats tell it. Without any, it is how far most levels agree with each other in what
        changed, which one level that really changed does not alter much.
        """
        repeated = pool_variance(
            logarithms(run.get(n, ()), metric)
            for run in chain(self.before, self.after)
            for n in places
        )
        if repeated.freedom:
            return repeated
        seen = max(LEVEL_RATIO, self.disagreement(metric))
        return VariancePart(seen**2, math.inf)

    def disagreement(self, metric: str) -> float:
        """Return how far levels agree in their change, as if each were measured once."""
        levels = sorted({n for run in self.before for n in run})
        found = []
        for n in levels:
            old = means_of(self.before, metric, [n])
            new = means_of(self.after, metric, [n])
            if old and new:
                share = 1 / len(old) + 1 / len(new)
                change = fmean(run.value for run in new) - fmean(
                    run.value for run in old
                )
                found.append(change / math.sqrt(share))
        if len(found) < 3:
            return 0.0
        middle = median(found)
        return DEVIATION_FACTOR * median(
            abs(value - middle) for value in found
        )


def widen(
    pooled: VariancePart, old: Sequence[RunMean], new: Sequence[RunMean]
) -> VariancePart:
    """Return the variance of a difference where one side may vary more than the other.

    Of as many runs on both sides the pooled one is right. Else it would hide that the side with
    fewer runs varies more: then it is the larger of it and Welch's, with his degrees of freedom.
    """
    apart = []
    for side in (old, new):
        own = pool_variance([[run.value for run in side]])
        if len(old) == len(new) or not own.freedom:
            return pooled
        apart.append(VariancePart(own.variance / len(side), own.freedom))
    welch = sum_parts(apart)
    variance = max(pooled.variance, welch.variance)
    return VariancePart(variance, welch.freedom)


def means_of(
    runs: Sequence[Run], metric: str, places: Sequence[int]
) -> list[RunMean]:
    """Return the mean of each run that has values at all of these levels."""
    found = []
    for run in runs:
        values = [logarithms(run.get(n, ()), metric) for n in places]
        if all(values):
            part = sum(1 / len(logs) for logs in values) / len(values) ** 2
            found.append(RunMean(fmean(map(fmean, values)), part))
    return found


def logarithms(levels: Sequence[Row], metric: str) -> list[float]:
    column = COLUMNS[metric]
    return [
        math.log(level[column])
        for level in levels
        if (level[column] or 0) > 0
    ]
