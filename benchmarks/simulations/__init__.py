"""Data made with a known truth, and what the tool concludes from it.

A module here holds the simulations of one subject in a tuple `SIMULATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy


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
        """Tell whether the share is within what is promised, bounds included."""
        return self.at_least <= self.share <= self.at_most


@dataclass(frozen=True)
class Simulation:
    """A question to the tool, asked of many made-up data sets."""

    name: str  # what the tool concludes: "a difference that is not there"
    run: Callable[[numpy.random.Generator], Iterator[Finding]]
