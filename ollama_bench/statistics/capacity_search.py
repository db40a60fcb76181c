"""Which load to try next in a search for the highest that is served, and what was found.

    search = CapacitySearch(CountScale(256))
    while step := search.choose_next():
        search.add(try_it(step))  # a Trial of step.size
    search.find_capacity()

It doubles until a load is missed, then bisects between the highest that was served and the lowest
that was missed. Loads on the way are tried quickly. The two at the end decide, so that they are
tried again: the one that was served until that is sure, the one that was missed a second time,
since a hiccup may have been the reason; the evidence of both times adds up. A load that could not
be decided is neither: the search goes on below and above it, and the interval holds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from ollama_bench.statistics.sequential import NO_EVIDENCE, Evidence

# saturated: missed, since what is in flight grows without end
TrialVerdict = Literal["above", "below", "saturated", "unresolved"]

ALPHA = 0.05  # 95 % confidence at either end
# of a load on the way: wrong ones show when the end is tried again
QUICK_ALPHA = 0.25
SURE = math.log(1 / ALPHA)
LIKELY = math.log(1 / QUICK_ALPHA)
MOST_EVIDENCE = 2 * SURE  # of one trial
MOST_TRIES = 4  # of one load
MISSES = 2  # that are sure
STEP = 0.05
# of one alone so many requests take long, and tell little
FIRST_COUNT = 4.0
# of the rate that a saturated server answers: what it may sustain
SUSTAINED = 0.95
RESERVED = 0.4  # of a budget
LEAST_RATE_RATIO = 1 / 256  # of the first rate: the lowest that is tried


def is_late(left_s: float, budget_s: float) -> bool:
    """Tell whether so little of a budget is left that what was served is made sure first."""
    return left_s < RESERVED * budget_s


class Scale(Protocol):
    """The loads that a search chooses from."""

    @property
    def first(self) -> float:
        """The load to try first."""

    def double(self, size: float) -> float:
        """Return the load to try after one that was served; the same: there is no higher one."""

    def halve(self, size: float) -> float | None:
        """Return a load below the lowest tried, which was missed; None: there is none."""

    def split(self, low: float, high: float) -> float | None:
        """Return a load between two; None: they are as near as they need be."""

    def round_down(self, size: float) -> float:
        """Return the highest load there is up to a size."""


class CountScale:
    """People, or requests at once: from 1 to the highest, in steps of 1.

    step: of larger counts, as a part of them.
    """

    def __init__(self, highest: int, step: float = 0.0) -> None:
        self.highest = float(highest)
        self.first = min(FIRST_COUNT, self.highest)
        self._step = step

    def double(self, size: float) -> float:
        return min(2 * size, self.highest)

    def halve(self, size: float) -> float | None:
        return self.split(0.0, size)

    def split(self, low: float, high: float) -> float | None:
        is_near = high - low <= max(1.0, self._step * low)
        return None if is_near else (low + high) // 2

    def round_down(self, size: float) -> float:
        return size // 1


class RateScale:
    """Requests per second, in steps of 5 %."""

    def __init__(self, first: float) -> None:
        self.first = round_rate(first)

    def double(self, size: float) -> float:
        return 2 * size

    def halve(self, size: float) -> float | None:
        half = round_rate(size / 2)
        return half if half >= self.first * LEAST_RATE_RATIO else None

    def split(self, low: float, high: float) -> float | None:
        if high <= low * (1 + STEP) * (1 + 1e-9):
            return None
        return round_rate(math.sqrt(low * high))

    def round_down(self, size: float) -> float:
        return size


def round_rate(rate: float) -> float:
    """Return a rate with three significant digits."""
    return float(f"{rate:.3g}")


@dataclass(frozen=True)
class SearchStep:
    """A load to try."""

    size: float
    # a quick look is enough: it will not be an end of the interval
    is_quick: bool
    # the nearest higher load that was missed or not decided / size; 2 where there is none
    margin: float = 2.0
    # of earlier trials of this load
    evidence: Evidence = NO_EVIDENCE

    @property
    def needed(self) -> Evidence:
        """Return how much evidence decides."""
        return Evidence(LIKELY if self.is_quick else SURE, SURE)


@dataclass(frozen=True)
class Trial:
    """How a load that was tried fared."""

    size: float
    verdict: TrialVerdict
    evidence: Evidence = NO_EVIDENCE  # of this trial alone
    # share of good requests / the share that is enough, of the demand that is met least
    reach: float = 0.0
    count: int = 0  # requests that were judged
    seconds: float = 0.0
    # names of the objectives that too few requests met
    binding: tuple[str, ...] = ()
    # of a saturated server: requests/s that it answered
    answered_per_s: float | None = None
    # how much longer it would have taken; None: unknown
    more_s: float | None = None


def restore_trial(stored: Mapping[str, Any]) -> Trial:
    """Return a trial from its fields, as JSON keeps them."""
    above, below = stored["evidence"]
    return Trial(
        **{
            **stored,
            "evidence": Evidence(above, below),
            "binding": tuple(stored["binding"]),
        }
    )


@dataclass(frozen=True)
class Capacity:
    """What a search found; None is unknown.

    The highest load that is served lies from ``low`` on and below ``missed``.
    """

    # the highest that was served, sure or not; 0: none was
    likely: float
    # where the share that is enough is crossed, as far as was seen
    value: float | None
    # the highest that surely was; 0: not even the lowest was
    low: float | None
    # the lowest above it that was not; None: none was
    missed: float | None
    # both ends are sure, and nothing is left to try
    is_complete: bool
    binding: tuple[str, ...]  # what was missed there
    seconds: float  # of all trials
    unresolved: tuple[float, ...] = ()  # loads between the two
    more_s: float | None = None  # that these would have taken


class Weighted(NamedTuple):
    """A mean of so many requests."""

    mean: float
    requests: int


def make_falling(means: Sequence[Weighted]) -> list[float]:
    """Return the means nearest to these of which none rises (pool adjacent violators).

    Ayer et al. 1955, An empirical distribution function for sampling with incomplete information.
    """
    pools: list[tuple[Weighted, int]] = []  # and how many means are in it
    for pool in means:
        size = 1
        while pools and pools[-1][0].mean < pool.mean:
            last, last_size = pools.pop()
            requests = last.requests + pool.requests
            total = last.mean * last.requests + pool.mean * pool.requests
            pool = Weighted(total / (requests or 1), requests)
            size += last_size
        pools.append((pool, size))
    return [pool.mean for pool, size in pools for _ in range(size)]


class CapacitySearch:
    """Chooses one load after the other."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self.trials: list[Trial] = []

    def add(self, trial: Trial) -> None:
        """Take what a trial has found."""
        self.trials.append(trial)

    def choose_next(
        self, left_s: float = 0.0, is_late: bool = False
    ) -> SearchStep | None:
        """Return the load to try next; None: the search is at its end.

        left_s: what could not be decided is tried again where so many seconds will do. is_late:
        what was served is made sure before higher loads are tried.
        """
        if not self.trials:
            return SearchStep(self._scale.first, is_quick=True)
        served, missed = self._find_ends()
        between = self._list_between(served, missed)
        if is_late and (step := self._assure(served, missed, between)):
            return step
        size = self._choose_size(served, missed, between)
        if size is not None:
            return self._make_step(size, missed, between)
        step = self._confirm(served, missed, between)
        return step or self._resolve(missed, between, left_s)

    def _choose_size(
        self,
        served: float,
        missed: float | None,
        between: Sequence[float],
    ) -> float | None:
        if missed is None:
            highest = max(served, *between) if between else served
            higher = self._scale.double(highest)
            return higher if higher > highest else None
        if hint := self._find_hint(served, missed):
            return hint
        found = self._split(served, between[0] if between else missed)
        if found is None and between:
            found = self._split(between[-1], missed)
        return found

    def _split(self, low: float, high: float) -> float | None:
        if not low:
            return self._scale.halve(high)
        return self._scale.split(low, high)

    def _find_hint(self, served: float, missed: float) -> float | None:
        """Return what the saturated server may sustain, if that is not known better."""
        if not isinstance(self._scale, RateScale):
            return None
        answered = [
            trial.answered_per_s
            for trial in self.trials
            if trial.answered_per_s
        ]
        if not answered:
            return None
        hint = round_rate(SUSTAINED * answered[-1])
        apart = 1 + STEP
        is_between = served * apart < hint < missed / apart
        is_known = any(
            hint / apart < trial.size < hint * apart
            for trial in self.trials
        )
        return hint if is_between and not is_known else None

    def _make_step(
        self, size: float, missed: float | None, between: Sequence[float]
    ) -> SearchStep:
        higher = [one for one in between if one > size]
        bound = min(higher, default=missed)
        if bound is None:
            return SearchStep(size, is_quick=True)
        # if it is served, nothing is tried between the two
        is_last = self._split(size, bound) is None
        return SearchStep(size, not is_last, bound / size)

    def _confirm(
        self,
        served: float,
        missed: float | None,
        between: Sequence[float],
    ) -> SearchStep | None:
        """Return the end that is not sure."""
        if step := self._assure(served, missed, between):
            return step
        if missed is None or self._count(missed) >= MISSES:
            return None
        lower = between[-1] if between else served
        margin = missed / lower if lower else 2.0
        return SearchStep(missed, False, margin, self._add_up(missed))

    def _assure(
        self,
        served: float,
        missed: float | None,
        between: Sequence[float],
    ) -> SearchStep | None:
        """Return the load that was served, where that is not sure."""
        if (
            not served
            or self._add_up(served).above >= SURE
            or self._count(served) >= MOST_TRIES
        ):
            return None
        bound = between[0] if between else missed
        margin = bound / served if bound else 2.0
        return SearchStep(served, False, margin, self._add_up(served))

    def _resolve(
        self, missed: float | None, between: Sequence[float], left_s: float
    ) -> SearchStep | None:
        """Return the load between the ends that is decided soonest, if that is soon enough."""
        found = []
        for size in between:
            tried = [one for one in self.trials if one.size == size]
            more_s = tried[-1].more_s
            if len(tried) < MOST_TRIES and more_s and more_s < left_s:
                found.append((more_s, size))
        if not found or missed is None:
            return None
        size = min(found)[1]
        higher = [*(one for one in between if one > size), missed]
        return SearchStep(
            size, False, higher[0] / size, self._add_up(size)
        )

    # -- what is known of each load

    def _count(self, size: float) -> int:
        return sum(trial.size == size for trial in self.trials)

    def _add_up(self, size: float) -> Evidence:
        """Add up the trials of a load: none of them alone outweighs all others."""
        found = [one.evidence for one in self.trials if one.size == size]
        return Evidence(
            sum(min(one.above, MOST_EVIDENCE) for one in found),
            sum(min(one.below, MOST_EVIDENCE) for one in found),
        )

    def _judge(self, size: float) -> TrialVerdict:
        evidence = self._add_up(size)
        if evidence.below >= SURE:
            return "below"
        is_tried = self._count(size) >= MOST_TRIES
        needed = SURE if is_tried else LIKELY
        return "above" if evidence.above >= needed else "unresolved"

    def _find_ends(self) -> tuple[float, float | None]:
        """Return the highest load that was served below the lowest that was missed, and that.

        0: none was served. None: none was missed.
        """
        served, missed = 0.0, None
        for size in sorted({trial.size for trial in self.trials}):
            verdict = self._judge(size)
            if verdict == "below":
                missed = size
                break
            if verdict == "above":
                served = size
        return served, missed

    def _list_between(
        self, served: float, missed: float | None
    ) -> list[float]:
        sizes = {trial.size for trial in self.trials}
        return sorted(
            size
            for size in sizes
            if size > served and (missed is None or size < missed)
        )

    def _find_value(
        self, low: float | None, missed: float | None
    ) -> float | None:
        """Return where the share of good requests crosses what is enough, between the two ends.

        A higher load is served no better: what chance has turned round is averaged.
        """
        if low is None or missed is None:
            return low
        sizes = [low, *self._list_between(low, missed), missed]
        reaches = make_falling([self._measure_reach(one) for one in sizes])
        for place, reach in enumerate(reaches[1:], 1):
            if reach < 1:
                above = reaches[place - 1]
                part = (above - 1) / (above - reach) if above > 1 else 0.0
                step = sizes[place] - sizes[place - 1]
                size = sizes[place - 1] + part * step
                return max(low, self._scale.round_down(size))
        return sizes[-2]

    def _measure_reach(self, size: float) -> Weighted:
        found = [one for one in self.trials if one.size == size]
        count = sum(one.count for one in found)
        total = sum(one.reach * one.count for one in found)
        return Weighted(total / count if count else 0.0, count)

    def find_capacity(self) -> Capacity:
        """Return what is known by now."""
        served, missed = self._find_ends()
        between = self._list_between(served, missed)
        sure = [
            trial.size
            for trial in self.trials
            if trial.size <= served
            and self._add_up(trial.size).above >= SURE
        ]
        low = max(sure, default=None)
        is_lowest = (
            missed is not None and self._scale.halve(missed) is None
        )
        if not served and not between and is_lowest:
            low = 0.0
        binding = [
            trial.binding
            for trial in self.trials
            if trial.size == missed and trial.binding
        ]
        more = [
            trial.more_s for trial in self.trials if trial.size in between
        ]
        return Capacity(
            served,
            self._find_value(low, missed),
            low,
            missed,
            self.choose_next() is None and low == served,
            binding[-1] if binding else (),
            sum(trial.seconds for trial in self.trials),
            tuple(between),
            sum(one for one in more if one is not None) if more else None,
        )
