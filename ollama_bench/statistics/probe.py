"""Judges one load while it runs, and tells as soon as it is decided.

probe = ShareProbe([0.95], step, ProbePlan(left_s=60.0, wait_s=10.0))
probe.add(asked_s, [True], [0.3])  # each request, in the order in which they were asked
probe.look(now_s)  # None: go on
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ollama_bench.statistics.capacity_search import (
    ALPHA,
    LIKELY,
    SURE,
    SearchStep,
    TrialVerdict,
)
from ollama_bench.statistics.sequential import Evidence, ShareTest

# so many times what a rate that is too high by the margin needs to show it
SHOWS = 1.5
LEAST_EXCESS = 0.04
# standard deviations of a count of arrivals that the margin must be: to say anything, and to show
# that a load is served (a queue near its capacity is good for long before it is not)
CLEAR, CLEAR_SURE = 2.0, 4.0
# of the least time of a quick look; what comes before is warm-up
JUDGED_RATIO = 0.75
LEAST_S = 2.0
# replies' times in which the slots of a server fill: until then nobody waits
FILLED = 3.0
# that is shown of what all requests are to meet
MOST_SHARE = 0.999
# of the time that is left: for a load on the way, and for one at the edge
ALLOTTED_QUICK, ALLOTTED = 1 / 6, 1 / 2
# of the time allotted; where a verdict is then far, it is given up
EARLY_RATIO, FAR_RATIO = 1 / 4, 2.0
LEAST_TO_FORESEE = 60  # requests
LOOKS = 10  # while the requests double, about


@dataclass(frozen=True)
class ProbePlan:
    """How long a load is looked at; seconds."""

    left_s: float  # of the whole search
    # what looks good is to be shown, with all that is left
    is_late: bool = False
    # requests come in groups that are sent together: nothing fills and nothing drains
    is_grouped: bool = False
    # the longest wait that is allowed; None: no objective bounds it
    wait_s: float | None = None
    # of people and of closed loops: from one question to the next
    cycle_s: float = 0.0

    def find_clear_s(
        self, step: SearchStep, clear: float = CLEAR
    ) -> float:
        """Return the time before which nothing is said.

        Until then so many random arrivals may be as many more than meant as the margin is.
        """
        if self.is_grouped:
            return 0.0
        per_s = step.size / (self.cycle_s or 1.0)
        return (clear / find_excess(step)) ** 2 / per_s / JUDGED_RATIO

    def find_least_s(self, step: SearchStep) -> float:
        """Return the time before which nothing is said to be served.

        A rate that is too high by the margin makes waits grow by it each second.
        """
        if self.is_grouped:
            return 0.0
        shown_s = 2 * self.cycle_s
        if not self.cycle_s:
            shown_s = SHOWS * (self.wait_s or 0.0) / find_excess(step)
        clear = CLEAR if step.is_quick else CLEAR_SURE
        return max(LEAST_S, shown_s, self.find_clear_s(step, clear))

    def find_most_s(self, step: SearchStep) -> float:
        """Return the time after which it is given up."""
        part = ALLOTTED_QUICK if step.is_quick else ALLOTTED
        if self.is_late and not step.is_quick:
            part = 1.0
        most_s = max(part * self.left_s, self.find_least_s(step))
        return min(most_s, self.left_s)


def find_excess(step: SearchStep) -> float:
    """Return by how much a load would be too high that is one by the margin."""
    return max(step.margin - 1, LEAST_EXCESS)


class ShareProbe:
    """The demands of one load, each of which so large a share of its requests must meet."""

    def __init__(
        self, enough: Sequence[float], step: SearchStep, plan: ProbePlan
    ) -> None:
        self._step, self._plan = step, plan
        self._clear_s = plan.find_clear_s(step)
        self._least_s = plan.find_least_s(step)
        self._most_s = plan.find_most_s(step)
        settled_s = plan.find_least_s(replace(step, is_quick=True))
        self._warm_up_s = (1 - JUDGED_RATIO) * settled_s
        self._tests = [
            ShareTest(min(share, MOST_SHARE), ALPHA) for share in enough
        ]
        self._reply_s = 0.0  # of all together
        self._replies = 0
        self._next_look = 0
        # how sure it is that what is in flight grows; 0: it does not
        self._growth = 0.0

    def add(
        self,
        asked_s: float,
        good: Sequence[bool],
        strains: Sequence[float | None] | None = None,
    ) -> None:
        """Add a request: whether it met each demand.

        strains: how near to its bounds it came, 1 is at one; the neighbours of a queue resemble
        each other in that long before one misses.
        """
        if asked_s < self._warm_up_s:
            return
        found = strains or [None] * len(good)
        for test, is_good, strain in zip(
            self._tests, good, found, strict=True
        ):
            test.add(is_good, strain)

    def note_reply(self, seconds: float) -> None:
        """Note how long a request was served, without its wait."""
        self._reply_s += seconds
        self._replies += 1

    def end_group(self) -> None:
        """Close a group of requests that were sent together."""
        for test in self._tests:
            test.end_group()

    def saturate(self, evidence: float = SURE) -> None:
        """Note that what is in flight grows without end, and how sure that is."""
        self._growth = evidence

    def look(self, now_s: float) -> TrialVerdict | None:
        """Return the verdict, as soon as there is one; "unresolved": it is given up."""
        if self._growth:
            return "saturated"
        is_over = now_s >= self._most_s
        if not (is_over or self._is_new()):
            return None
        if side := self._judge(now_s):
            return side
        return "unresolved" if self._must_give_up(now_s) else None

    def _is_new(self) -> bool:
        """Tell whether there are enough requests more to look again."""
        if self._plan.is_grouped:
            return True
        if self.count < self._next_look:
            return False
        self._next_look = self.count + max(1, self.count // LOOKS)
        return True

    def _judge(self, now_s: float) -> TrialVerdict | None:
        if now_s < self._clear_s:
            return None
        needed, before = self._step.needed, self._step.evidence
        found = self.weigh()
        is_missed = found.below + before.below >= needed.below
        # what an earlier trial saw may have been a hiccup
        if is_missed and found.below >= LIKELY:
            return "below"
        is_long = now_s >= self._least_s + self.fill_s
        if is_long and found.above + before.above >= needed.above:
            return "above"
        return None

    @property
    def fill_s(self) -> float:
        """Return how long the slots of the server fill; 0 where nothing fills them slowly."""
        if self._plan.is_grouped or self._plan.cycle_s:
            return 0.0
        return FILLED * self._reply_s / max(1, self._replies)

    def weigh(self) -> Evidence:
        """Return the evidence that all demands are met, and that one is not."""
        if self._growth:
            return Evidence(0.0, self._growth)
        found = [test.weigh() for test in self._tests]
        # what a quick look saw may be luck, and chose what is tried again
        most = LIKELY if self._step.is_quick else math.inf
        return Evidence(
            min(most, *(one.above for one in found)),
            # any of them may be missed by chance
            max(one.below for one in found) - math.log(len(found)),
        )

    def _must_give_up(self, now_s: float) -> bool:
        most_s = self._most_s
        if now_s >= most_s:
            return True
        if now_s < EARLY_RATIO * most_s or self.count < LEAST_TO_FORESEE:
            return False
        more_s = self.expect_more_s(now_s)
        return more_s is None or more_s > FAR_RATIO * most_s

    def expect_more_s(self, now_s: float) -> float | None:
        """Return how much longer a verdict would take if they went on like this; None: unknown."""
        more = [test.expect_more() for test in self._tests]
        known = [one for one in more if one is not None]
        if not self.count or len(known) < len(more):
            return None
        return max(known) * now_s / self.count

    @property
    def count(self) -> int:
        """Return how many requests were judged."""
        return self._tests[0].count

    @property
    def reach(self) -> float:
        """Return the share of good requests / the share that is enough, of the worst demand."""
        return min(
            (test.share or 0.0) / test.bound for test in self._tests
        )

    @property
    def missed(self) -> list[int]:
        """Return the places of the demands that are missed, or the likeliest to be."""
        below = [
            place
            for place, test in enumerate(self._tests)
            if test.verdict == "below"
        ]
        if below:
            return below
        lacks = [
            test.bound - (1.0 if test.share is None else test.share)
            for test in self._tests
        ]
        return [lacks.index(max(lacks))]
