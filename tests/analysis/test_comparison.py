"""What changed between two sides, and what can be chance."""

from __future__ import annotations

import random

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.comparison import compare_studies, runs_needed
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.comparisons import lines, row, run, side, verdicts
from tests.support.studies import change

LEVELS = (1, 2, 4, 8)
ONCE = {n: [1.0] for n in LEVELS}


def test_a_single_burst_is_judged_by_what_runs_may_vary(pair, capsys):
    """Between two runs 5 % is assumed, so that a third less is said."""
    said = lines(pair, capsys)
    assert row(said, 8, "tokens/s each").endswith("changed")
    assert row(said, 2, "wait").endswith("cannot tell")
    assert "seen from +" in row(said, 2, "wait")
    assert row(said, 2, "wait (s)") == row(said, 2, "wait")
    text = " ".join(said)
    assert "Between two runs: how much runs vary here is not known" in text
    assert max(map(len, said)) < 80 and not row(said, 16, "wait")
    assert "only after: 16 at once" in said


def test_no_difference_says_what_would_show_one(write, capsys):
    write("before", levels=LEVELS)
    said = lines(write("after", levels=LEVELS, seed=3), capsys)
    text = " ".join(said)
    assert "No difference shown." in text
    assert "runs a side would show 10 % in 'tokens/s all'" in text
    assert "9 %" not in text and "noise" not in text


@pytest.mark.parametrize("factor", [2.0, 10.0])
def test_a_wait_that_grew_at_one_level_is_not_noise(factor):
    found = compare_studies(side(ONCE), side(ONCE | {4: [factor]}))
    assert verdicts(found)[4] == "changed"
    assert verdicts(found)[2] == "cannot tell"


def test_half_the_throughput_at_the_top_is_found():
    found = compare_studies(side(ONCE), side(ONCE | {8: [0.5]}))
    assert verdicts(found, "output_tokens_per_s")[8] == "changed"


def test_levels_that_disagree_say_how_much_one_level_varies():
    """Where most levels moved by a third either way, a third more at one says nothing."""
    after = {1: [1.3], 2: [0.7], 4: [1.35], 8: [0.75]}
    found = compare_studies(side(ONCE), side(after))
    assert set(verdicts(found).values()) == {"cannot tell"}


def test_repeats_in_one_run_do_not_tell_what_runs_vary():
    """7 % apart with repeats that agree within 0.1 %: runs may vary by more than that."""
    repeats = [1.0, 1.001, 0.999]
    before = dict.fromkeys(LEVELS, repeats)
    after = {n: [0.93 * value for value in repeats] for n in LEVELS}
    found = compare_studies(side(before), side(after))
    assert "changed" not in verdicts(found, "output_tokens_per_s").values()


def test_three_runs_a_side_tell_it_themselves():
    """The same 7 %, of runs that agree within 1 %."""
    before = [{n: [value] for n in LEVELS} for value in (1.0, 1.01, 0.99)]
    after = [{n: [value] for n in LEVELS} for value in (0.93, 0.94, 0.92)]
    found = compare_studies(side(*before), side(*after))
    assert verdicts(found, "output_tokens_per_s")[None] == "changed"
    (whole,) = [
        change
        for change in found.changes
        if change.at is None and change.metric == "output_tokens_per_s"
    ]
    assert whole.noise.known_by == "runs" and whole.noise.runs == (3, 3)
    assert whole.noise.run_ratio == pytest.approx(0.0104, abs=0.0005)


def test_earlier_runs_of_the_machine_tell_what_runs_vary():
    """7 % is more than runs vary that are known to stay within 1 %, and less than 5 % assumed."""
    history = side(
        *({n: [1 + 0.01 * (-1) ** i] for n in LEVELS} for i in range(10))
    )
    sides = side(ONCE), side({n: [0.93] for n in LEVELS})
    for known, verdict in (([], "cannot tell"), ([history], "changed")):
        found = compare_studies(*sides, history=known)
        assert verdicts(found, "output_tokens_per_s")[None] == verdict


def test_more_runs_are_needed_where_they_vary_more():
    def needed(spread):
        runs = [
            {n: [value] for n in LEVELS} for value in (1, 1 + spread, 1)
        ]
        found = compare_studies(side(*runs), side(*runs))
        return runs_needed(
            next(
                change
                for change in found.changes
                if change.at is None
                and change.metric == "output_tokens_per_s"
            )
        )

    assert needed(0.01) == 3 < needed(0.1) < needed(0.2)
    assert needed(5.0) is None


def test_the_metric_that_decides_is_asked_first():
    """Three runs a side show 8 % more wait only where that is the first question."""
    values = (1.0, 1.02, 0.98)
    before = [{n: [value] for n in LEVELS} for value in values]
    after = [{n: [1.08 * value] for n in LEVELS} for value in values]
    sides = side(*before), side(*after)
    found = compare_studies(*sides)
    assert verdicts(found)[None] == "cannot tell"
    found = compare_studies(*sides, asked={"ttft": False})
    assert verdicts(found)[None] == "changed"


def test_an_unlike_level_is_shown_and_not_judged():
    after = ONCE | {8: [0.1]}
    found = compare_studies(
        side(ONCE), side(after), unlike={8: ["longer"]}
    )
    assert verdicts(found)[8] == "unlike"
    assert "changed" not in verdicts(found).values()


def test_a_level_that_was_cut_is_not_compared():
    cut = side(ONCE)
    cut.levels[-1]["status"] = "interrupted"
    found = compare_studies(side(ONCE), cut)
    assert found.shared == [1, 2, 4] and found.unfinished == {8}
    assert found.dead == []


@pytest.mark.parametrize("rate, code", [(60.0, 1), (90.0, 0)])
def test_labels_take_all_their_runs(write, capsys, rate, code):
    for label, speed in (("before", 90.0), ("after", rate)):
        for seed in range(3):
            results = write(label, rate=speed, levels=LEVELS, seed=seed)
    said = lines(results, capsys)
    text = " ".join(said)
    assert (
        "before  tiny:7b: run 1 (before), run 2 (before), run 3" in said[0]
    )
    assert "Between 3 and 3 runs: tokens/s all varies by" in text
    assert row(said, "all", "tokens/s all").endswith("changed") == code
    bound = ("--fail-if", "output_tokens_per_s<-5%")
    assert run(results, "--compare", "before", "after", *bound) == code


def test_repeats_tell_a_change_at_each_level(write, capsys):
    write("before", rate=80.0, levels=(4, 4, 4))
    results = write("after", rate=40.0, levels=(4, 4, 4), seed=5)
    said = lines(results, capsys)
    line = row(said, 4, "tokens/s all")
    assert "% to -" in line and line.endswith("changed")
    assert not row(said, 4, "wait").endswith("changed")
    assert max(map(len, said)) < 80


def test_a_sure_change_too_small_for_a_word_is_called_so():
    before = [{4: [value]} for value in (1.0, 1.00001, 1.00002)]
    after = [{4: [value]} for value in (0.999, 0.99901, 0.99902)]
    found = compare_studies(side(*before), side(*after))
    assert verdicts(found, "output_tokens_per_s") == {4: "under 1%"}


def test_no_change_is_said_only_where_a_large_one_is_excluded():
    values = (1.0, 1.001, 0.999)
    runs = [{n: [value] for n in LEVELS} for value in values]
    found = compare_studies(side(*runs), side(*runs))
    assert set(verdicts(found).values()) == {"within 10%"}


@pytest.mark.faults
def test_more_levels_find_no_more_by_chance():
    """Of 100 comparisons of 12 levels of four figures, 5 % from run to run, 5 may find anything."""
    chance = random.Random(3)

    def draw():
        shifts = [chance.gauss(1, 0.05) for _ in range(3)]
        return side(
            *(
                {n: [shift * chance.gauss(1, 0.02)] for n in range(1, 13)}
                for shift in shifts
            )
        )

    found = sum(
        any(
            change.verdict == "changed"
            for change in compare_studies(draw(), draw()).changes
        )
        for _ in range(100)
    )
    assert found <= 10


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
    assert row(said, 8, "GPU J/token") and row(
        said, 8, "J/token"
    ).endswith("gone")
    assert (
        run(pair, "--run", "2", "--fail-if", "gpu_joules_per_token>0") == 1
    )


def test_few_runs_that_vary_much_are_not_hidden_by_many_that_do_not():
    """Two of three runs are 20 % better, ten vary by 1 %: Welch's case."""
    few = [{4: [factor], 8: [factor]} for factor in (0.98, 1.2, 1.2)]
    many = [
        {4: [1 + step / 100], 8: [1 + step / 100]}
        for step in [-1, 0, 0, 1, 0] * 2
    ]
    found = compare_studies(side(*few), side(*many))
    assert set(verdicts(found, "output_tokens_per_s").values()) == {
        "cannot tell"
    }
    found = compare_studies(side(*few), side(*few))
    (part,) = found.changes[0].parts
    assert part.freedom == 4


def test_a_label_is_printed_without_its_escape_codes(write, capsys):
    write("before", levels=LEVELS)
    results = write("re\x1b[31md", levels=LEVELS)
    run(results, "--compare", "1", "2")
    said = capsys.readouterr().out
    assert "31md" in said and "\x1b" not in said


def test_the_rates_of_two_searches_are_compared_each_with_its_own(
    tmp_path,
):
    path = tmp_path / "results.db"
    for started_unix in (1.8e9, 1.9e9):
        made_up_results.write(
            path, levels=(4, 8), started_unix=started_unix
        )
    database = connect(path)
    database.execute(
        "UPDATE level SET load = 'open', probe_rate_per_s = concurrency / 3.2"
    )
    database.execute("UPDATE level SET concurrency = 256")
    before, after = (
        selection.choose(database, [], [run_id])[0] for run_id in (1, 2)
    )
    found = compare_studies(before, after)
    database.close()
    assert found.shared == [1.25, 2.5]
    changes = [one for one in found.changes if one.at is not None]
    # none of them went missing
    assert changes and all(one.after is not None for one in changes)
