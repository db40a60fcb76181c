"""When a condition fails the run."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.comparison import compare_studies
from ollama_bench.analysis.conditions import parse_condition
from ollama_bench.analysis.gate import check_changes, exit_code
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.comparisons import lines, row, run, side
from tests.support.studies import change

LEVELS = (1, 2, 4, 8)


def compare(results, condition):
    """The exit code of --compare before after --fail-if CONDITION."""
    compared = ("--compare", "before", "after", "--fail-if", condition)
    return run(results, *compared)


def test_a_level_that_died_is_shown_and_trips_every_bound(write, capsys):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS, failures=8)
    said = lines(results, capsys)
    assert row(said, 8, "failed").split() == [
        "8",
        "failed",
        "0/8",
        "8/8",
    ] and row(said, 8, "wait").endswith("gone")
    assert not row(said, 4, "failed") and max(map(len, said)) < 80
    for condition in (
        "ttft>900%",
        "output_tokens_per_s<-99%",
        "joules_per_token>900%",
        "error_ratio>0.01",
        "error_ratio>1",
    ):
        assert compare(results, condition) == 1
        said = [
            line
            for line in capsys.readouterr().out.splitlines()
            if line.startswith("failed: ")
        ]
        assert said == [
            f"failed: {condition} at 8 at once: had replies, now none"
        ]


def test_a_level_that_is_not_there_any_more_trips_too(write, capsys):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS[:3])
    assert "only before: 8 at once" in lines(results, capsys)
    assert compare(results, "ttft>900%") == 1
    assert (
        "failed: ttft>900% at 8 at once: had replies, now not measured"
        in capsys.readouterr().out
    )
    assert (
        run(
            results,
            "--compare",
            "after",
            "before",
            "--fail-if",
            "ttft>900%",
        )
        == 0
    )


def test_a_metric_that_is_gone_trips_its_own_bounds(write, capsys):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS)
    database = connect(results)
    database.execute(
        "DELETE FROM power_sample WHERE source_id IN (SELECT id FROM power_source WHERE run_id = 2)"
    )
    database.close()
    assert compare(results, "joules_per_token>900%") == 1
    assert "had values, now none" in capsys.readouterr().out
    assert compare(results, "ttft>900%") == 0


@pytest.mark.parametrize(
    "condition, code",
    [
        ("error_ratio>0.01", 3),
        ("error_ratio>0.24", 3),
        ("error_ratio>0.25", 0),
        ("error_ratio<-0.1", 0),
    ],
)
def test_an_error_ratio_is_bound_by_its_difference(
    write, capsys, condition, code
):
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS, failures=2)
    assert row(lines(results, capsys), 8, "failed").split() == [
        "8",
        "failed",
        "0/8",
        "2/8",
    ]
    assert compare(results, condition) == code


@pytest.mark.parametrize(
    "condition, code",
    [
        ("output_tokens_per_s<-5%", 1),
        ("output_tokens_per_s<-60%", 0),
        ("tokens_per_s<-5%", 1),
        ("tokens_per_s>5%", 0),
        ("joules_per_token>5%", 1),
        ("ttft>5%", 1),
        ("ttft>50%", 0),
    ],
)  # at 8 the wait grew by 40 %, at the others not at all
def test_fail_if(write, condition, code):
    write("before", rate=90.0, levels=LEVELS)
    results = write("after", rate=60.0, levels=LEVELS, seed=3)
    assert (
        run(results, "--compare", "1", "2", "--fail-if", condition) == code
    )


def test_a_bound_passed_by_what_may_be_chance_cannot_be_told(
    write, capsys
):
    """Between two runs a tenth less may be chance: exit 3, with what would have been seen."""
    write("before", rate=90.0, levels=LEVELS)
    results = write("after", rate=82.0, levels=LEVELS)
    compared = ("--compare", "before", "after", "--fail-if")
    assert run(results, *compared, "tokens_per_s<-5%") == 3
    said = capsys.readouterr().out
    assert "cannot check tokens_per_s<-5% at 8 at once (-" in said
    assert (
        "may be chance, a change is seen from -" in said
        and "failed:" not in said
    )
    assert run(results, *compared, "tokens_per_s<-60%") == 0


@pytest.mark.parametrize(
    "sql, reason",
    [
        (
            "UPDATE run SET arguments = json_set(arguments, '$.tokens', id)",
            "--tokens was 1 before, 2 after",
        ),
        (
            "UPDATE level SET load = iif(run_id = 1, 'burst', 'closed')",
            "the load was bursts before",
        ),
        (
            "UPDATE level SET cache = iif(run_id = 1, 'cold', 'warm')",
            "cold cache",
        ),
        (
            "UPDATE level SET client_limited = run_id - 1",
            "this client was",
        ),
        (
            "UPDATE request SET output_tokens = 10 WHERE level_id IN "
            "(SELECT id FROM level WHERE run_id = 1)",
            "replies have 10 against 60 at 1",
        ),
        (
            "UPDATE request SET prompt_tokens = 300 WHERE level_id IN "
            "(SELECT id FROM level WHERE run_id = 1)",
            "prompts have 300 against 30 at 1",
        ),
        (
            "UPDATE system_sample SET cpu_ratio = 1 WHERE run_id = 2",
            "after: other programs took CPU time at 1, 2, 4 and 8 at once",
        ),
    ],
)
def test_unlike_work_is_told_first_and_never_gated(
    write, capsys, sql, reason
):
    write("before", rate=90.0, levels=LEVELS, simulated=0)
    results = write("after", rate=20.0, levels=LEVELS, simulated=0)
    change(results, sql)
    said = lines(results, capsys, "--fail-if", "output_tokens_per_s<-5%")
    text = " ".join(" ".join(said).split())
    assert reason in text and text.index("! ") < text.index("at once what")
    assert row(said, 8, "tokens/s all").endswith("unlike")
    bound = ("--fail-if", "output_tokens_per_s<-5%")
    assert run(results, "--compare", "before", "after", *bound) == 3


def test_shed_load_is_said_first_and_fails_every_bound(write, capsys):
    """15 of 32 requests fail, and the rest wait less: no better server."""
    write("before", levels=(32,))
    results = write("after", levels=(32,), failures=15)
    said = lines(results, capsys)
    assert said[2].startswith(
        "! 47 % of the requests at 32 at once failed after"
    )
    for bound in ("ttft>10%", "error_ratio>0.01"):
        compared = ("--compare", "before", "after", "--fail-if", bound)
        assert run(results, *compared) == 1


def test_a_level_that_was_interrupted_keeps_no_bound(write, capsys):
    """Its five fastest have ended: neither alone nor against a whole one is that a pass."""
    write("before", levels=LEVELS)
    results = write("after", levels=LEVELS)
    change(
        results,
        "UPDATE level SET status = 'interrupted' WHERE run_id = 2 AND concurrency = 8",
    )
    assert run(results, "--run", "after", "--fail-if", "ttft>100") == 3
    assert "at 8 at once: it was interrupted" in capsys.readouterr().out
    compared = ("--compare", "before", "after", "--fail-if", "ttft>900%")
    assert run(results, *compared) == 3
    said = capsys.readouterr().out
    assert (
        "! after: 8 at once was interrupted, and is not compared" in said
    )
    assert "at 8 at once: it has not come to its end" in said


def test_failures_make_a_percentile_infinite_and_few_requests_unknown(
    write, capsys
):
    results = write("one", levels=(4, 32), failures=15)
    bound = "ttft_p95_with_errors_s>100"
    assert run(results, "--fail-if", bound) == 1
    said = capsys.readouterr().out
    assert f"failed: {bound} at 32 at once of tiny:7b (infinite)" in said
    assert f"cannot check {bound} at 4 at once: not known" in said


@pytest.mark.parametrize(
    "failed, requests, code",
    [
        ((1, 3), 100, 0),
        ((0, 1), 20, 0),
        ((0, 2), 8, 3),
        ((0, 3), 20, 3),
        ((0, 6), 20, 1),
        ((1, 15), 100, 1),
        ((4, 30), 400, 1),
    ],
)
def test_a_rise_of_failures_is_tested(failed, requests, code):
    """One more of 20 is chance, 2 of 8 too few to tell, 14 of 100 a rise."""
    before, after = (
        side({4: [1.0]}, errors=errors, requests=requests)
        for errors in failed
    )
    found = compare_studies(before, after)
    condition = parse_condition("error_ratio>0.01")
    assert exit_code(check_changes(found, [condition])) == code


@pytest.mark.parametrize(
    "failed, requests, code",
    [
        ((0, 1), 8, 0),
        ((1, 2), 8, 0),
        ((0, 2), 8, 3),
        ((0, 1), 4, 3),
        ((0, 15), 32, 1),
    ],
)
def test_one_failure_more_is_no_shed_load(failed, requests, code):
    """One of eight is what chance gives; a quarter of the load is too much to pass."""
    before, after = (
        side({4: [1.0]}, errors=errors, requests=requests)
        for errors in failed
    )
    found = compare_studies(before, after)
    condition = parse_condition("ttft>10%")
    assert exit_code(check_changes(found, [condition])) == code


@pytest.mark.parametrize(
    "failed, requests, said",
    [
        (
            (0, 1),
            20,
            "passed: error_ratio>0.01 at 4 at once (0 to 0.05): no more than "
            "chance gives, a rise is shown from 5 of 20 on",
        ),
        (
            (0, 1),
            2,
            "passed: error_ratio>0.01 at 4 at once (0 to 0.5): no more than "
            "chance gives, 2 requests are too few to show a rise",
        ),
        (
            (0, 2),
            8,
            "cannot check error_ratio>0.01 at 4 at once (0 to 0.25): "
            "may be chance, a rise is shown from 5 of 8 on",
        ),
    ],
)
def test_how_little_few_requests_show_is_said(failed, requests, said):
    before, after = (
        side({4: [1.0]}, errors=errors, requests=requests)
        for errors in failed
    )
    found = compare_studies(before, after)
    condition = parse_condition("error_ratio>0.01")
    assert [line.text for line in check_changes(found, [condition])] == [
        said
    ]


def test_a_fall_of_failures_that_is_demanded_is_not_passed_by_chance():
    """error_ratio>-0.1 asks for 10 points less; 1 of 20 less than before may be that."""
    before, after = (
        side({4: [1.0]}, errors=errors, requests=20) for errors in (2, 1)
    )
    found = compare_studies(before, after)
    condition = parse_condition("error_ratio>-0.1")
    assert exit_code(check_changes(found, [condition])) == 3


@pytest.mark.parametrize(
    "condition, code",
    [("error_ratio>0", 0), ("tokens_per_s<1000", 1), ("ttft>1000", 0)],
)
def test_fail_if_without_a_comparison_bounds_values(pair, condition, code):
    assert run(pair, "--fail-if", condition) == code


def test_a_bound_on_what_no_level_has_cannot_be_told(
    pair, tmp_path, capsys
):
    made_up_results.write(tmp_path / "dark.db", levels=(1,), runs=2)
    database = connect(tmp_path / "dark.db")
    database.execute("DELETE FROM power_sample")
    database.close()
    assert (
        run(tmp_path / "dark.db", "--fail-if", "joules_per_token>1") == 3
    )
    assert (
        run(
            tmp_path / "dark.db",
            "--compare",
            "1",
            "2",
            "--fail-if",
            "joules_per_token>1%",
        )
        == 3
    )
    assert capsys.readouterr().out.count("cannot check") == 2


@pytest.mark.parametrize("bound", ["ttft>2", "tokens_per_s<10"])
def test_a_server_that_answered_nothing_fails_every_bound(
    write, capsys, bound
):
    """Who takes "cannot tell" for an answer must not take a dead server."""
    results = write("dead", levels=(4, 8))
    change(results, "UPDATE request SET status = 'reset'")
    assert run(results, "--fail-if", bound) == 1
    said = capsys.readouterr().out
    assert f"failed: {bound} at 4 at once: no request completed" in said
    assert f"failed: {bound} at 8 at once: no request completed" in said
