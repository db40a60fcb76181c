"""A load of a search is judged while it runs."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from ollama_bench.inputs.objectives import parse
from ollama_bench.load import load
from ollama_bench.run.judging import RequestJudge
from ollama_bench.run.level_probe import LevelProbe
from ollama_bench.statistics.capacity_search import SearchStep
from ollama_bench.statistics.probe import ProbePlan


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
    trial = probe.make_trial(seconds=100.0)
    assert trial.seconds == 100.0
    assert trial.more_s == pytest.approx(
        probe.probe.expect_more_s(11.0), rel=0.05
    )
