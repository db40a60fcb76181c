"""What makes a figure doubtful, in three parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caveat:
    """Something that makes a figure doubtful: what was seen, what it means, what helps."""

    seen: str
    meaning: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.seen}. {self.meaning}. {self.remedy}."
