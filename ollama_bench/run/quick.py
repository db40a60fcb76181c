"""Which levels a quick run measures: 1, 2, 4 ... up to the knee, then those around it again.

Where throughput no longer rises and all are still served, it then goes on to where they are not.
All choices are made of what was measured so far; nothing here sends, waits or stores.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

# doubling the requests must bring so much more of throughput, or it no longer rises
RISE = 1.1
# a level of one request may take this part of the budget: room for those that take longer
FIRST_PART = 24
# after so many of each level around the knee, the first that is served badly is looked for
SURE_REPEATS = 2
MOST_REPEATS = 5  # a sixth would hardly make it surer
# a repeat may take so many times as long as before: one that is cut tells
# nothing, and is a failure of its level
REPEAT_ROOM = 2
# model options that end a reply, too
CEILING_OPTIONS = {"num_predict", "max_tokens", "max_completion_tokens"}
CEILINGS = (256, 128, 64, 32, 16)  # tokens of a reply
# the last level may end so much later than the budget, as a part of it
SLACK = 1 / 6


@dataclass(frozen=True)
class Probe:
    """One level that was measured; None is unknown."""

    concurrency: int
    seconds: float
    tokens_per_s: float | None  # of all its requests together
    reach: (
        float | None
    )  # of what is demanded, as find_reach; from 1 on all


@dataclass(frozen=True)
class CurveStep:
    """All probes of one concurrency, as means."""

    concurrency: int
    repeats: int
    seconds: float
    tokens_per_s: float | None
    reach: float | None

    @property
    def is_missed(self) -> bool:
        """Whether too few of its requests are known to have met the objectives."""
        return self.reach is not None and self.reach < 1


def choose_ceiling(tokens_per_s: float | None, budget_s: float) -> int:
    """Return the longest reply of a budget, from how fast the warm-up's tokens came.

    One of few values, so that two runs of one machine mostly have the same.
    """
    if not tokens_per_s:
        return CEILINGS[2]
    most = tokens_per_s * budget_s / FIRST_PART
    return next((one for one in CEILINGS if one <= most), CEILINGS[-1])


def choose_deadline(budget_s: float, spent_s: float) -> float:
    """Return after how many seconds the next level is cut; to a tenth of one, for it is shown."""
    return round(budget_s * (1 + SLACK) - spent_s, 1)


def choose_next(
    probes: Sequence[Probe], budget_s: float, highest: int
) -> int | None:
    """Return how many requests the next level has; None at the end."""
    if not probes:
        return 1
    if probes[-1].tokens_per_s is None:  # nothing was answered
        return None
    curve = make_curve(probes)
    left_s = budget_s - sum(probe.seconds for probe in probes)
    last = curve[-1]
    can_double = (
        2 * last.concurrency <= highest and expect_s(curve) <= left_s
    )
    if can_double and climbs(curve):
        return 2 * last.concurrency
    around = [
        step
        for step in near_knee(curve)
        if REPEAT_ROOM * step.seconds <= left_s
        and step.repeats < MOST_REPEATS
    ]
    least = min(around, key=lambda step: step.repeats, default=None)
    is_sure = least is None or least.repeats >= SURE_REPEATS
    if can_double and is_sure and not last.is_missed:
        return 2 * last.concurrency
    return least.concurrency if least else None


def make_curve(probes: Sequence[Probe]) -> list[CurveStep]:
    """Return a step for each concurrency, the lowest first."""
    by_level = sorted(probes, key=lambda probe: probe.concurrency)
    return [
        make_step(concurrency, list(group))
        for concurrency, group in itertools.groupby(
            by_level, key=lambda probe: probe.concurrency
        )
    ]


def make_step(concurrency: int, probes: Sequence[Probe]) -> CurveStep:
    return CurveStep(
        concurrency,
        len(probes),
        fmean(probe.seconds for probe in probes),
        mean_known(probe.tokens_per_s for probe in probes),
        mean_known(probe.reach for probe in probes),
    )


def mean_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def climbs(curve: Sequence[CurveStep]) -> bool:
    """Tell whether a higher level may still bring something.

    Two levels are always measured: where not even one request is served well, it still shows
    whether the machine gains by batching.
    """
    last = curve[-1]
    if last.tokens_per_s is None:
        return False
    if len(curve) == 1:
        return True
    before = curve[-2].tokens_per_s
    rises = before is None or last.tokens_per_s >= RISE * before
    return rises and not last.is_missed


def expect_s(curve: Sequence[CurveStep]) -> float:
    """Return the seconds that twice the last level takes if throughput rises as it did last.

    Before a second level is known it may rise fully: then the time is the same.
    """
    last = curve[-1]
    before = curve[-2].tokens_per_s if len(curve) > 1 else None
    if not before or not last.tokens_per_s:
        return last.seconds
    return last.seconds * min(
        2.0, max(1.0, 2 * before / last.tokens_per_s)
    )


def near_knee(curve: Sequence[CurveStep]) -> list[CurveStep]:
    """Return the knee, the level above it and the one below, as far as there are such."""
    place = find_knee_place(curve)
    places = (place, place + 1, place - 1)
    return [curve[one] for one in places if 0 <= one < len(curve)]


def find_knee_place(curve: Sequence[CurveStep]) -> int:
    """Return the place of the last level that is worth it.

    The highest below those that miss the objectives; where none misses them, the lowest whose
    throughput is about that of the best.
    """
    for place, step in enumerate(curve):
        if step.is_missed:
            return max(0, place - 1)
    best = max(step.tokens_per_s or 0.0 for step in curve)
    return next(
        place
        for place, step in enumerate(curve)
        if RISE * (step.tokens_per_s or 0.0) >= best
    )


def suggest_levels(probes: Sequence[Probe], highest: int) -> str:
    """Return the LEVELS that would tell more of what these probes found."""
    curve = make_curve(probes)
    knee = find_knee_place(curve)
    low = curve[knee].concurrency
    if not any(step.is_missed for step in curve):
        return f"x2:{min(2 * curve[-1].concurrency, highest)}"
    if curve[knee].is_missed:  # not even one: how much more would be lost
        return "1,2"
    high = curve[knee + 1].concurrency
    # at most five levels from the last that was served to the first that was not
    step = max(1, (high - low) // 4)
    between = range(low, high + 1, step)
    return ",".join(map(str, [1, *between] if low > 1 else between))
