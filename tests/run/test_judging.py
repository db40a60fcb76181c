"""A request is judged at its end as the views judge it afterwards."""

import math
from array import array

import pytest

from ollama_bench.inputs.objectives import parse
from ollama_bench.load.request import Outcome, Task
from ollama_bench.protocols.chunks import StreamSummary
from ollama_bench.protocols.ollama import Ollama
from ollama_bench.run.judging import RequestJudge

TASK = Task(1, Ollama(), "http://127.0.0.1:1", {})
S = 1_000_000_000
ALL = "ttft=1,ttfat=1,e2e=5,tpot=0.5,tokens_per_s=2"


def outcome(chunks_s, status="completed", tokens=None, **more):
    made = Outcome(TASK, status, **more)
    made.due_ns, made.sent_ns = 10 * S, 11 * S
    made.ended_ns = 20 * S
    made.chunk_ns = array("q", [int(10 * S + at * S) for at in chunks_s])
    made.chunk_is_reasoning = bytearray(len(chunks_s))
    if tokens is not None:
        made.summary = StreamSummary(output_tokens=tokens)
    return made


@pytest.mark.parametrize(
    "slo, chunks_s, is_good",
    [
        ("ttft=1", [0.9, 2], True),
        ("ttft=1", [1.1, 2], False),  # since it was due, not sent
        ("ttfat=1", [0.9, 2], True),
        ("e2e=3", [0.5, 2.9], True),
        ("e2e=3", [0.5, 3.1], False),
        ("tpot=0.5", [1, 1.4, 1.8], True),
        ("tpot=0.5", [1, 1.6, 2.2], False),
        ("tokens_per_s=2", [1, 1.4, 1.8], True),
        ("tokens_per_s=2", [1, 1.6, 2.2], False),
        ("tokens_per_s=2", [1, 1], False),  # several at once have no rate
        (ALL, [0.5, 0.9, 1.3], True),
    ],
)
def test_a_completed_request(slo, chunks_s, is_good):
    judged = RequestJudge(parse(slo)).judge(outcome(chunks_s))
    assert judged is not None and judged.good == [is_good]
    assert (max(judged.strains) <= 1) == is_good


def test_a_single_token_misses_no_rate():
    judge = RequestJudge(parse("tokens_per_s=2"))
    judged = judge.judge(outcome([0.5], tokens=1))
    assert judged is not None and judged.good == [True]


def test_a_failed_request_is_not_good_and_one_that_was_cut_is_not_known():
    judge = RequestJudge(parse("ttft=4,e2e=60"))
    failed = judge.judge(outcome([0.5, 1], "stream_error"))
    assert failed is not None and failed.good == [False]
    assert judge.judge(outcome([0.5, 1], "cancelled")) is None
    # it had waited too long when it was cut
    waited = judge.judge(outcome([], "cancelled"))
    assert waited is not None and waited.good == [False]
    assert waited.missed == ("ttft",)


def test_each_demand_is_judged_by_itself():
    judge = RequestJudge(parse("ttft=1@99,e2e=3"))
    assert [demand.enough for demand in judge.demands] == [0.95, 0.99]
    judged = judge.judge(outcome([1.5, 2]))
    assert judged is not None and judged.good == [True, False]
    assert judged.missed == ("ttft",)
    assert judge.wait_s == 1
    assert RequestJudge(parse("tpot=1")).wait_s is None


def test_what_nobody_answered_strains_without_end():
    judged = RequestJudge(parse("ttft=1")).judge(outcome([], "refused"))
    assert judged is not None and judged.strains == [math.inf]
