"""Compare two sides level by level: what changed, and what can be chance.

    found = compare_studies(before, after)
    for change in found.changes: change.metric, change.at, change.ratio, change.verdict

A side is one run or several (change_noise.py has what that means for chance). Of reports on two
equal sides one in 20 says of anything that it changed, however many levels and figures it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ollama_bench.analysis.change_noise import (
    Noise,
    Run,
    Sides,
    logarithms,
)
from ollama_bench.analysis.conditions import COMPARED
from ollama_bench.analysis.study import Row, Size, Study, is_whole, size_of
from ollama_bench.statistics.multiplicity import holm
from ollama_bench.statistics.proportions import Share
from ollama_bench.statistics.welch import (
    VariancePart,
    least_seen,
    ratio_interval,
    two_sided_p,
)

# of reports on two equal sides may say that anything changed
FALSE_ALARM_RATIO = 0.05
# of these: the first question (see judge_changes), for the worse, for the
# better, and everything else
FIRST_WORSE_ALPHA, FIRST_BETTER_ALPHA, OTHERS_ALPHA = 0.036, 0.005, 0.005
FIRST_QUESTION = {"output_tokens_per_s": True}
WORSE_WHEN_LESS = {"tokens_per_s", "output_tokens_per_s"}
WORTH_RATIO = 0.01  # a smaller change is not worth a word, however sure
ALIKE_RATIO = 0.1  # "no change" is said where more than this is excluded
SEEN_POWER = 0.8  # how probable it is that the least change is seen
MOST_RUNS = 99  # that are proposed

Groups = dict[Size, list[Row]]  # levels by size


@dataclass
class Change:
    """One metric at one level, or over all levels, and how sure its change is."""

    at: Size | None  # None: over all levels
    metric: str
    # geometric mean of the measurements; None over all levels
    before: float | None
    # the same; None also if it had values and has none now
    after: float | None
    log_ratio: float | None = None  # ln(after / before)
    noise: Noise | None = None  # None: not judged
    is_unlike: bool = False  # the two sides did not do the same there
    # of the ratio, see judge_changes()
    interval: tuple[float, float] | None = None
    # ratio, for the worse, that would have been seen in 4 of 5 cases
    least_seen: float | None = None

    @property
    def ratio(self) -> float:
        """The change as a ratio less 1; it must not be gone."""
        if self.log_ratio is None:
            raise ValueError(f"{self.metric} has no values on one side")
        return math.expm1(self.log_ratio)

    @property
    def verdict(self) -> str:
        """gone, unlike, changed, under 1%, within 10% (no change that large) or cannot tell."""
        if self.log_ratio is None:
            return "gone"
        if self.is_unlike:
            return "unlike"
        if self.interval is None:
            return "cannot tell"
        low, high = self.interval
        if low > 0 or high < 0:
            is_worth = abs(self.ratio) >= WORTH_RATIO
            return "changed" if is_worth else f"under {WORTH_RATIO:.0%}"
        if low >= -ALIKE_RATIO and high <= ALIKE_RATIO:
            return f"within {ALIKE_RATIO:.0%}"
        return "cannot tell"

    @property
    def parts(self) -> tuple[VariancePart, ...]:
        return self.noise.parts if self.noise else ()

    def judge(
        self, falls: float, rises: float, is_less_worse: bool
    ) -> None:
        """Set the interval; falls and rises: the chance that either is said of equal sides."""
        if self.log_ratio is None:
            return
        self.interval = ratio_interval(
            self.log_ratio, self.parts, rises, falls
        )
        size = least_seen(
            self.parts, falls if is_less_worse else rises, SEEN_POWER
        )
        self.least_seen = math.expm1(-size if is_less_worse else size)


@dataclass
class Comparison:
    """Two sides by concurrency, and every change between them."""

    before: Groups
    after: Groups
    # concurrency: why the sides did not do the same there
    unlike: Mapping[int, Sequence[str]]
    # that did not come to their end, or slept: not compared
    unfinished: frozenset[int] = frozenset()
    changes: list[Change] = field(default_factory=list)
    # comparisons that are judged together: all share the false alarms
    reports: int = 1

    @property
    def shared(self) -> list[int]:
        return sorted(set(self.before) & set(self.after))

    @property
    def rows(self) -> list[Row]:
        """All levels of both sides."""
        groups = [*self.before.values(), *self.after.values()]
        return [level for levels in groups for level in levels]

    @property
    def dead(self) -> list[int]:
        """Levels that had replies, and have none now or are not there."""
        return [
            n
            for n, levels in self.before.items()
            if n not in self.unfinished
            and total(levels, "completed")
            and not total(self.after.get(n, []), "completed")
        ]


def compare_studies(
    before: Study,
    after: Study,
    asked: Mapping[str, bool] | None = None,
    unlike: Mapping[int, Sequence[str]] | None = None,
    history: Sequence[Study] = (),
) -> Comparison:
    """Compare every metric at every level that both sides have, then over all levels.

    asked: the metrics that decide, and whether less of them is worse; they are the first question.
    unlike: levels at which the sides did not do the same, which are shown and not judged.
    history: earlier runs of this machine, a study for each group that was alike.
    """
    found = find_changes(before, after, asked, unlike, history)
    judge_together([found], asked)
    return found


def judge_together(
    found: Sequence[Comparison], asked: Mapping[str, bool] | None = None
) -> None:
    """Judge the changes of one report, which may compare several pairs of studies."""
    for one in found:
        one.reports = len(found)
    changes = [change for one in found for change in one.changes]
    judge_changes(changes, asked or FIRST_QUESTION)


def find_changes(
    before: Study,
    after: Study,
    asked: Mapping[str, bool] | None,
    unlike: Mapping[int, Sequence[str]] | None,
    history: Sequence[Study],
) -> Comparison:
    """Return what compare_studies does, not yet judged.

    Joules of the GPU alone are compared only if they are asked for, or no more is known of a level.
    Levels that were interrupted or in which the machine slept are left out.
    """
    unfinished = frozenset(
        size_of(level)
        for level in before.levels + after.levels
        if not is_whole(level)
    )
    before, after = whole_levels(before), whole_levels(after)
    sides = Sides(
        split_runs(before),
        split_runs(after),
        [split_runs(whole_levels(study)) for study in history],
    )
    found = Comparison(
        before.by_size(),
        after.by_size(),
        unlike or {},
        unfinished,
    )
    metrics = [*COMPARED]
    if "gpu_joules_per_token" not in (asked or {}) and not knows_gpu_alone(
        before.levels + after.levels
    ):
        metrics.remove("gpu_joules_per_token")
    for n in found.shared:
        for metric in metrics:
            change = compare_level(n, metric, found, sides)
            if change is not None:
                found.changes.append(change)
    over_all = [compare_all(metric, found, sides) for metric in metrics]
    found.changes += [change for change in over_all if change is not None]
    return found


def whole_levels(study: Study) -> Study:
    return replace(study, levels=[*filter(is_whole, study.levels)])


def split_runs(study: Study) -> list[Run]:
    """Return the levels of each run by size."""
    runs: dict[int, Groups] = {}
    for level in study.levels:
        run = runs.setdefault(level["run_id"], {})
        run.setdefault(size_of(level), []).append(level)
    return [*runs.values()]


def knows_gpu_alone(levels: Sequence[Row]) -> bool:
    return any(
        logarithms([level], "gpu_joules_per_token")
        and not logarithms([level], "joules_per_token")
        for level in levels
    )


def compare_level(
    n: int, metric: str, found: Comparison, sides: Sides
) -> Change | None:
    """Return what a metric did at one level; None if it had no values."""
    old = geometric_mean(found.before[n], metric)
    new = geometric_mean(found.after[n], metric)
    if old is None:
        return None
    known = sides.change(metric, [n])
    if new is None or known is None:
        return Change(n, metric, old, None)
    log_ratio, noise = known
    if found.unlike.get(n):
        return Change(n, metric, old, new, log_ratio, is_unlike=True)
    return Change(n, metric, old, new, log_ratio, noise)


def geometric_mean(levels: Sequence[Row], metric: str) -> float | None:
    logs = logarithms(levels, metric)
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def compare_all(
    metric: str, found: Comparison, sides: Sides
) -> Change | None:
    """Return the mean change over all like levels that have it; None for fewer than two."""
    places = [
        change.at
        for change in found.changes
        if change.metric == metric
        and change.at is not None
        and change.noise is not None
    ]
    known = sides.change(metric, places) if len(places) > 1 else None
    if known is None:
        return None
    return Change(None, metric, None, None, *known)


def judge_changes(
    changes: Sequence[Change], asked: Mapping[str, bool] = FIRST_QUESTION
) -> None:
    """Give each change whose noise is known its interval.

    The first question is whether a metric that decides got worse over all levels; it has most of
    the 5 % of false alarms, 0.5 are for whether it got better, 0.5 for all other changes. If
    the first question is answered by a change, all others have the whole 5 % (the fallback
    procedure: Wiens 2003, Wiens and Dmitrienko 2005); they share it by Holm's steps.
    """
    judged = [change for change in changes if change.noise is not None]
    firsts = find_firsts(judged, asked)
    for change in firsts:
        is_less_worse = asked[change.metric]
        worse = FIRST_WORSE_ALPHA / len(firsts)
        better = FIRST_BETTER_ALPHA / len(firsts)
        falls, rises = (
            (worse, better) if is_less_worse else (better, worse)
        )
        change.judge(falls, rises, is_less_worse)
    others = [
        change
        for change in judged
        if not any(change is first for first in firsts)
    ]
    is_answered = all(
        change.verdict in ("changed", f"under {WORTH_RATIO:.0%}")
        for change in firsts
    )
    budget = FALSE_ALARM_RATIO if is_answered else OTHERS_ALPHA
    p_values = [
        two_sided_p(change.log_ratio or 0.0, change.parts)
        for change in others
    ]
    for change, alpha in zip(others, holm(p_values, budget), strict=True):
        is_less_worse = change.metric in WORSE_WHEN_LESS
        change.judge(alpha / 2, alpha / 2, is_less_worse)


def find_firsts(
    changes: Sequence[Change], asked: Mapping[str, bool]
) -> list[Change]:
    """Return the changes that decide: those over all levels, or at the only one."""
    found = []
    for metric in asked:
        own = [change for change in changes if change.metric == metric]
        whole = [change for change in own if change.at is None]
        found += whole or (own if len(own) == 1 else [])
    return found


def runs_needed(change: Change, ratio: float = ALIKE_RATIO) -> int | None:
    """Return how many runs a side would show a change of a metric that decides; None: too many."""
    if change.noise is None:
        return None
    share = sum(1 / count for count in change.noise.runs)
    variance = sum(part.variance for part in change.parts) / share
    for count in range(3, MOST_RUNS + 1):
        part = VariancePart(2 * variance / count, 2 * count - 2)
        if least_seen((part,), FIRST_WORSE_ALPHA, SEEN_POWER) <= (
            math.log1p(ratio)
        ):
            return count
    return None


def total(levels: Sequence[Row], column: str) -> int:
    count: int = sum(level[column] for level in levels)
    return count


def failed_share(levels: Sequence[Row]) -> Share | None:
    """Return how many requests failed over all repeats and runs; None if none ended."""
    errors, completed = total(levels, "errors"), total(levels, "completed")
    return (
        Share(errors, errors + completed) if errors + completed else None
    )


def known_shares(found: Comparison) -> dict[int, tuple[Share, Share]]:
    """Return the failed requests on both sides of each like level."""
    shares = {}
    for n in found.shared:
        old, new = (
            failed_share(side[n]) for side in (found.before, found.after)
        )
        if old and new and n not in found.dead and not found.unlike.get(n):
            shares[n] = old, new
    return shares


def shed_load(found: Comparison) -> dict[int, tuple[Share, Share]]:
    """Return the failed requests of each level at which many more fail than before."""
    return {
        n: (old, new)
        for n, (old, new) in known_shares(found).items()
        if new.ratio - old.ratio > ALIKE_RATIO
    }
