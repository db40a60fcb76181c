"""A replayed trace in words: whose requests came, and what was unlike them."""

import pytest

from ollama_bench.analysis.caveats import find_caveats
from tests.support import made_up_results
from tests.support.studies import read

TRACE = (
    "UPDATE level SET load = 'open', rate_per_s = 0.2, trace = 'burst.csv',"
    " trace_kind = 'BurstGPT', trace_speed = {speed}, trace_too_long = {long}"
)
SHORTER = (
    "UPDATE request SET output_tokens = 20 + 70 * (number % 2),"
    " asked_output_tokens = 90, done_reason = CASE number % 2 WHEN 1 THEN 'length' END"
)


@pytest.fixture
def replayed(results):
    made_up_results.write(results, levels=(8,), slots=8, rate=41.0)
    return results


def test_the_answer_says_whose_requests_came(replayed):
    _, said = read(replayed, TRACE.format(speed=2, long=3), SHORTER)
    assert (
        "Requests came as in burst.csv (BurstGPT, 12 a minute on average, "
        "at 2 x speed); left out: 3 requests, too long for the context; "
        "replies have 55 tokens on average, 90 were asked for." in said
    )
    assert "--rate" not in said
    assert (
        "At 0.2 requests/s on average, as in burst.csv (8 requests" in said
    )


def test_what_is_as_it_was_is_not_said(replayed):
    _, said = read(replayed, TRACE.format(speed=1, long=0))
    came = (
        "Requests came as in burst.csv (BurstGPT, 12 a minute on average)."
    )
    assert came in said


def test_lengths_that_differ_are_the_traces_own(replayed):
    study, _ = read(replayed, SHORTER)
    other, _ = read(replayed, TRACE.format(speed=1, long=0))
    alike = (
        "Use a lower --tokens to make them alike",
        "Use --tokens N or",
    )
    found = [
        sum(
            caveat.remedy.startswith(alike) for caveat in find_caveats(one)
        )
        for one in (study, other)
    ]
    assert found == [2, 0]


@pytest.mark.parametrize(
    ("kind", "is_meant"), [("Mooncake", 1), ("Azure", 0)]
)
def test_blocks_that_came_from_the_cache_are_told(
    replayed, kind, is_meant
):
    study, said = read(
        replayed,
        TRACE.format(speed=1, long=0).replace("BurstGPT", kind),
        "UPDATE request SET prompt_tokens = 100, cached_tokens = 40",
    )
    assert (
        "; 40 % of the prompts came from the cache." in said
    ) == is_meant
    seen = [caveat.seen for caveat in find_caveats(study)]
    by_chance = (
        "a part of the prompts came from the cache at 0.2 requests/s"
    )
    assert (by_chance in seen) != is_meant
