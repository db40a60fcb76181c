"""The part of a level that one of several processes sends: every n-th of everything.

    part = Part(place=1, of=4)
    part.count(10)  # 3: the 2nd, 6th and 10th
    part.number(3)  # 10: what is its third is the tenth of all
    part.pick(due_times)

Questions, arrivals and people are dealt like cards. So what is asked, when it is due and how long
each person thinks is the same, whoever sends it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """The cards of one player: the one at ``place``, from 0, ``of`` so many."""

    place: int = 0
    of: int = 1

    def count(self, total: int) -> int:
        """Return how many of a total are in this part."""
        return len(range(self.place, total, self.of))

    def number(self, own: int) -> int:
        """Return the number, from 1, among all of what has this number in the part."""
        return (own - 1) * self.of + self.place + 1

    def pick(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items of the part."""
        return itertools.islice(items, self.place, None, self.of)


WHOLE = Part()
