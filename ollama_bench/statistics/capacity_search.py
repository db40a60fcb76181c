"""Which load to try next in a search for the highest that is served, and what was found.

    search = CapacitySearch(CountScale(256))
    while step := search.choose_next():
        search.add(try_it(step))  # a Trial of step.size
    search.find_capacity()

A load is looked at quickly, and looks good or bad, sure or not. The search doubles until one looks
bad, then bisects between the highest that looks good and the lowest that looks bad, in steps as
small as the budget can tell apart. The two at the edge are tried again until each is sure: the
good one is shown to be served, the bad one to be missed, and a hiccup is not taken for the
capacity. What cannot be sure gives way to the next load below, or above. In the second half of the
budget what looks good is shown first, the highest that can still be. The evidence of all tries of
a load adds up, that of a quick look little. What is shown and what is missed are the interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ollama_bench.statistics.load_scales import (
    STEP,
    RateScale,
    Scale,
    round_rate,
)
from ollama_bench.statistics.sequential import NO_EVIDENCE, Evidence

# saturated: missed, since what is in flight grows without end
TrialVerdict = Literal["above", "below", "saturated", "unresolved"]

ALPHA = 0.025  # at either end: 95 % confidence of both
# of a load on the way: wrong ones show when the end is tried again
QUICK_ALPHA = 0.25
SURE = math.log(1 / ALPHA)
LIKELY = math.log(1 / QUICK_ALPHA)
MOST_EVIDENCE = 2 * SURE  # of one trial
MOST_TRIES = 3  # of one load
MISSES = 2  # that are sure
# of the rate that a saturated server answers: what it may sustain
SUSTAINED = 0.95
RESERVED = 0.5  # of a budget
# of what is left: what needs more is tried last
MOST_PART = 0.5
# of what is left: a first look that takes more leaves too little to show what it finds
QUICK_PART = 1 / 3
# the lowest that is missed / the highest that is shown, where nothing is said of what is between
WIDE = 1.3
# loads from the highest that is shown to the lowest that is missed
NARROW = 2
# that a verdict would take: nobody waits for it
LONG_S = 3600.0


def is_late(left_s: float, budget_s: float) -> bool:
    """Tell whether so little of a budget is left that what was served is made sure first."""
    return left_s < RESERVED * budget_s


@dataclass(frozen=True)
class SearchStep:
    """A load to try."""

    size: float
    # the first look at a load: it tells where to go on
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

    # the highest that looks good, shown or not; 0: none does
    likely: float
    # the best guess between low and missed, where they are near; else what is shown
    value: float | None
    # the highest that surely was; 0: not even the lowest was
    low: float | None
    # the lowest above it that was not; None: none was
    missed: float | None
    binding: tuple[str, ...]  # what was missed there
    seconds: float  # of all trials
    unresolved: tuple[float, ...] = ()  # loads between the two
    # that these would have taken; where nothing is shown, what looks good
    more_s: float | None = None
    # the best guess between low and missed, near or not; None: one of them is unknown
    guess: float | None = None


class Weighted(NamedTuple):
    """A mean of so many requests."""

    mean: float
    requests: int


def make_falling(means: Sequence[Weighted]) -> list[float]:
    """Return the means nearest to these of which none rises (pool adjacent violators).

    Ayer et al. 1955, An empirical distribution function for sampling with incomplete information.
    """
    # it takes a while to load
    from scipy.optimize import isotonic_regression

    found = isotonic_regression(
        [one.mean for one in means],
        weights=[max(1, one.requests) for one in means],
        increasing=False,
    )
    return [float(mean) for mean in found.x]


class Edge(NamedTuple):
    """Where the loads that were tried turn from good to bad: shown <= good < bad <= missed."""

    shown: float  # the highest that surely was served; 0: none
    good: float  # the highest that looks good; 0: none
    bad: float | None  # the lowest above it that does not; None: none
    missed: float | None  # the lowest that surely was missed; None: none


def make_new(size: float, higher: float | None = None) -> SearchStep:
    """Return a step to a load that was not tried, below another that was."""
    margin = 2.0 if higher is None else higher / size
    return SearchStep(size, is_quick=True, margin=margin)


class CapacitySearch:
    """Chooses one load after the other."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self.trials: list[Trial] = []

    def add(self, trial: Trial) -> None:
        """Take what a trial has found."""
        self.trials.append(trial)

    def choose_next(
        self,
        left_s: float = math.inf,
        is_late: bool = False,
        find_least_s: Callable[[SearchStep], float] = lambda _: 0.0,
    ) -> SearchStep | None:
        """Return the load to try next; None: the search is at its end.

        left_s: of the budget. is_late: what looks good is shown before other loads are tried.
        find_least_s: how long a step takes at least.
        """
        if not self.trials:
            return SearchStep(self._scale.first, is_quick=True)
        edge = self._find_edge()
        if self._is_narrow(edge):
            return None
        on, good = self._approach(edge), self._show_good(edge, left_s)
        first = [*good, *on] if is_late else [*on, *good]
        steps = [*first, *self._show_bad(edge)]
        least_s = [find_least_s(step) for step in steps]
        for step, one_s in zip(steps, least_s, strict=True):
            part = QUICK_PART if step.is_quick else MOST_PART
            if one_s <= part * left_s:
                return step
        for step, one_s in zip(steps, least_s, strict=True):
            # a new one must leave time to try it again
            if one_s <= left_s and not step.is_quick:
                return step
        return None

    def is_shown(self, size: float, more: Evidence = NO_EVIDENCE) -> bool:
        """Tell whether a load surely was served, by all of its trials and what more is seen."""
        above = min(more.above, MOST_EVIDENCE)
        return self._add_up(size).above + above >= SURE

    def _is_narrow(self, edge: Edge) -> bool:
        """Tell whether nothing but what was tried in vain is between the two sure ends."""
        if not edge.shown or edge.missed is None:
            return False
        sizes = self._list_sizes(edge.shown, edge.missed)
        return (
            len(sizes) <= NARROW
            and not any(
                self._split(*pair)
                for pair in itertools.pairwise([edge.shown, *sizes])
            )
            and min(map(self._count, sizes)) >= MISSES
        )

    # -- towards the edge

    def _approach(self, edge: Edge) -> list[SearchStep]:
        """Return a load beyond or between those at the edge, if there is one."""
        good, bad = edge.good, edge.bad
        if bad is None:
            higher = self._scale.double(good)
            return [make_new(higher)] if higher > good else []
        size = self._find_hint(good, bad) or self._split(good, bad)
        return [make_new(size, bad)] if size else []

    def _split(self, low: float, high: float) -> float | None:
        if not low:
            return self._scale.halve(high)
        return self._scale.split(low, high)

    def _find_hint(self, good: float, bad: float) -> float | None:
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
        is_between = good * apart < hint < bad / apart
        is_known = any(
            hint / apart < size < hint * apart for size in self._sizes
        )
        return hint if is_between and not is_known else None

    # -- at the edge

    def _show_good(self, edge: Edge, left_s: float) -> list[SearchStep]:
        """Return what may show a higher load to be served, the best first.

        That is the highest that looks good and can be shown in time; then a new one below them;
        then what takes least.
        """
        unsure = self._list_sizes(edge.shown, edge.good)
        if not unsure:
            return []
        again = [
            self._try_again(size, edge.bad / size if edge.bad else 2.0)
            for size in reversed(unsure)
            if self._count(size) < MOST_TRIES
        ]
        more_s = {
            step: self._find_more_s(step.size) or math.inf
            for step in again
        }
        soon = [step for step in again if more_s[step] <= left_s]
        slow = sorted(again, key=more_s.__getitem__)
        lower = self._split(edge.shown, unsure[0])
        new = [make_new(lower, unsure[0])] if lower else []
        # while nothing is shown: again, not far down
        return (
            [*soon, *new, *slow] if edge.shown else [*soon, *slow] or new
        )

    def _show_bad(self, edge: Edge) -> list[SearchStep]:
        """Return what may show a lower load to be missed, the best first.

        That is the lowest that looks bad, until it is sure; then a new one above it.
        """
        if edge.bad is None:
            return []
        unsure = self._list_sizes(edge.good, edge.missed or math.inf)
        again = [
            self._try_again(size, size / edge.good if edge.good else 2.0)
            for size in unsure
            if self._count(size) < self._find_most_tries(size)
        ]
        *lower, highest = unsure
        if edge.missed is None:
            higher = self._scale.double(highest)
            new = [make_new(higher)] if higher > highest else []
        else:
            between = lower and self._scale.split(lower[-1], highest)
            new = [make_new(between, highest)] if between else []
        return [*again, *new]

    def _find_most_tries(self, size: float) -> int:
        is_sure = self._add_up(size).below >= SURE
        return MISSES if is_sure else MOST_TRIES

    def _try_again(self, size: float, margin: float) -> SearchStep:
        return SearchStep(size, False, margin, self._add_up(size))

    # -- what is known of each load

    @property
    def _sizes(self) -> list[float]:
        return sorted({trial.size for trial in self.trials})

    def _list_sizes(self, above: float, up_to: float) -> list[float]:
        return [size for size in self._sizes if above < size <= up_to]

    def _find_trials(self, size: float) -> list[Trial]:
        return [trial for trial in self.trials if trial.size == size]

    def _count(self, size: float) -> int:
        return len(self._find_trials(size))

    def _find_more_s(self, size: float) -> float | None:
        return self._find_trials(size)[-1].more_s

    def _add_up(self, size: float) -> Evidence:
        """Add up the trials of a load: none of them alone outweighs all others."""
        found = [one.evidence for one in self._find_trials(size)]
        return Evidence(
            sum(min(one.above, MOST_EVIDENCE) for one in found),
            sum(min(one.below, MOST_EVIDENCE) for one in found),
        )

    def _looks_good(self, size: float) -> bool:
        """Tell whether enough of its requests were good, though that may be chance."""
        last = self._find_trials(size)[-1]
        is_growing = last.verdict == "saturated"
        return not is_growing and self._measure_reach(size).mean >= 1

    def _find_edge(self) -> Edge:
        sizes = self._sizes
        missed = next(
            (one for one in sizes if self._add_up(one).below >= SURE), None
        )
        lower = [one for one in sizes if missed is None or one < missed]
        shown = max(
            (one for one in lower if self.is_shown(one)),
            default=0.0,
        )
        bad = next(
            (
                one
                for one in lower
                if one > shown and not self._looks_good(one)
            ),
            missed,
        )
        good = max(
            (one for one in lower if bad is None or one < bad),
            default=0.0,
        )
        return Edge(shown, good, bad, missed)

    def _measure_reach(self, size: float) -> Weighted:
        found = self._find_trials(size)
        count = sum(one.count for one in found)
        total = sum(one.reach * one.count for one in found)
        return Weighted(total / count if count else 0.0, count)

    # -- what was found

    def find_capacity(self) -> Capacity:
        """Return what is known by now."""
        edge = self._find_edge()
        missed = edge.missed
        is_lowest = missed is not None and not self._split(0.0, missed)
        has_none = not edge.good and is_lowest and edge.bad == missed
        unresolved = [
            size
            for size in self._list_sizes(edge.shown, missed or math.inf)
            if size != missed
        ]
        binding = [
            trial.binding
            for trial in self.trials
            if trial.size == missed and trial.binding
        ]
        is_open = edge.good and not edge.shown
        open_sizes = [edge.good] if is_open else unresolved
        more = [self._find_more_s(one) for one in open_sizes]
        guess = self._find_guess(edge)
        is_wide = guess is None or (missed or 0.0) > WIDE * edge.shown
        return Capacity(
            edge.good,
            (edge.shown or None) if is_wide else guess,
            edge.shown or (0.0 if has_none else None),
            missed,
            binding[-1] if binding else (),
            sum(trial.seconds for trial in self.trials),
            tuple(unresolved),
            sum(filter(None, more)) or None,
            guess,
        )

    def _find_guess(self, edge: Edge) -> float | None:
        """Return where the share of good requests crosses what is enough, of all loads.

        A higher load is served no better: what chance has turned round is averaged.
        """
        lowest, highest = edge.shown, edge.missed
        if not lowest or highest is None:
            return None
        sizes = self._sizes
        reaches = make_falling([self._foresee_reach(one) for one in sizes])
        pairs = zip(sizes, reaches, strict=True)
        for (low, above), (high, reach) in itertools.pairwise(pairs):
            if reach < 1 <= above:
                part = (above - 1) / (above - reach)
                size = low + part * (high - low)
                break
        else:
            size = highest if reaches[0] >= 1 else lowest
        if size >= highest:
            size = max(one for one in sizes if one < highest)
        return max(lowest, self._scale.round_down(size))

    def _foresee_reach(self, size: float) -> Weighted:
        """Return the reach in the long run: a queue that grows leaves nobody in time."""
        found = self._find_trials(size)
        total = sum(
            one.reach * one.count
            for one in found
            if one.verdict != "saturated"
        )
        count = sum(one.count for one in found)
        return Weighted(total / (count or 1), count)
