"""What people's requests add up to: their think times, and the interactive response-time law."""

from __future__ import annotations

from array import array
from typing import TypedDict

from ollama_bench.load.duration_pool import NS_PER_S
from ollama_bench.load.request import Outcome
from ollama_bench.statistics.in_flight import Span
from ollama_bench.statistics.interactive_law import check_law


class PeopleFigures(TypedDict):
    """The law in the steady part of a level of people; None is unknown."""

    people_law: float | None
    people_law_low: float | None
    people_law_high: float | None


class PeopleTally:
    """The requests of people, however they ended."""

    def __init__(self) -> None:
        self._ended_ns = array("q")
        self._cycles_s = array("d")  # thinking, asking and reading

    def add(self, outcome: Outcome) -> None:
        """Add a request that has ended, if a person asked it."""
        if (
            outcome.think_s is None
            or outcome.due_ns is None
            or outcome.ended_ns is None
        ):
            return
        asking_s = (outcome.ended_ns - outcome.due_ns) / NS_PER_S
        self._ended_ns.append(outcome.ended_ns)
        self._cycles_s.append(outcome.think_s + asking_s)

    def summarize(self, people: int, steady: Span | None) -> PeopleFigures:
        """Hold the steady part against the law."""
        found = None
        if steady is not None:
            start_ns, end_ns = steady
            cycles_s = [
                cycle_s
                for ended_ns, cycle_s in zip(
                    self._ended_ns, self._cycles_s, strict=True
                )
                if start_ns < ended_ns <= end_ns
            ]
            duration_s = (end_ns - start_ns) / NS_PER_S
            found = check_law(people, duration_s, cycles_s)
        return {
            "people_law": found.ratio if found else None,
            "people_law_low": found.low if found else None,
            "people_law_high": found.high if found else None,
        }
