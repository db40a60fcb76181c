"""--fail-if: what a bound may name, how it may be written, and that a wrong one is told before anything runs."""

import argparse

import pytest

import analyze
import bench
from ollama_bench.analysis import compare
from ollama_bench.storage import db
from tests.support import made_up_results

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
    "cache",
    "load",
    "source",
    "superseded",
    "net_energy_j",
    "energy_wh",
}  # names and numbers of things; the last two are not read by analyze.py


def columns(path, view):
    database = db.connect(path, readonly=True)
    try:
        return [column[0] for column in database.execute(f"SELECT * FROM {view}").description]
    finally:
        database.conn.close()


def test_every_figure_of_a_level_may_be_named(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2))
    there = set(columns(tmp_path / "results.db", "level_summary")) | set(
        columns(tmp_path / "results.db", "energy_summary")
    )
    assert compare.FIGURES == there - NO_FIGURES
    for name in sorted(compare.FIGURES):
        assert analyze.main(
            ["--db", str(tmp_path / "results.db"), "--no-charts", "--fail-if", f"{name}<=-1e9"]
        ) in (0, 1), name


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
        analyze.main(["--db", str(tmp_path / "results.db"), "--no-charts", "--fail-if", text])
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
    with pytest.raises(argparse.ArgumentTypeError):
        compare.condition(text)


@pytest.mark.parametrize("text, words", [("ttft>10%", "is a change"), ("speed>1", "no condition")])
def test_a_bound_that_a_run_cannot_have_is_told_before_it_runs(
    tmp_path, monkeypatch, capsys, text, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "bench", lambda *_: pytest.fail("it ran"))
    assert bench.main(["1", "--fail-if", text]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())
