"""Every chart as a PNG, and what is not drawn."""

from __future__ import annotations

import sys

import psutil
import pytest

import analyze
from ollama_bench.charts import names
from ollama_bench.report import page
from tests.support import made_up_results
from tests.support.chart_specs import drawing_nothing
from tests.support.studies import change


@pytest.fixture
def results(tmp_path):
    made_up_results.write(tmp_path / "results.db", failures=2)
    return tmp_path / "results.db"


@pytest.mark.faults
def test_a_run_of_single_tokens_is_drawn(tmp_path, capsys):
    made_up_results.write(
        tmp_path / "results.db", tokens=1, levels=(1, 4), failures=1
    )
    assert (
        analyze.main(
            ["--db", str(tmp_path / "results.db"), "--out", str(tmp_path)]
        )
        == 0
    )
    assert (tmp_path / "tiny-7b" / "combined_metrics.png").exists() and (
        tmp_path / "report.html"
    ).exists()


@pytest.mark.faults
def test_each_chart_is_a_png(results, tmp_path):
    arguments = ["--db", str(results), "--out", str(tmp_path / "data")]
    assert analyze.main(arguments) == 0
    pictures = list((tmp_path / "data" / "tiny-7b").glob("*.png"))
    assert {path.stem for path in pictures} == set(names.OF_MODEL)
    assert all(is_png(path) for path in pictures)


def test_a_chart_is_a_png(results, tmp_path):
    arguments = ["--db", str(results), "--out", str(tmp_path / "data")]
    assert analyze.main([*arguments, "--charts", "energy"]) == 0
    assert is_png(tmp_path / "data" / "tiny-7b" / "energy.png")


def test_what_draws_has_ended_before_the_page_is_made(
    results, tmp_path, monkeypatch
):
    held = []

    def count_processes(*_arguments):
        held.append(len(psutil.Process().children()))
        return "digest"

    before = len(psutil.Process().children())
    monkeypatch.setattr(page, "write", count_processes)
    arguments = ["--db", str(results), "--out", str(tmp_path / "data")]
    assert analyze.main([*arguments, "--charts", "energy"]) == 0
    assert held == [before]


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.faults
def test_it_leaves_a_file_for_each_chart_and_one_page(results, tmp_path):
    assert analyze_file(results, tmp_path / "data") == 0
    assert {
        path.stem for path in (tmp_path / "data" / "tiny-7b").glob("*.png")
    } == set(names.OF_MODEL)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "tiny-7b",
        "report.html",
    }


def analyze_file(results, out, *more):
    with drawing_nothing():
        return analyze.main(
            ["--db", str(results), "--out", str(out), *more]
        )


def test_several_models_are_compared_and_what_is_absent_is_said_once(
    results, tmp_path, capsys
):
    made_up_results.write(
        results, model="other/<1b>", levels=(1, 2), chunks=False
    )
    chosen = ",".join(("combined_metrics", "itl", *names.ACROSS_MODELS))
    assert analyze_file(results, tmp_path, "--charts", chosen) == 0
    assert {
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*.png")
    } == {
        "comparative_throughput.png",
        "comparative_wait.png",
        "comparative_efficiency.png",
        "tiny-7b/combined_metrics.png",
        "tiny-7b/itl.png",
        "other-1b/combined_metrics.png",
    }
    said = " ".join(capsys.readouterr().out.split())
    assert (
        said.count("not drawn, no chunks in this file: other-1b/itl.png")
        == 1
        and "6 charts in" in said
    )


def test_only_what_was_asked_for_is_drawn(results, tmp_path, capsys):
    made_up_results.write(results, model="other", levels=(1,))
    assert (
        analyze_file(results, tmp_path, "--charts", "energy,timeline") == 0
    )
    assert {path.name for path in tmp_path.rglob("*.png")} == {
        "energy.png",
        "timeline.png",
    }
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('class="chart"') == 4
    assert "4 charts in" in capsys.readouterr().out


def test_a_bar_shows_on_a_terminal_how_far_it_is(
    results, tmp_path, capsys, monkeypatch
):
    assert analyze_file(results, tmp_path, "--charts", "energy") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert analyze_file(results, tmp_path, "--charts", "energy") == 0
    assert "drawing" in capsys.readouterr().err


def test_a_level_above_32_is_not_called_absent(tmp_path, capsys):
    made_up_results.write(
        tmp_path / "results.db", levels=(64,), chunks=False
    )
    chosen = ("--charts", "ttfb_analysis_32")
    assert (
        analyze_file(tmp_path / "results.db", tmp_path / "data", *chosen)
        == 0
    )
    assert (
        "not drawn, no waits up to 32 at once in this file"
        in capsys.readouterr().out
    )


@pytest.mark.faults
def test_levels_without_a_speed_are_drawn_without_one(results, tmp_path):
    change(results, "UPDATE level SET ended_ns = NULL")
    assert (
        analyze.main(
            [
                "--db",
                str(tmp_path / "results.db"),
                "--out",
                str(tmp_path / "data"),
            ]
        )
        == 0
    )
