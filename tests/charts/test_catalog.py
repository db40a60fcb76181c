"""Every chart is drawn, titled with its units, and absent where its data is."""

from __future__ import annotations

import altair as alt
import pytest
from jsonschema.exceptions import ValidationError

from ollama_bench.analysis import selection
from ollama_bench.charts import catalog, chart, names
from ollama_bench.charts.chart import SIMULATED
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.chart_specs import axes


def test_every_chart_is_drawn_and_says_that_it_is_simulated(drawn):
    assert len(drawn) == 17 and all(drawn.values())
    assert all(
        spec["title"]["subtitle"][1] == SIMULATED
        for spec in drawn.values()
    )


def test_the_names_are_those_of_the_charts():
    assert tuple(chart.name for chart in catalog.CHARTS) == names.OF_MODEL


def test_every_spec_is_held_against_the_schema():
    """By the fixture validated, for Chart.draw itself does not."""
    wrong = alt.Chart(alt.InlineData(values=[{}]))
    with chart.debug_mode(False):
        wrong = wrong.mark_line(orient="diagonal")
    with pytest.raises(ValidationError, match="diagonal"):
        chart.finish(wrong, "", "", False)


def test_every_quantity_has_a_title_and_every_time_its_unit(drawn):
    for name, spec in drawn.items():
        titled = [
            axis["title"] for axis in axes(spec) if axis.get("title")
        ]
        assert titled, name
        for title in titled:
            assert (
                not any(
                    word in title
                    for word in ("wait", "time since", "first to last")
                )
                or "(" in title
                or "share" in title
            ), (name, title)


def test_levels_are_evenly_spaced_everywhere(drawn):
    for name, spec in drawn.items():
        for axis in axes(spec):
            if axis.get("field") == "concurrency":
                assert axis["type"] == "ordinal", name


@pytest.mark.faults
def test_what_is_absent_is_not_drawn(tmp_path):
    made_up_results.write(
        tmp_path / "results.db", levels=(1, 2), chunks=False
    )
    database = connect(tmp_path / "results.db")
    database.execute("DELETE FROM power_sample")
    database.execute("UPDATE request SET server_total_ns = NULL")
    study = selection.choose(database, [], [])[0]
    missing = [
        chart.name
        for chart in catalog.CHARTS
        if chart.draw(database, study) is None
    ]
    database.close()
    assert missing == ["server_split", "itl", "energy", "gpu_metrics"]
