"""A chart: its titles, its notes, and whether it shows more than its sibling."""

from __future__ import annotations

import json

import pytest
import vl_convert

from ollama_bench.analysis import selection
from ollama_bench.charts import catalog
from ollama_bench.charts.chart import WORDS_NOTE
from ollama_bench.charts.model_charts import compare_models
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.chart_specs import chart, values


@pytest.mark.faults
def test_the_smaller_of_a_pair_ends_at_32(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(1, 32, 33), chunks=False
    )
    database = connect(tmp_path / "results.db", readonly=True)
    study = selection.choose(database, [], [])[0]
    seen = {
        chart.name: {
            row["concurrency"]
            for row in values(chart.draw(database, study))
            if "concurrency" in row
        }
        for chart in catalog.CHARTS
        if chart.name.startswith(("ttfb", "duration"))
    }
    database.close()
    assert seen == {
        "ttfb_analysis_32": {1, 32},
        "ttfb_analysis_256": {1, 32, 33},
        "duration_metrics_32": {1, 32},
        "duration_metrics_256": {1, 32, 33},
    }


def test_a_pair_of_equal_charts_says_so(file):
    _, study = file(levels=(1, 32), chunks=False)
    assert not chart("ttfb_analysis_32").says_more(study) and chart(
        "ttfb_analysis_256"
    ).says_more(study)


@pytest.mark.faults
def test_words_are_marked_as_such(file):
    database, study = file(
        ["UPDATE run SET source = 'import'"], levels=(1, 4), chunks=False
    )
    marked = {
        chart.name
        for chart in catalog.CHARTS
        if (spec := chart.draw(database, study))
        and WORDS_NOTE in spec["usermeta"]["notes"]
    }
    assert marked == {
        "combined_metrics",
        "throughput_vs_avg_wait",
        "throughput_vs_p99_wait",
        "average_throughput",
        "performance_metrics",
        "token_distribution",
        "energy",
    }


def test_a_hostile_model_name_stays_text(tmp_path):
    made_up_results.write(
        tmp_path / "results.db",
        levels=(1,),
        model="</script><script>alert(1)</script>",
        chunks=False,
    )
    database = connect(tmp_path / "results.db")
    study = selection.choose(database, [], [])[0]
    spec = catalog.CHARTS[0].draw(database, study)
    database.close()
    assert spec["title"]["subtitle"][0] == study.model and json.dumps(spec)


@pytest.mark.parametrize("model", ["constructor", "toString"])
def test_a_model_named_as_what_every_object_has_is_drawn(tmp_path, model):
    """Names of JavaScript's own; a blank behind each is not seen."""
    for name in (model, "tiny"):
        made_up_results.write(
            tmp_path / "results.db",
            model=name,
            levels=(1, 2),
            chunks=False,
        )
    database = connect(tmp_path / "results.db", readonly=True)
    studies = selection.choose(database, [model, "tiny"], [])
    speed = chart("average_throughput").draw(database, studies[0])
    both = compare_models(studies)["comparative_throughput"]
    database.close()
    assert speed["title"]["subtitle"][0].strip() == model
    for spec in (speed, both):
        assert "line mark" in vl_convert.vegalite_to_svg(spec)
        text = json.dumps(spec)
        assert f'"{model}"' not in text and f'"{model} "' in text
