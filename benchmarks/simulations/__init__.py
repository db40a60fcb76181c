"""Data made with a known truth, and what the tool concludes from it.

A module here holds the simulations of one subject in a tuple `SIMULATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy
from scipy import stats

# a promise that holds is called broken by chance this often
CHANCE = 0.001


@dataclass(frozen=True)
class Finding:
    """How often the tool concluded something, and how often it may."""

    case: str  # the made-up truth: "equal servers, 2 % between runs, 3 repeats"
    share: float  # of the trials in which the tool concluded it, 0 to 1
    trials: int
    at_least: float = 0.0  # what is promised of the share
    at_most: float = 1.0

    @property
    def is_kept(self) -> bool:
        """Tell whether the share is within what is promised, bounds included.

        So many trials of a promise that holds may be past it by what chance gives; only that
        something is found at least so often is taken as it stands.
        """
        least, most = self.at_least, chance_bound(self.at_most, self)
        if least > 0 and self.at_most < 1:
            least = 1 - chance_bound(1 - least, self)
        # shares are counts over trials, also where one is 1 less another
        return least <= self.share + 1e-9 and self.share <= most + 1e-9


def chance_bound(ratio: float, finding: Finding) -> float:
    """Return the share that so many trials of a true ratio reach at most."""
    allowed = stats.binom.ppf(1 - CHANCE, finding.trials, ratio)
    return float(allowed) / finding.trials


@dataclass(frozen=True)
class Simulation:
    """A question to the tool, asked of many made-up data sets."""

    name: str  # what the tool concludes: "a difference that is not there"
    run: Callable[[numpy.random.Generator], Iterator[Finding]]
