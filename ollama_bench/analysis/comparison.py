"""Compare two studies level by level: what changed, and what of it is more than noise.

    found = compare_studies(before, after)
    for change in found.changes: change.metric, change.at, change.ratio, change.verdict

The requests of one burst share the state of the machine, so a level counts as one value, however
many requests it has. Noise is judged from the repeats of a level (bench.py --repeat 3), or, if
there are none, from how well the levels agree with each other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, geometric_mean, variance

from ollama_bench.analysis.conditions import COLUMNS, COMPARED
from ollama_bench.analysis.study import Row, Study
from ollama_bench.statistics.welch import (
    VariancePart,
    log_mean_variance,
    ratio_interval,
)

# of comparisons of two equal runs may find any change
FALSE_ALARM_RATIO = 0.05
FEWEST = 3  # repeats of a level, or levels, whose spread says something
WORTH_RATIO = 0.01  # a smaller change is not worth a word, however sure
# the same without repeats: a warmer machine moves all levels together
WORTH_ONCE_RATIO = 0.03

Groups = dict[int, list[Row]]  # levels by concurrency


@dataclass
class Change:
    """One metric at one level, or over all levels, and how sure its change is."""

    at: int | None  # concurrency; None: over all levels
    metric: str
    # geometric mean of the repeats; None over all levels
    before: float | None
    # the same; None also if it had values and has none now
    after: float | None
    log_ratio: float | None = None  # ln(after / before)
    # parts of its variance; none: unknown
    spread: tuple[VariancePart, ...] = ()
    worth: float = WORTH_RATIO
    # of the ratio, see judge_changes()
    interval: tuple[float, float] | None = None

    @property
    def ratio(self) -> float:
        """The change as a ratio less 1; it must not be gone."""
        if self.log_ratio is None:
            raise ValueError(f"{self.metric} has no values on one side")
        return math.expm1(self.log_ratio)

    @property
    def verdict(self) -> str:
        """gone, unknown (noise), noise, changed, or under the least change worth a word."""
        if self.log_ratio is None:
            return "gone"
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        if low <= 0 <= high:
            return "noise"
        return (
            "changed"
            if abs(self.ratio) >= self.worth
            else f"under {self.worth:.0%}"
        )

    def set_interval(self, alpha: float) -> None:
        if self.log_ratio is not None:
            self.interval = ratio_interval(
                self.log_ratio, self.spread, alpha
            )


@dataclass
class Comparison:
    """Two studies by concurrency, and every change between them."""

    before: Groups
    after: Groups
    changes: list[Change] = field(default_factory=list)

    @property
    def shared(self) -> list[int]:
        return sorted(set(self.before) & set(self.after))

    @property
    def dead(self) -> list[int]:
        """Levels that had replies, and have none now or are not there."""
        return [
            n
            for n, levels in self.before.items()
            if total(levels, "completed")
            and not total(self.after.get(n, []), "completed")
        ]


def compare_studies(
    before: Study, after: Study, named: Collection[str] = ()
) -> Comparison:
    """Compare every metric at every level that both sides have, then over all levels.

    Joules of the GPU alone are compared only if they are named, or no more is known of a level.
    Levels in which the machine slept are left out.
    """
    before, after = without_sleep(before), without_sleep(after)
    found = Comparison(before.by_concurrency(), after.by_concurrency())
    metrics = [*COMPARED]
    if "gpu_joules_per_token" not in named and not knows_gpu_alone(
        before.levels + after.levels
    ):
        metrics.remove("gpu_joules_per_token")
    for n in found.shared:
        for metric in metrics:
            if change := compare_level(
                n, metric, found.before[n], found.after[n]
            ):
                found.changes.append(change)
    over_all = [merge_levels(metric, found.changes) for metric in COMPARED]
    found.changes += [change for change in over_all if change is not None]
    judge_changes(found.changes)
    return found


def without_sleep(study: Study) -> Study:
    levels = [level for level in study.levels if not level["slept_s"]]
    return replace(study, levels=levels)


def knows_gpu_alone(levels: Sequence[Row]) -> bool:
    return any(
        known_values([level], "gpu_joules_per_token")
        and not known_values([level], "joules_per_token")
        for level in levels
    )


def compare_level(
    n: int, metric: str, before: list[Row], after: list[Row]
) -> Change | None:
    """Return what a metric did at one level; None if it had no values."""
    old, new = known_values(before, metric), known_values(after, metric)
    if not old:
        return None
    old_mean = geometric_mean(old)
    if not new:
        return Change(n, metric, old_mean, None)
    new_mean = geometric_mean(new)
    spread: tuple[VariancePart, ...] = ()
    if min(len(old), len(new)) >= FEWEST:
        spread = (log_mean_variance(old), log_mean_variance(new))
    return Change(
        n, metric, old_mean, new_mean, math.log(new_mean / old_mean), spread
    )


def merge_levels(metric: str, changes: Sequence[Change]) -> Change | None:
    """Return the mean change of a metric over its levels; None for fewer than FEWEST.

    Its noise is that of the repeats if every level has them, else the spread of the levels.
    """
    levels = [change for change in changes if change.metric == metric]
    ratios = [
        change.log_ratio
        for change in levels
        if change.log_ratio is not None
    ]
    if len(ratios) < FEWEST:
        return None
    spreads = [
        change.spread for change in levels if change.log_ratio is not None
    ]
    mean, count = fmean(ratios), len(ratios)
    if all(spreads):
        parts = [
            VariancePart(part.variance / count**2, part.freedom)
            for spread in spreads
            for part in spread
        ]
        return Change(None, metric, None, None, mean, tuple(parts))
    part = VariancePart(variance(ratios) / count, count - 1)
    return Change(None, metric, None, None, mean, (part,), WORTH_ONCE_RATIO)


def judge_changes(changes: Sequence[Change]) -> None:
    """Give each change whose noise is known its interval.

    Of two equal runs one comparison in 20 finds anything: the changes over all levels share one
    half of that chance, those at the levels the other (Bonferroni; Dunn 1961, Multiple Comparisons
    among Means). If a metric has changed over all levels, its levels need no such care and have
    plain 95 % intervals (Fisher's protected least significant difference).
    """
    over_all = [
        change for change in changes if change.spread and change.at is None
    ]
    at_levels = [
        change
        for change in changes
        if change.spread and change.at is not None
    ]
    share = FALSE_ALARM_RATIO / (2 if over_all and at_levels else 1)
    for change in over_all:
        change.set_interval(share / len(over_all))
    moved = {
        change.metric for change in over_all if change.verdict == "changed"
    }
    for change in at_levels:
        is_protected = change.metric in moved
        change.set_interval(
            FALSE_ALARM_RATIO if is_protected else share / len(at_levels)
        )


def known_values(levels: Sequence[Row], metric: str) -> list[float]:
    column = COLUMNS[metric]
    return [level[column] for level in levels if (level[column] or 0) > 0]


def total(levels: Sequence[Row], column: str) -> int:
    count: int = sum(level[column] for level in levels)
    return count


def error_ratio(levels: Sequence[Row]) -> float | None:
    """Return the share of failures over all repeats; None if no request ended."""
    errors, completed = total(levels, "errors"), total(levels, "completed")
    ended = errors + completed
    return errors / ended if ended else None
