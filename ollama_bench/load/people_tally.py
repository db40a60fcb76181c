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
        self._people = array("q")
        self._ended_ns = array("q")
        self._cycles_s = array("d")  # thinking, asking and reading

    def add(self, outcome: Outcome) -> None:
        """Add a request that has ended, if a person asked it."""
        if (
            outcome.person is None
            or outcome.think_s is None
            or outcome.due_ns is None
            or outcome.ended_ns is None
        ):
            return
        asking_s = (outcome.ended_ns - outcome.due_ns) / NS_PER_S
        self._people.append(outcome.person)
        self._ended_ns.append(outcome.ended_ns)
        self._cycles_s.append(outcome.think_s + asking_s)

    def summarize(self, people: int, steady: Span | None) -> PeopleFigures:
        """Hold the steady part against the law."""
        found = None
        if steady is not None:
            start_ns, end_ns = steady
            duration_s = (end_ns - start_ns) / NS_PER_S
            ended = sorted(
                ((ended_ns - start_ns) / NS_PER_S, cycle_s, person)
                for ended_ns, cycle_s, person in zip(
                    self._ended_ns,
                    self._cycles_s,
                    self._people,
                    strict=True,
                )
                if start_ns < ended_ns <= end_ns
            )
            last_s = {person: at_s for at_s, _, person in ended}
            found = check_law(
                people,
                duration_s,
                [cycle_s for _, cycle_s, _ in ended],
                sum(
                    max(0.0, cycle_s - at_s) for at_s, cycle_s, _ in ended
                ),
                [duration_s - at_s for at_s in last_s.values()],
            )
        return {
            "people_law": found.ratio if found else None,
            "people_law_low": found.low if found else None,
            "people_law_high": found.high if found else None,
        }
