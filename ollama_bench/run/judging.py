"""Judges a request as soon as it has ended, as the views of schema.sql judge it afterwards."""

from __future__ import annotations

import math
from typing import NamedTuple

from ollama_bench.inputs.objectives import (
    METRICS,
    Demand,
    Objectives,
    list_demands,
)
from ollama_bench.load.request import Outcome, RequestFigures

WAITS = ("ttft", "ttfat", "e2e")  # the others are rates of a reply


class Judged(NamedTuple):
    """A request, by each demand."""

    good: list[bool]
    # how near to its bounds it came: 1 is at one, infinite without a value
    strains: list[float]
    missed: tuple[
        str, ...
    ] = ()  # names of the objectives that it did not meet


class RequestJudge:
    """Holds requests against the demands of a run."""

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self.demands: list[Demand] = list_demands(objectives)

    @property
    def wait_s(self) -> float | None:
        """Return the shortest wait that is allowed; None: none is bounded."""
        bounds = [
            objective.bound
            for name, objective in self._objectives.items()
            if name in WAITS
        ]
        return min(bounds, default=None)

    def judge(self, outcome: Outcome) -> Judged | None:
        """Return how a request that has ended fared; None: it was cut before that showed."""
        figures = outcome.to_figures(0)
        strains = {
            name: self._strain(name, outcome, figures)
            for name in self._objectives
        }
        if outcome.status == "cancelled" and max(strains.values()) <= 1:
            return None
        missed = tuple(name for name, one in strains.items() if one > 1)
        found = [
            max(strains[name] for name in demand.names)
            for demand in self.demands
        ]
        if outcome.status == "completed":
            is_cut = 1 in (figures["prompt_cut"], figures["reply_cut"])
            good = [one <= 1 and not is_cut for one in found]
            return Judged(good, found, missed)
        return Judged(
            [False] * len(found), [max(one, 1.0) for one in found], missed
        )

    def _strain(
        self, name: str, outcome: Outcome, figures: RequestFigures
    ) -> float:
        bound = self._objectives[name].bound
        if name in WAITS:
            return self._measure_wait_s(name, outcome, figures) / bound
        rate = find_rate(outcome)
        if rate is None:
            return measure_missing(outcome)
        value = rate if name == "tokens_per_s" else 1 / rate
        less_is_better = METRICS[name].less_is_better
        return value / bound if less_is_better else bound / value

    def _measure_wait_s(
        self, name: str, outcome: Outcome, figures: RequestFigures
    ) -> float:
        """Return how long a request waited; of one that this client cut until then."""
        asked_ns = outcome.due_ns or outcome.sent_ns
        at_ns = {
            "ttft": figures["first_text_ns"],
            "ttfat": figures["first_answer_ns"],
            "e2e": figures["last_text_ns"],
        }[name]
        if outcome.status == "cancelled":
            at_ns = figures["ended_ns"] if name == "e2e" else at_ns
            at_ns = at_ns or figures["ended_ns"]
        if asked_ns is None or at_ns is None:
            return 0.0 if outcome.status == "cancelled" else math.inf
        return (at_ns - asked_ns) / 1e9


def find_rate(outcome: Outcome) -> float | None:
    """Return the tokens/s after the first chunk, as stream_tokens_per_s; None: unknown."""
    chunks, tokens = outcome.chunk_ns, outcome.output_tokens
    if len(chunks) < 2 or chunks[-1] <= chunks[0] or tokens < 2:
        return None
    first = outcome.tokens_per_chunk if is_counted(outcome) else 1.0
    return (tokens - first) * 1e9 / (chunks[-1] - chunks[0]) or None


def measure_missing(outcome: Outcome) -> float:
    """Return the strain of a reply without a rate: a single token misses none."""
    if outcome.status == "cancelled":
        return 0.0
    is_single = outcome.output_tokens < 2 and is_counted(outcome)
    return 0.0 if is_single else math.inf


def is_counted(outcome: Outcome) -> bool:
    """Tell whether the server has counted the tokens."""
    summary = outcome.summary
    return summary is not None and summary.output_tokens is not None
