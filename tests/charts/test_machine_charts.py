"""Energy, GPU and processes."""

from __future__ import annotations

import json

import pytest

from ollama_bench.analysis import selection
from ollama_bench.charts import catalog
from ollama_bench.charts.timeline_charts import TIMELINE_SQL
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.chart_specs import axes, chart, values


@pytest.mark.parametrize(
    "where, titles",
    [
        (
            "0",
            [
                "mean power (W)",
                "energy (J per token)",
                "less idle power (J per token)",
            ],
        ),
        (
            "1",
            [
                "GPU alone, mean power (W)",
                "GPU alone, energy (J per token)",
            ],
        ),
        (
            "end_ns < (SELECT max(started_ns) FROM level)",
            [
                "mean power (W)",
                "energy (J per token)",
                "GPU alone, mean power (W)",
                "GPU alone, energy (J per token)",
            ],
        ),
    ],
)
def test_energy_of_the_gpu_alone_is_drawn_as_such_where_no_more_is_known(
    tmp_path, where, titles
):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2, 4))
    database = connect(tmp_path / "results.db")
    database.execute(
        f"UPDATE power_sample SET energy_j = NULL WHERE {where}"
    )
    (chart,) = [
        chart for chart in catalog.CHARTS if chart.name == "energy"
    ]
    spec = chart.draw(database, selection.choose(database, [], [])[0])
    database.close()
    assert (
        list(
            dict.fromkeys(
                axis["title"]
                for axis in axes(spec)
                if axis.get("title") and "(" in axis["title"]
            )
        )
        == titles
    )
    assert ("GPU alone" in " ".join(spec["title"]["subtitle"])) == (
        "GPU alone" in titles[-1]
    )


def test_levels_too_short_for_a_sample_are_named(file):
    database, study = file(
        ["DELETE FROM process_sample WHERE at_ns < 6600000000"],
        levels=(1, 8),
        chunks=False,
    )
    (note,) = chart("process_metrics").draw(database, study)["usermeta"][
        "notes"
    ]
    assert note.startswith("Not shown, too short for a sample: 1 at once.")
    assert note.endswith("reports 5.0 GiB for the loaded model.")


@pytest.mark.parametrize(
    "charged, most, title",
    [
        ("20 << 30", 20, "memory with the GPU's (GiB, most)"),
        ("1 << 30", 3, "memory without the GPU's (GiB, most)"),
        ("NULL", 3, "memory without the GPU's (GiB, most)"),
    ],
)
def test_a_process_is_as_large_as_macos_charges_it_or_as_it_is_resident(
    file, charged, most, title
):
    """Resident memory lacks the GPU's, the footprint lacks mapped files: the larger is nearer."""
    database, study = file(
        [f"UPDATE process_sample SET footprint_bytes = {charged}"],
        levels=(1, 8),
        chunks=False,
    )
    spec = chart("process_metrics").draw(database, study)
    assert title in json.dumps(spec)
    assert (
        round(
            max(
                row["memory_gib"]
                for row in values(spec)
                if "memory_gib" in row
            )
        )
        == most
    )
    shown = [
        row["value"]
        for row in database.query(TIMELINE_SQL, study.key)
        if row["kind"] == "memory"
    ]
    assert round(max(shown)) == most


def test_no_panel_of_idle_samples_where_there_are_none(drawn):
    assert "samples with an idle GPU (%)" not in str(drawn["gpu_metrics"])


def test_idle_samples_inside_a_level_are_drawn(file):
    database, study = file(
        [
            "UPDATE power_sample SET gpu_busy_ratio = 0.01 WHERE end_ns IN "
            "(SELECT min(end_ns) FROM power_sample JOIN level ON concurrency = 4 "
            "WHERE start_ns > started_ns)"
        ],
        levels=(1, 4),
    )
    spec = chart("gpu_metrics").draw(database, study)
    idle = {
        row["concurrency"]: row["idle"]
        for row in values(spec)
        if "idle" in row
    }
    assert idle[1] == 0 and 0 < idle[4] < 50
    assert "samples with an idle GPU (%)" in str(spec)
