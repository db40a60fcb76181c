"""Speed, wait and failures by level."""

from __future__ import annotations

import json

import pytest

from ollama_bench.charts.load_charts import slowest_wait
from ollama_bench.inputs.objectives import parse
from tests.support.chart_specs import chart, values


@pytest.mark.parametrize(
    "name",
    [
        "combined_metrics",
        "ttfb_analysis_256",
        "duration_metrics_256",
        "average_throughput",
    ],
)
def test_failures_stand_where_they_happened(drawn, name):
    assert {
        "concurrency": 32,
        "failed": 5,
        "of": 32,
        "text": "5 failed",
    } in values(drawn[name])


RATES = (
    "UPDATE level SET load = 'open', probe_rate_per_s = concurrency / 3.2,"
    " rate_per_s = concurrency / 3.2",
    "UPDATE level SET concurrency = 256, repeat = id",
)


@pytest.mark.parametrize(
    "name",
    [
        "performance_metrics",
        "throughput_vs_avg_wait",
        "server_split",
    ],
)
def test_the_loads_of_a_search_for_a_rate_are_its_rates(file, name):
    database, study = file(RATES, levels=(4, 8, 16))
    spec = chart(name).draw(database, study)
    text = json.dumps(spec)
    assert {
        row["concurrency"] for row in values(spec) if "concurrency" in row
    } >= {
        1.25,
        2.5,
        5.0,
    }
    assert (
        "requests/s" in text
        and "at once" not in text
        and "256" not in text
    )


def test_the_timeline_of_a_search_for_a_rate_names_its_rates(file):
    database, study = file(RATES, levels=(4, 8, 16))
    text = json.dumps(chart("timeline").draw(database, study))
    assert '"1.25 requests/s"' in text or '"5.0 requests/s"' in text
    assert "at once" not in text and "256" not in text


def test_repeats_are_one_point_of_the_path_with_one_label(file):
    database, study = file(levels=(1, 8, 1, 8), failures=2)
    rows = [
        row
        for row in values(
            chart("throughput_vs_avg_wait").draw(database, study)
        )
        if "label" in row
    ]
    assert {row["label"] for row in rows} == {"1", "8, 4 failed"}
    assert {row["repeats"] for row in rows} == {2}


@pytest.mark.parametrize(
    "p99, longest, requests, kind, wait",
    [
        (9.0, 11.0, 100, "known", 9.0),
        (None, 11.0, 100, "endless", 11.0),
        (None, 11.0, 99, "few", 11.0),
    ],
)
def test_failures_make_a_p99_endless(p99, longest, requests, kind, wait):
    level = {
        "ttft_p99_with_errors_s": p99,
        "ttft_max_s": longest,
        "completed": requests - 5,
        "errors": 5,
    }
    assert slowest_wait(level) == {"wait_s": wait, "kind": kind}


@pytest.mark.parametrize(
    "limits, dashed",
    [
        (None, []),
        (parse("tokens_per_s=15"), [15.0]),
        (parse("tpot=0.05"), [20.0]),
        (parse("tokens_per_s=1e6"), []),
        (parse("ttft=2"), []),
    ],
)
def test_the_dashed_line_is_the_objective(file, limits, dashed):
    database, study = file(levels=(1, 4), chunks=False)
    spec = chart("average_throughput").draw(database, study, limits)
    assert [
        row["y"] for row in values(spec) if set(row) == {"y"}
    ] == dashed
    assert any(
        "Dashed" in line for line in spec["title"]["subtitle"]
    ) == bool(dashed)
