"""What a condition may name, how it is written, and that a wrong one is told first."""

from __future__ import annotations

import pytest

import analyze
import bench
from ollama_bench.analysis.conditions import (
    FIGURES,
    ConditionError,
    parse_condition,
)
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.comparisons import run

NO_FIGURES = {
    "run_id",
    "level_id",
    "concurrency",
    "repeat",
    "simulated",
    "model",
    "status",
    "client_read_lag_source",
    "client_stamps",
    "client_limited_why",
    "interval_basis",
    "is_control",
    "balance",
    "cache",
    "load",
    "trace",
    "trace_kind",
    "trace_speed",
    "trace_too_long",
    "asked_output_tokens_mean",
    "think_law",
    "prompt_mix",
    "trial",
    "probe_rate_per_s",
    "server_gone_s",
    "source",
    "superseded",
    "net_energy_j",
    "energy_wh",
}  # names and numbers of things; the last two are not read by analyze.py


def columns(path, view):
    database = connect(path, readonly=True)
    try:
        return [
            column[0]
            for column in database.execute(
                f"SELECT * FROM {view}"
            ).description
        ]
    finally:
        database.conn.close()


def test_every_figure_of_a_level_may_be_named(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2))
    there = set(columns(tmp_path / "results.db", "level_summary")) | set(
        columns(tmp_path / "results.db", "energy_summary")
    )
    there.add("full_load_tokens_per_s")  # of the view full_load
    assert there - NO_FIGURES == FIGURES
    conditions = [
        argument
        for name in sorted(FIGURES)
        for argument in ("--fail-if", f"{name}<=-1e9")
    ]
    # some are not known here, which is no error
    assert run(tmp_path / "results.db", *conditions) == 3


@pytest.mark.parametrize(
    "text, code",
    [
        ("ttft_p50_s>=0", 1),
        ("requests>=2", 1),
        ("requests>2", 0),
        ("requests<=2", 1),
        ("requests<2", 0),
        ("error_ratio>.5", 0),
        ("error_ratio<5e-1", 1),
        ("error_ratio<=0.", 1),
        ("client_limited>0", 0),
    ],
)
def test_how_a_bound_is_written(tmp_path, text, code):
    made_up_results.write(tmp_path / "results.db", levels=(2,))
    assert (
        analyze.main(
            [
                "--db",
                str(tmp_path / "results.db"),
                "--charts",
                "none",
                "--fail-if",
                text,
            ]
        )
        == code
    )


@pytest.mark.parametrize(
    "text",
    [
        "model>1",
        "ttft_p99_s>5%",
        "ttft=>2",
        "ttft>.",
        "ttft>1e999",
        "ttft>" + "9" * 400,
        "level_id>1",
        "ttft<>2",
    ],
)
def test_what_is_no_bound(text):
    with pytest.raises(ConditionError):
        parse_condition(text)


@pytest.mark.parametrize(
    "text, words",
    [
        ("ttft>10%", "a single run has no change"),
        ("speed>1", "invalid condition"),
    ],
)
def test_a_bound_that_a_run_cannot_have_is_told_before_it_runs(
    tmp_path, monkeypatch, capsys, text, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "bench", lambda *_: pytest.fail("it ran"))
    assert bench.main(["1", "--fail-if", text]) == 2
    said = capsys.readouterr().err
    assert (
        words in said
        and len(said.splitlines()) == 1
        and not list(tmp_path.iterdir())
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tokens_per_s",
        "speed>1",
        "ttft>x",
        "ttft=3",
        "error_ratio>5%",
        "e2e>5%",
    ],
)
def test_a_wrong_condition_is_told(text):
    with pytest.raises(ConditionError) as error:
        parse_condition(text)
    assert str(error.value).endswith(
        "with % for a change: ttft, tokens_per_s, output_tokens_per_s, joules_per_token, "
        "gpu_joules_per_token"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b", "--compare", "1", "2"],
        ["--run", "1", "--compare", "1", "2"],
        [
            "--compare",
            "1",
            "2",
            "--fail-if",
            "ttft>5%",
            "--fail-if",
            "ttft>5",
        ],
    ],
)
def test_wrong_usage_is_2(pair, arguments):
    with pytest.raises(SystemExit) as error:
        run(pair, *arguments)
    assert error.value.code == 2
