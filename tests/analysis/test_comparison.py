"""What changed between two runs, and what is noise."""

from __future__ import annotations

import math
import random

import pytest

from ollama_bench.analysis.comparison import (
    Change,
    compare_level,
    judge_changes,
    merge_levels,
)
from tests.support.comparisons import lines, row, run
from tests.support.studies import change

LEVELS = (1, 2, 4, 8)


def test_one_burst_is_never_judged_by_itself(pair, capsys):
    said = lines(pair, capsys)
    assert row(said, 8, "tokens/s each").endswith(
        "unknown"
    ) and "-3" in row(said, 8, "tokens/s each")
    assert row(said, 2, "wait").endswith("unknown") and not row(
        said, "all", "wait"
    )
    assert "use bench.py --repeat 3" in said[-1] and row(
        said, 2, "wait (s)"
    ) == row(said, 2, "wait")
    assert (
        max(map(len, said)) < 80
        and "only in to: 16 at once" in said
        and not row(said, 16, "wait")
    )


@pytest.mark.parametrize(
    "rate, verdict, code", [(81.0, "changed", 1), (90.0, "noise", 0)]
)
def test_levels_that_agree_tell_a_change_without_repeats(
    write, capsys, rate, verdict, code
):
    write("before", rate=90.0, levels=LEVELS + (16, 32))
    results = write("after", rate=rate, levels=LEVELS + (16, 32), seed=2)
    assert row(lines(results, capsys), "all", "tokens/s each").endswith(
        verdict
    )
    assert (
        run(
            results,
            "--compare",
            "before",
            "after",
            "--fail-if",
            "tokens_per_s<-5%",
        )
        == code
    )


def test_levels_that_disagree_are_noise(write, capsys):
    """One level that lost half does not speak for all."""
    changes = [
        Change(n, "ttft", 1, 1, ratio)
        for n, ratio in ((1, 0.7), (2, 0.0), (4, -0.01), (8, 0.01))
    ]
    found = merge_levels("ttft", changes)
    judge_changes([found])
    assert found.verdict == "noise"


def test_a_shift_of_a_whole_run_by_a_little_is_no_change():
    found = merge_levels(
        "ttft", [Change(n, "ttft", 1, 1, 0.02 + n / 1e6) for n in LEVELS]
    )
    judge_changes([found])
    assert found.interval[0] > 0.019 and found.verdict == "under 3%"


def test_repeats_tell_a_change_at_each_level(write, capsys):
    write("before", rate=80.0, levels=(4, 4, 4))
    results = write("after", rate=60.0, levels=(4, 4, 4), seed=5)
    said = lines(results, capsys)
    assert "% to -" in row(said, 4, "tokens/s all") and row(
        said, 4, "tokens/s all"
    ).endswith("changed")
    assert row(said, 4, "wait").endswith("noise") and not any(
        "unknown" in line for line in said
    )
    assert max(map(len, said)) < 80


def test_a_slower_queue_shows_though_half_of_the_level_did_not_queue(
    write, capsys
):
    write("before", rate=100.0, levels=(8, 8, 8), slots=4)
    said = lines(
        write("after", rate=90.0, levels=(8, 8, 8), slots=4, seed=5), capsys
    )
    assert row(said, 8, "wait").endswith("changed") and "+1" in row(
        said, 8, "wait"
    )


@pytest.mark.faults
def test_equal_runs_have_no_change(write, capsys):
    for seed in range(0, 60, 3):
        write(f"run {seed}", levels=LEVELS * 3, seed=seed)
        results = write(f"run {seed + 1}", levels=LEVELS * 3, seed=seed + 1)
        assert (
            run(
                results,
                "--compare",
                f"run {seed}",
                f"run {seed + 1}",
                "--fail-if",
                "ttft>0%",
                "--fail-if",
                "tokens_per_s<0%",
            )
            == 0
        )
    assert "changed" not in capsys.readouterr().out


def test_a_sure_change_too_small_for_a_word_is_called_so():
    change = compare_level(
        4,
        "ttft",
        *(
            [{"ttft_mean_s": value} for value in values]
            for values in ((1.0, 1.0001, 1.0002), (0.999, 0.9991, 0.9992))
        ),
    )
    judge_changes([change])
    assert change.interval[1] < 0 and change.verdict == "under 1%"


@pytest.mark.faults
def test_more_levels_find_no_more_by_chance():
    """Of 60 comparisons of 24 figures each, all noise of 10 %, 5 % may find anything.

    One interval in 20 would find something in 70 %.
    """
    chance = random.Random(3)
    found = 0
    for _ in range(60):
        changes = [
            compare_level(
                n,
                "ttft",
                *(
                    [
                        {"ttft_mean_s": math.exp(chance.gauss(0, 0.1))}
                        for _ in range(3)
                    ]
                    for _ in range(2)
                ),
            )
            for n in range(24)
        ]
        judge_changes(changes)
        found += any(change.verdict == "changed" for change in changes)
    assert found <= 6


def test_a_level_needs_less_evidence_where_all_levels_moved():
    def wait(n, by):
        return compare_level(
            n,
            "ttft",
            *(
                [
                    {"ttft_mean_s": factor * value}
                    for value in (1.0, 1.03, 0.97)
                ]
                for factor in (1.0, by)
            ),
        )

    lone = [wait(1, 1.1), wait(2, 1.0), wait(4, 0.95)]
    all_moved = [wait(1, 1.1), wait(2, 1.1), wait(4, 1.1)]
    for changes in (lone, all_moved):
        judge_changes(changes + [over := merge_levels("ttft", changes)])
    assert lone[0].ratio == pytest.approx(all_moved[0].ratio)
    assert (lone[0].verdict, all_moved[0].verdict, over.verdict) == (
        "noise",
        "changed",
        "changed",
    )


def test_joules_of_the_gpu_alone_are_compared_under_their_name_where_no_more_is_known(
    pair, capsys
):
    assert not row(lines(pair, capsys), 8, "GPU J/token")
    assert row(
        lines(pair, capsys, "--fail-if", "gpu_joules_per_token>900%"),
        8,
        "GPU J/token",
    )  # it is named
    change(
        pair, "UPDATE power_sample SET energy_j = NULL WHERE source_id = 2"
    )
    said = lines(pair, capsys)
    assert row(said, 8, "GPU J/token") and row(said, 8, "J/token").endswith(
        "gone"
    )
    assert (
        run(pair, "--run", "2", "--fail-if", "gpu_joules_per_token>0") == 1
    )


def test_a_label_is_printed_without_its_escape_codes(write, capsys):
    results = write("re\x1b[31md", levels=LEVELS)
    run(results, "--compare", "1", "1")
    assert "\x1b" not in capsys.readouterr().out
