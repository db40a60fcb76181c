"""The timeline and the largest level over time."""

from __future__ import annotations

import pytest

from ollama_bench.analysis import selection
from ollama_bench.charts.request_bars import TIMELESS
from ollama_bench.charts.timeline_charts import break_at_gaps, power_title
from tests.support.chart_specs import axes, chart, values


def test_the_timeline_has_a_bar_for_every_request(drawn):
    bars = [row for row in values(drawn["timeline"]) if "state" in row]
    assert {row["index"] for row in bars} == set(range(1 + 2 + 4 + 8 + 32))
    assert sum(row["state"] == "failed" for row in bars) == 5
    assert {row["state"] for row in bars} == {
        "waiting",
        "reasoning",
        "answering",
        "failed",
    }


def test_failures_without_a_time_are_counted_and_not_dated(file):
    database, study = file(
        ["UPDATE request SET ended_ns = NULL WHERE status = 'reset'"],
        levels=(1, 8),
        failures=3,
    )
    spec = chart("request_evolution").draw(database, study)
    states = [row for row in values(spec) if row.get("state") == TIMELESS]
    assert (
        states
        and {row["y"] for row in states} == {3}
        and "failed at an unknown time" in spec["title"]["subtitle"][2]
    )
    last = max(row["x"] for row in values(spec) if "state" in row)
    assert (
        sum(
            row["y"]
            for row in values(spec)
            if row.get("x") == last and "state" in row
        )
        == 8
    )
    bars = [
        row
        for row in values(chart("timeline").draw(database, study))
        if row.get("level") == "8 at once"
    ]
    pale = [bar for bar in bars if bar["state"] == TIMELESS]
    assert len(pale) == 3 and not any(
        bar["state"] == "failed" for bar in bars
    )
    assert "3 failed, time unknown" in {
        row.get("text")
        for row in values(chart("timeline").draw(database, study))
    }
    assert {(bar["x"], bar["x2"]) for bar in pale} == {
        (min(bar["x"] for bar in bars), max(bar["x2"] for bar in bars))
    }


def test_a_timeline_begins_with_its_model_and_names_levels_and_power(file):
    database, _ = file(levels=(1, 8), runs=2)
    study = selection.choose(database, [], [1, 2])[0]
    database.execute(
        "UPDATE request SET sent_ns = sent_ns + 900000000000, first_text_ns = first_text_ns + "
        "900000000000, "
        "first_answer_ns = NULL, last_text_ns = last_text_ns + 900000000000, ended_ns = "
        "ended_ns + 900000000000"
    )
    spec = chart("timeline").draw(database, study)
    begins, ends = next(
        axis["scale"]["domain"]
        for axis in axes(spec)
        if axis["field"] == "x"
    )
    assert (
        900 < begins < 906 < ends
        and "Run 2 alone, of 2 chosen." in spec["title"]["subtitle"][2]
    )
    assert {row["text"] for row in values(spec) if "text" in row} >= {
        "8 at once"
    }


def test_a_single_sample_has_no_empty_panel(file):
    database, study = file([], levels=(1, 8))
    spec = chart("timeline").draw(database, study)
    assert len(spec["vconcat"]) == 3
    database.execute(
        "DELETE FROM process_sample WHERE at_ns > (SELECT min(at_ns) "
        "FROM process_sample JOIN request WHERE at_ns > sent_ns)"
    )
    database.execute(
        "DELETE FROM process_sample WHERE at_ns < (SELECT min(sent_ns) FROM request)"
    )
    spec = chart("timeline").draw(database, study)
    assert len(spec["vconcat"]) == 2


def test_watts_say_what_they_include():
    assert (
        power_title(
            [{"name": "powermetrics soc GPU"}, {"name": "nvml gpu0 GPU"}]
        )
        == "GPU power (W)"
    )
    assert (
        power_title([{"name": "rapl package-0"}]) == "rapl package-0 (W)"
    )
    assert (
        power_title(
            [{"name": "rapl package-0"}, {"name": "nvml gpu0 GPU"}]
        )
        == "power (W)"
    )


def test_a_line_is_broken_where_samples_are_missing():
    points = [
        {"x": float(x), "y": 1.0, "name": "a"}
        for x in (1, 2, 3, 4, 60, 61, 62)
    ]
    assert [
        point["x"] for point in break_at_gaps(points) if point["y"] is None
    ] == [4.0]
    assert len(break_at_gaps(points)) == 8


def test_a_stream_whose_split_is_unknown_is_one_colour(file):
    unsplit = "UPDATE request SET first_answer_ns = NULL"
    database, study = file(
        [f"{unsplit}, reasoning_chunks = NULL"], levels=(1, 8)
    )
    bars = values(chart("timeline").draw(database, study))
    states = {row["state"] for row in bars if "state" in row}
    assert states == {"waiting", "streaming"}


def test_a_reply_that_never_came_to_its_answer_is_reasoning(file):
    database, study = file(
        [
            "UPDATE request SET first_answer_ns = NULL, reasoning_chunks = chunks"
        ],
        levels=(1, 8),
    )
    bars = values(chart("timeline").draw(database, study))
    states = {row["state"] for row in bars if "state" in row}
    assert states == {"waiting", "reasoning"}


@pytest.mark.parametrize(
    "system, footprint, title",
    [
        ("macOS 15.5 arm64", "NULL", "memory without the GPU's (GiB)"),
        ("macOS 15.5 arm64", "9", "memory with the GPU's (GiB)"),
        ("Linux 6.8 x86_64", "NULL", "resident memory (GiB)"),
    ],
)
def test_the_servers_memory_says_what_it_is(
    file, system, footprint, title
):
    database, study = file(
        [
            f"UPDATE machine SET os = '{system}'",
            f"UPDATE process_sample SET footprint_bytes = {footprint}",
            "UPDATE power_source SET name = CASE WHEN (SELECT os FROM machine) "
            "LIKE 'Linux%' THEN 'rapl' ELSE name END",
        ],
        levels=(1, 2),
    )
    spec = chart("timeline").draw(database, study)
    titles = [axis["title"] for axis in axes(spec) if axis.get("title")]
    assert ["server:", title] in titles
    subtitle = " ".join(spec["title"]["subtitle"])
    assert "itself reports 5.0 GiB for the loaded model." in subtitle
