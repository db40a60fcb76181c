"""When a condition fails the run."""

from __future__ import annotations

import pytest

from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.comparisons import lines, row, run

LEVELS = (1, 2, 4, 8)


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
        assert (
            run(
                results,
                "--compare",
                "before",
                "after",
                "--fail-if",
                condition,
            )
            == 1
        )
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
    assert "only in from: 8 at once" in lines(results, capsys)
    assert (
        run(
            results,
            "--compare",
            "before",
            "after",
            "--fail-if",
            "ttft>900%",
        )
        == 1
    )
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
    assert (
        run(
            results,
            "--compare",
            "before",
            "after",
            "--fail-if",
            "joules_per_token>900%",
        )
        == 1
    )
    assert "had values, now none" in capsys.readouterr().out
    assert (
        run(
            results,
            "--compare",
            "before",
            "after",
            "--fail-if",
            "ttft>900%",
        )
        == 0
    )


@pytest.mark.parametrize(
    "condition, code",
    [
        ("error_ratio>0.01", 1),
        ("error_ratio>0.24", 1),
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
    assert (
        run(results, "--compare", "before", "after", "--fail-if", condition)
        == code
    )


@pytest.mark.parametrize(
    "condition, code",
    [
        ("output_tokens_per_s<-5%", 1),
        ("output_tokens_per_s<-60%", 0),
        ("tokens_per_s<-5%", 1),
        ("tokens_per_s>5%", 0),
        ("joules_per_token>5%", 1),
        ("ttft>5%", 0),
    ],
)  # at 8 the wait grew by 40 %, at the others not at all
def test_fail_if(write, condition, code):
    write("before", rate=90.0, levels=LEVELS)
    results = write("after", rate=60.0, levels=LEVELS, seed=3)
    assert (
        run(results, "--compare", "1", "2", "--fail-if", condition) == code
    )


def test_a_bound_passed_where_nothing_tells_the_noise_cannot_be_told(
    pair, capsys
):
    assert (
        run(pair, "--compare", "1", "2", "--fail-if", "tokens_per_s<-5%")
        == 1
    )
    assert (
        "cannot check tokens_per_s<-5% at 8 at once (-33"
        in capsys.readouterr().out
    )
    assert (
        run(pair, "--compare", "1", "2", "--fail-if", "tokens_per_s<-60%")
        == 0
    )


@pytest.mark.parametrize(
    "condition, code",
    [("error_ratio>0", 0), ("tokens_per_s<1000", 1), ("ttft>1000", 0)],
)
def test_fail_if_without_a_comparison_bounds_values(pair, condition, code):
    assert run(pair, "--fail-if", condition) == code


def test_a_bound_that_cannot_be_told_fails(pair, tmp_path, capsys):
    made_up_results.write(tmp_path / "dark.db", levels=(1,))
    database = connect(tmp_path / "dark.db")
    database.execute("DELETE FROM power_sample")
    database.close()
    assert run(tmp_path / "dark.db", "--fail-if", "joules_per_token>1") == 1
    assert (
        run(
            tmp_path / "dark.db",
            "--compare",
            "1",
            "1",
            "--fail-if",
            "joules_per_token>1%",
        )
        == 1
    )
    assert capsys.readouterr().out.count("cannot check") == 2
