"""What long prompts do to the others: in the time of a token, and in the wait."""

from __future__ import annotations

import json

import jsonschema
import pytest

import analyze
from ollama_bench.analysis import selection
from ollama_bench.analysis.interference import (
    contrast,
    describe_interference,
    find_interference,
    list_gaps,
    merge_windows,
)
from ollama_bench.analysis.verdict import judge
from ollama_bench.charts.interference_chart import draw_interference
from ollama_bench.storage.connection import connect
from tests.support import mixture
from tests.support.chart_specs import values
from tests.support.mixture import WINDOWS, S
from tests.support.studies import change
from tools import level_schema


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.db"
    mixture.write(path)
    return path


def find(path):
    database = connect(path, readonly=True)
    try:
        (study,) = selection.choose(database, [], [])
        return find_interference(database, study)
    finally:
        database.close()


def test_the_time_of_a_token_and_the_wait_are_held_against_the_rest(
    results,
):
    (one,) = find(results)
    assert (one.long_tokens, one.evaluations) == (8000, 6)
    assert one.token.during.value_s == pytest.approx(0.5)
    assert one.token.otherwise.value_s == pytest.approx(0.1)
    assert one.token.ratio == pytest.approx(5)
    assert one.wait.during.value_s == pytest.approx(1.6)
    assert one.wait.otherwise.value_s == pytest.approx(0.2)
    assert one.token.during.stretches == one.wait.during.stretches == 6
    (said,) = describe_interference([one])
    assert said == (
        "While a prompt of 8,000 tokens was evaluated (one at a time), a token of "
        "the others took 500 ms (n = 6), else 100 ms (n = 7); who asked then "
        "waited 1.6 s (n = 6), else 200 ms (n = 6)."
    )


def test_it_is_drawn_with_its_intervals(results):
    database = connect(results, readonly=True)
    (study,) = selection.choose(database, [], [])
    spec = draw_interference(study, find_interference(database, study))
    database.close()
    assert [
        panel["layer"][0]["encoding"]["y"]["title"]
        for panel in spec["vconcat"]
    ] == [
        "between two chunks (logarithmic)",
        "wait of who asks (logarithmic)",
    ]
    assert "tiny:7b, mix 500*9,8000*1" in spec["title"]["subtitle"]
    rows = values(spec)
    assert {row["kind"] for row in rows} == {
        "beside a long prompt",
        "otherwise",
    }
    assert all(row["low"] <= row["y"] <= row["high"] for row in rows)
    assert draw_interference(study, []) is None


def test_too_few_evaluations_tell_nothing_and_it_is_said(results):
    change(
        results,
        "UPDATE request SET server_prefill_ns = NULL WHERE number > 30",
    )
    (one,) = find(results)
    assert (one.evaluations, one.token, one.wait) == (3, None, None)
    (said,) = describe_interference([one])
    assert "cannot be told: at most 3 were evaluated" in said


def test_without_the_servers_clock_nothing_is_claimed(results):
    change(results, "UPDATE request SET server_prefill_ns = NULL")
    assert find(results) == [] == describe_interference([])


def test_why_nothing_is_known_is_said(results):
    def said():
        database = connect(results, readonly=True)
        (study,) = selection.choose(database, [], [])
        sentences = judge(database, study).answer.rest
        database.close()
        return " ".join(sentences)

    change(results, "UPDATE request SET server_prefill_ns = NULL")
    assert "cannot be told: the server does not say how long" in said()
    change(results, "DELETE FROM request WHERE asked_prompt_tokens = 8000")
    assert "No prompt of 8,000 tokens was asked" in said()
    change(results, "UPDATE level SET prompt_mix = NULL")
    assert "8,000" not in said()


def test_only_a_mixture_is_asked(results):
    change(results, "UPDATE level SET prompt_mix = NULL")
    assert find(results) == []


def test_evaluations_that_overlap_are_one():
    assert merge_windows([(5, 9), (1, 3), (8, 12), (3, 4)]) == [
        (1, 4),
        (5, 12),
    ]


def test_gaps_are_within_a_stream():
    chunks = [
        {"request_id": 1, "at_ns": 0},
        {"request_id": 1, "at_ns": S},
        {"request_id": 2, "at_ns": 9 * S},
        {"request_id": 2, "at_ns": 12 * S},
    ]
    assert list_gaps(chunks) == [(S / 2, 1.0), (10.5 * S, 3.0)]


def test_who_is_never_beside_a_long_prompt_tells_nothing_of_it():
    events = [(at * S, 0.1) for at in range(0, 60, 10)]
    assert contrast(events, WINDOWS) is None


def test_the_json_has_it_as_it_is_documented(results, capsys):
    code = analyze.main(["--db", str(results), "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, level_schema.make_schema())
    (one,) = found["studies"][0]["interference"]
    assert code == 0 and one["evaluations"] == 6
    assert one["wait"]["during"] == {
        "mean_s": pytest.approx(1.6),
        "low_s": pytest.approx(1.6),
        "high_s": pytest.approx(1.6),
        "stretches": 6,
    }
