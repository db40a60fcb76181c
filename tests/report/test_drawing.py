"""Every chart as a PNG, and what is not drawn."""

from __future__ import annotations

import pytest

import analyze
from ollama_bench.charts import catalog, png
from tests.support import made_up_results
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


def test_it_leaves_a_png_for_each_chart_and_one_page(results, tmp_path):
    assert (
        analyze.main(
            ["--db", str(results), "--out", str(tmp_path / "data")]
        )
        == 0
    )
    assert {
        path.stem for path in (tmp_path / "data" / "tiny-7b").glob("*.png")
    } == {chart.name for chart in catalog.CHARTS}
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "tiny-7b",
        "report.html",
    }


def test_several_models_are_compared_and_what_is_absent_is_said_once(
    results, tmp_path, capsys, monkeypatch
):
    written = []
    monkeypatch.setattr(
        catalog,
        "CHARTS",
        [
            chart
            for chart in catalog.CHARTS
            if chart.name in ("combined_metrics", "itl")
        ],
    )
    monkeypatch.setattr(
        png,
        "save_png",
        lambda spec, path, top: written.append(
            path.relative_to(tmp_path).as_posix()
        ),
    )
    made_up_results.write(
        results, model="other/<1b>", levels=(1, 2), chunks=False
    )
    assert analyze.main(["--db", str(results), "--out", str(tmp_path)]) == 0
    assert set(written) == {
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


def test_a_level_above_32_is_not_called_absent(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        catalog,
        "CHARTS",
        [
            chart
            for chart in catalog.CHARTS
            if chart.name == "ttfb_analysis_32"
        ],
    )
    made_up_results.write(
        tmp_path / "results.db", levels=(64,), chunks=False
    )
    assert (
        analyze.main(
            ["--db", str(tmp_path / "results.db"), "--out", str(tmp_path)]
        )
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
