"""Whether a share is above or below a bound, looked at after every observation.

A mixture of likelihood ratios (Robbins 1970, "Statistical methods related to the law of the
iterated logarithm"; the betting view: Waudby-Smith and Ramdas 2024, "Estimating means of bounded
random variables by betting"). Against "the share is at most p0" stands, for each q above p0, the
ratio (q/p0)^good * ((1-q)/(1-p0))^missed: a supermartingale under every share up to p0, and so is
a mixture of them. By Ville's inequality it ever reaches 1/alpha with a probability of at most
alpha, however often it is looked at. The other side likewise.

Requests that share a machine are not independent: what delays one delays its neighbours. The
exponents are divided by the design effect (Kish 1965), so that they count independent requests:
that of neighbours (share.py), or how much more the shares of groups vary that were sent together.
That it holds for queues is shown by benchmarks/bench_capacity.py.
"""

from __future__ import annotations

import math
from array import array
from typing import Literal, NamedTuple

from ollama_bench.statistics.share import measure_design_effect

Side = Literal["above", "below"]

# Shares that stand against a bound, as the part of what is left of it to 1 or to 0, and their
# weights. All good is the common case: it weighs most.
ABOVE = ((1.0, 0.4), (0.9, 0.2), (0.8, 0.15), (0.6, 0.15), (0.4, 0.1))
BELOW = tuple(
    (part, 1 / 8) for part in (0.02, 0.05, 0.1, 0.16, 0.3, 0.5, 0.75, 0.95)
)
# Fewer requests than this, or a single group, may all have met the same hiccup.
LEAST_REQUESTS = 10
LEAST_GROUPS = 2  # of requests that were sent together
# expect_more() looks no further
MOST_EXPECTED = 1_000_000


class Evidence(NamedTuple):
    """Natural logarithms of the mixtures for either side; of independent tests they add up."""

    above: float
    below: float


NO_EVIDENCE = Evidence(0.0, 0.0)


class ShareTest:
    """An anytime-valid test of a share against a bound.

    A verdict is wrong with a probability of at most alpha, whenever it is looked at; a share at
    the bound itself may stay without one for ever.
    """

    def __init__(self, bound: float = 0.95, alpha: float = 0.05) -> None:
        self.bound, self.alpha = bound, alpha
        self.good = self.missed = 0
        # in the order in which they were asked
        self._found = array("b")
        self._strains = array("d")
        self._groups = Groups()
        # design effects, of so many requests and groups
        self._measured = 0, 0
        self._effects: dict[bool, float] = {}

    def add(self, good: bool, strain: float | None = None) -> None:
        """Add an observation, in the order in which they were asked.

        strain: how near to its bound it came, 1 is at it; of all of them, or of none.
        """
        self.good += good
        self.missed += not good
        self._found.append(good)
        if strain is not None:
            self._strains.append(strain)
        self._groups.add(good)

    def end_group(self) -> None:
        """Close a group: what was added since the last call was sent together."""
        self._groups.end()

    @property
    def count(self) -> int:
        """Return how many were added."""
        return self.good + self.missed

    @property
    def share(self) -> float | None:
        """Return the share that was good; None if there are none."""
        return self.good / self.count if self.count else None

    def measure_design_effect(self, is_strained: bool = False) -> float:
        """Return how many of these requests tell as much as one independent request.

        is_strained: by their strains as well; a queue whose bad hours have not come yet is all
        good.
        """
        known = self.count, self._groups.count
        if known != self._measured:
            self._measured, self._effects = known, {}
        if is_strained not in self._effects:
            effect = self._measure_design_effect(is_strained)
            self._effects[is_strained] = effect
        return self._effects[is_strained]

    def _measure_design_effect(self, is_strained: bool) -> float:
        if self._groups.count:
            share = (self.good + 0.5) / (self.count + 1)
            return max(1.0, self._groups.compare(share * (1 - share)))
        strains = self._strains if is_strained and self._strains else None
        return measure_design_effect(self._found, strains)

    @property
    def verdict(self) -> Side | None:
        """Tell on which side of the bound the share is; None: not known yet."""
        return self.judge(self.weigh())

    def weigh(self) -> Evidence:
        """Return how much there is for either side. None yet of too few requests."""
        if self.count < LEAST_REQUESTS or self._groups.is_single:
            return NO_EVIDENCE
        found = self._weigh(self.measure_design_effect())
        if found.above <= 0:
            return found
        above = self._weigh(self.measure_design_effect(is_strained=True))
        return Evidence(above.above, found.below)

    def judge(self, evidence: Evidence) -> Side | None:
        """Return the side that there is enough evidence for."""
        if evidence.above >= math.log(1 / self.alpha):
            return "above"
        if evidence.below >= math.log(1 / self.alpha):
            return "below"
        return None

    def expect_more(self) -> int | None:
        """Return how many more are needed if they go on like this; 0: none, None: unknown."""
        if self.verdict is not None:
            return 0
        if not self.count:
            return None
        effect, more = self.measure_design_effect(is_strained=True), 1
        while more <= MOST_EXPECTED:
            evidence = self._weigh(
                effect * self.count / (self.count + more)
            )
            if self.judge(evidence):
                return more
            more += max(1, more // 10)
        return None

    def _weigh(self, effect: float) -> Evidence:
        """Return the evidence, if ``effect`` of the requests tell as much as one."""
        bound, left = self.bound, 1 - self.bound
        good, missed = self.good / effect, self.missed / effect
        above = [(bound + part * left, weight) for part, weight in ABOVE]
        below = [(bound * (1 - part), weight) for part, weight in BELOW]
        return Evidence(
            mix(above, bound, good, missed),
            mix(below, bound, good, missed),
        )


def mix(
    against: list[tuple[float, float]],
    bound: float,
    good: float,
    missed: float,
) -> float:
    """Return the logarithm of the mixture of likelihood ratios of (share, weight) to the bound."""
    terms = []
    for share, weight in against:
        if share == 1 and missed:
            continue  # excluded by a single miss
        term = math.log(weight) + good * math.log(share / bound)
        if missed:
            term += missed * math.log((1 - share) / (1 - bound))
        terms.append(term)
    highest = max(terms)
    return highest + math.log(
        sum(math.exp(term - highest) for term in terms)
    )


class Spread:
    """The sample variance of values as they come."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self._sum += value
        self._squares += value * value

    @property
    def variance(self) -> float:
        square = self._sum * self._sum / self.count
        return max(0.0, self._squares - square) / (self.count - 1)


class Groups:
    """How the shares of groups that were sent together vary, where there are such groups."""

    def __init__(self) -> None:
        self._good = self._filled = self._grouped = 0
        self._shares = Spread()

    def add(self, good: bool) -> None:
        self._good += good
        self._filled += 1

    def end(self) -> None:
        if self._filled:
            self._shares.add(self._good / self._filled)
            self._grouped += self._filled
        self._good = self._filled = 0

    @property
    def count(self) -> int:
        """Return how many groups there were."""
        return self._shares.count

    @property
    def is_single(self) -> bool:
        """Tell whether requests were grouped, and came in too few groups to compare."""
        return 0 < self._shares.count < LEAST_GROUPS

    def compare(self, variance: float) -> float:
        if self._shares.count < LEAST_GROUPS:
            return 0.0
        size = self._grouped / self._shares.count
        return self._shares.variance * size / variance
