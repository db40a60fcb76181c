"""How long a person thinks between the end of a reply and the next question.

A person who is looked at at a random instant is in the middle of thinking: what is left of it has
the density (1 - F(x)) / mean (Cox 1962, Renewal Theory, section 5.2). It is a uniform share of a
think time that is drawn in proportion to its length.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal, get_args

Law = Literal["lognormal", "exponential", "fixed"]
LAWS: tuple[Law, ...] = get_args(Law)
DEFAULT_LAW: Law = "lognormal"
# of the log-normal law: its standard deviation is its mean, as of the exponential one
SIGMA = math.sqrt(math.log(2))


@dataclass(frozen=True)
class ThinkTime:
    """A law of think times with its mean in seconds."""

    mean_s: float
    law: Law = DEFAULT_LAW

    def __str__(self) -> str:
        return f"{self.mean_s:g}:{self.law}"

    def draw(self, draw: random.Random) -> float:
        """Return a think time, seconds."""
        if self.law == "fixed":
            return self.mean_s
        if self.law == "exponential":
            return draw.expovariate(1 / self.mean_s)
        return draw.lognormvariate(
            math.log(self.mean_s) - SIGMA**2 / 2, SIGMA
        )

    def draw_under_way(self, draw: random.Random) -> tuple[float, float]:
        """Return what is left of a think time at a random instant, and the whole of it."""
        whole_s = self.mean_s
        if (
            self.law == "exponential"
        ):  # it has no memory, in both directions
            whole_s = self.draw(draw) + self.draw(draw)
        elif self.law == "lognormal":
            # in proportion to its length it is log-normal again
            whole_s = draw.lognormvariate(
                math.log(self.mean_s) + SIGMA**2 / 2, SIGMA
            )
        return draw.random() * whole_s, whole_s
