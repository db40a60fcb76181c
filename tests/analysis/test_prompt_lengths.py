"""Sides of several prompt lengths: like is compared with like, and the rest is told."""

from __future__ import annotations

import pytest

from ollama_bench.storage.connection import connect
from tests.support import made_up_results, prompt_lengths
from tests.support.comparisons import lines, run
from tests.support.studies import change

LEVELS = (1, 4)
BOUND = ("--fail-if", "output_tokens_per_s<-5%")


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.db"


def add(results, label, rates, started_unix):
    return prompt_lengths.write(
        results,
        rates,
        dict.fromkeys(rates, 1.0),
        LEVELS,
        started_unix,
        label=label,
        chunks=False,
    )


def test_each_length_is_compared_with_itself(results, capsys):
    add(results, "before", {500: 40.0, 4000: 40.0}, 1e9)
    add(results, "after", {500: 40.0, 4000: 10.0}, 2e9)
    said = lines(results, capsys)
    heads = [line for line in said if line.startswith("before")]
    assert [line.split(":")[1] for line in heads] == [
        "7b, prompts of 500 tokens",
        "7b, prompts of 4,000 tokens",
    ]
    assert not any("--prompt-tokens was" in line for line in said)
    whole = [
        line for line in said if line.startswith("    all  tokens/s all")
    ]
    assert "changed" not in whole[0] and whole[1].endswith("changed")


def test_the_gate_names_the_length(results, capsys):
    add(results, "before", {500: 40.0, 4000: 40.0}, 1e9)
    add(results, "after", {500: 40.0, 4000: 10.0}, 2e9)
    assert run(results, "--compare", "before", "after", *BOUND) == 1
    failed = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("failed: ")
    ]
    assert failed
    assert all(
        line.endswith(", prompts of 4,000 tokens") for line in failed
    )


def test_a_length_that_is_gone_fails_and_a_new_one_is_told(
    results, capsys
):
    add(results, "before", {500: 40.0, 4000: 40.0}, 1e9)
    add(results, "after", {500: 40.0, 8000: 40.0}, 2e9)
    assert run(results, "--compare", "before", "after", *BOUND) == 1
    said = capsys.readouterr().out
    assert "only before: prompts of 4,000 tokens" in said
    assert "only after: prompts of 8,000 tokens" in said
    assert (
        "failed: output_tokens_per_s<-5%: not measured now, "
        "prompts of 4,000 tokens"
    ) in said


def test_runs_of_one_other_length_each_are_unlike(results, capsys):
    for label, tokens in (("before", 500), ("after", 4000)):
        made_up_results.write(
            results,
            label=label,
            levels=LEVELS,
            started_unix=1e9 + tokens,
        )
    change(
        results,
        "UPDATE level SET asked_prompt_tokens = 500 WHERE run_id = 1",
        "UPDATE level SET asked_prompt_tokens = 4000 WHERE run_id = 2",
    )
    said = "\n".join(lines(results, capsys))
    assert "--prompt-tokens was 500 before, 4000 after" in said
    assert "changed" not in said and "unlike" in said


def test_the_false_alarms_are_shared_by_all_lengths(results):
    """A change that is just enough alone is not enough beside three others."""
    from ollama_bench.analysis.comparison import (
        compare_studies,
        find_changes,
        judge_together,
    )
    from tests.support.comparisons import side

    noisy = [{1: [1.0, 1.1], 4: [1.0, 1.1]}, {1: [1.05], 4: [1.05]}]
    pairs = [(side(*noisy), side(*noisy)) for _ in range(4)]
    alone = compare_studies(*pairs[0])
    together = [find_changes(*pair, None, None, ()) for pair in pairs]
    judge_together(together)

    def width(found):
        (first,) = [
            change
            for change in found.changes
            if change.at is None and change.metric == "output_tokens_per_s"
        ]
        low, high = first.interval
        return high - low

    assert all(width(found) > width(alone) for found in together)
    assert [found.reports for found in together] == [4] * 4


def test_conditions_on_one_side_name_the_length(results, capsys):
    add(results, "only", {500: 40.0, 4000: 10.0}, 1e9)
    assert run(results, "--fail-if", "tokens_per_s_mean<20") == 1
    said = capsys.readouterr().out
    assert (
        "failed: tokens_per_s_mean<20 at 1 at once of tiny:7b, "
        "prompts of 4,000 tokens ("
    ) in said
    database = connect(results, readonly=True)
    (row,) = database.query("SELECT count(*) AS n FROM level")
    database.close()
    assert row["n"] == 4
