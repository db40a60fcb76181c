"""The part of a level that one of several processes sends.

    part = Part(place=1, of=2, places=3)
    part.count(10)  # 3: the 2nd, 5th and 8th
    part.number(3)  # 8: what is its third is the eighth of all
    part.pick(due_times)

Questions, arrivals and people are dealt like cards to the places of a level, and these to the
processes: one with twice the places gets twice as many. So what is asked, when it is due and how
long each person thinks is the same, whoever sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """The cards of one player: the one at ``place``, from 0, ``of`` so many.

    places: of the level, at least as many as players; it has every ``of``-th of them.
    """

    place: int = 0
    of: int = 1
    places: int = 1

    @property
    def _own(self) -> range:
        """Return its places of the level, from 0."""
        return range(self.place, self.places, self.of)

    def count(self, total: int) -> int:
        """Return how many of a total are in this part."""
        rounds, rest = divmod(total, self.places)
        return rounds * len(self._own) + len(
            range(self.place, rest, self.of)
        )

    def number(self, own: int) -> int:
        """Return the number, from 1, among all of what has this number in the part."""
        rounds, place = divmod(own - 1, len(self._own))
        return rounds * self.places + self._own[place] + 1

    def pick(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items of the part."""
        for number, item in enumerate(items):
            if number % self.places in self._own:
                yield item


WHOLE = Part()
