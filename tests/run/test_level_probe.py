"""A load of a search is judged while it runs."""

from __future__ import annotations

import time
from array import array
from types import SimpleNamespace

import pytest

from ollama_bench.inputs.objectives import parse
from ollama_bench.load import load
from ollama_bench.load.request import Outcome, Task
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.judging import RequestJudge
from ollama_bench.run.level_probe import LevelProbe
from ollama_bench.statistics.capacity_search import (
    LIKELY,
    SURE,
    SearchStep,
)
from ollama_bench.statistics.probe import FILLED, ProbePlan


def test_what_finishes_after_the_verdict_tells_nothing_of_how_long_it_takes():
    ended = []
    under_way = SimpleNamespace(
        # the sixth of the time that is left is over
        started_ns=time.perf_counter_ns() - 11 * 10**9,
        end_early=ended.append,
        result=None,
    )
    judge = RequestJudge(parse("ttft=1"))
    step, plan = SearchStep(2.0, True), ProbePlan(left_s=60.0)
    probe = LevelProbe(judge, step, plan, SimpleNamespace())
    probe.watch(under_way, load.Observer())
    for second in range(2, 10):
        probe.probe.add(second, [True], [0.1])
    probe.tick(SimpleNamespace())
    assert probe.verdict == "unresolved" and len(ended) == 1
    trial = probe.make_trial(seconds=100.0, is_saturated=False)
    assert trial.seconds == 100.0
    assert trial.more_s == pytest.approx(
        probe.probe.expect_more_s(11.0), rel=0.05
    )


def test_a_reply_tells_how_long_slots_take_to_fill():
    judge = RequestJudge(parse("ttft=1"))
    step, plan = SearchStep(2.0, True), ProbePlan(left_s=60.0)
    probe = LevelProbe(judge, step, plan, SimpleNamespace())
    second = 10**9
    outcome = Outcome(
        Task(1, PROTOCOLS["ollama"], "http://x", {}),
        "completed",
        sent_ns=0,
        ended_ns=5 * second,
        chunk_ns=array("q", [second, 4 * second]),
    )
    probe.ended(outcome)
    assert probe.probe.fill_s == FILLED * 4.0


@pytest.mark.parametrize(
    "verdict, is_seen, found, below",
    [
        ("unresolved", False, "saturated", LIKELY),
        # who asked first was answered in time
        ("above", False, "saturated", LIKELY),
        ("unresolved", True, "saturated", SURE),
        # it has missed already, and which objective is known
        ("below", False, "below", None),
    ],
)
def test_a_saturated_level_is_a_load_that_is_missed(
    verdict, is_seen, found, below
):
    result = SimpleNamespace(
        is_saturated=is_seen,
        tally=SimpleNamespace(
            first_end_ns=10**9, last_ns=5 * 10**9, completed=9
        ),
    )
    under_way = SimpleNamespace(result=result)
    step, plan = SearchStep(8.03, True), ProbePlan(left_s=60.0)
    judge = RequestJudge(parse("ttft=1"))
    probe = LevelProbe(judge, step, plan, SimpleNamespace())
    probe.watch(under_way, load.Observer())
    for number in range(40):
        probe.probe.add(5 + number / 8, [verdict != "below"], [0.1])
    probe.verdict = verdict
    trial = probe.make_trial(seconds=10.0, is_saturated=True)
    assert trial.verdict == found
    assert trial.evidence.below == (below or trial.evidence.below)
    assert trial.evidence.above <= 0 or found == "below"
    assert trial.answered_per_s == (None if found == "below" else 2.0)
