"""charts.py: every chart is drawn, wide, titled with its units, and true to its rows."""

import contextlib
import itertools
import json
import re
import sqlite3
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import analyze
from ollama_bench.charts import charts
from ollama_bench.storage import db
from tests.support import made_up_results
from ollama_bench.analysis import selection


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Every chart of a made-up study with failures."""
    path = tmp_path_factory.mktemp("charts") / "results.db"
    made_up_results.write(path, failures=5)
    database = db.connect(path, readonly=True)
    study = selection.choose(database, [], [])[0]
    specs = {chart.name: chart.draw(database, study) for chart in charts.CHARTS}
    database.close()
    return specs


def axes(spec):
    """Every x and y of a spec, with its title."""
    if isinstance(spec, dict):
        for channel in ("x", "y"):
            if channel in spec.get("encoding", {}):
                yield spec["encoding"][channel]
        for key, part in spec.items():
            if key != "datasets":
                yield from axes(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from axes(part)


def values(spec):
    """All rows that a spec carries."""
    return list(itertools.chain.from_iterable(spec.get("datasets", {}).values())) + [
        row for row in flat(spec) if isinstance(row, dict)
    ]


def flat(spec):
    if isinstance(spec, dict):
        if isinstance(spec.get("data"), dict):
            yield from spec["data"].get("values", [])
        for part in spec.values():
            yield from flat(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from flat(part)


def test_every_chart_is_drawn_and_says_that_it_is_simulated(drawn):
    assert len(drawn) == 17 and all(drawn.values())
    assert all(spec["title"]["subtitle"][1] == charts.SIMULATED for spec in drawn.values())


def test_every_quantity_has_a_title_and_every_time_its_unit(drawn):
    for name, spec in drawn.items():
        titled = [axis["title"] for axis in axes(spec) if axis.get("title")]
        assert titled, name
        for title in titled:
            assert (
                not any(word in title for word in ("wait", "time since", "first to last"))
                or "(" in title
                or "share" in title
            ), (name, title)


def test_levels_are_evenly_spaced_everywhere(drawn):
    for name, spec in drawn.items():
        for axis in axes(spec):
            if axis.get("field") == "concurrency":
                assert axis["type"] == "ordinal", name


@pytest.mark.parametrize(
    "name", ["combined_metrics", "ttfb_analysis_256", "duration_metrics_256", "average_throughput"]
)
def test_failures_stand_where_they_happened(drawn, name):
    assert {"concurrency": 32, "failed": 5, "of": 32, "text": "5 failed"} in values(drawn[name])


def test_the_timeline_has_a_bar_for_every_request(drawn):
    bars = [row for row in values(drawn["timeline"]) if "state" in row]
    assert {row["index"] for row in bars} == set(range(1 + 2 + 4 + 8 + 32))
    assert sum(row["state"] == "failed" for row in bars) == 5
    assert {row["state"] for row in bars} == {"waiting", "reasoning", "answering", "failed"}


def test_the_share_of_gaps_is_whole_at_every_level(drawn):
    shares = {}
    for row in values(drawn["itl"]):
        if "share" in row:
            shares[row["concurrency"]] = shares.get(row["concurrency"], 0) + row["share"]
    assert shares == {n: pytest.approx(1) for n in (1, 2, 4, 8, 32)}


def test_a_png_is_1600_wide(drawn, tmp_path):
    for name in ("timeline", "itl", "performance_metrics"):
        charts.save_png(drawn[name], tmp_path / f"{name}.png", tmp_path)
        width, height = struct.unpack(">II", (tmp_path / f"{name}.png").read_bytes()[16:24])
        assert abs(width - charts.PNG_WIDTH_PX) <= 1 and height > 600


@pytest.mark.parametrize(
    "change, said",
    [
        ("request SET first_text_ns = ended_ns + 100000000000000", "table request"),
        ("request SET first_byte_ns = -1000000000000", "table request"),
        ("level SET started_ns = 9223372036854775807 WHERE id = 1", "table level"),
        ("level SET run_id = 9 WHERE id = 1", "not there"),
        (
            "power_sample SET end_ns = 20000000000000000 WHERE end_ns = (SELECT max(end_ns) FROM power_sample)",
            "table power_sample",
        ),
        ("request SET first_text_ns = ended_ns + 9", ""),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(file, tmp_path, capsys, change, said):
    database, _ = file(["PRAGMA foreign_keys = OFF", f"UPDATE {change}"])
    database.conn.commit()
    code = analyze.main(["--db", str(tmp_path / "results.db"), "--no-charts"])
    err = capsys.readouterr().err
    assert code == len(err.splitlines()) == bool(said) and said in err


def test_what_is_absent_is_not_drawn(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2), chunks=False)
    database = db.connect(tmp_path / "results.db")
    database.execute("DELETE FROM power_sample")
    database.execute("UPDATE request SET server_total_ns = NULL")
    study = selection.choose(database, [], [])[0]
    missing = [chart.name for chart in charts.CHARTS if chart.draw(database, study) is None]
    database.close()
    assert missing == ["server_split", "itl", "energy", "gpu_metrics"]


def test_the_smaller_of_a_pair_ends_at_32(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 32, 33), chunks=False)
    database = db.connect(tmp_path / "results.db", readonly=True)
    study = selection.choose(database, [], [])[0]
    seen = {
        chart.name: {
            row["concurrency"]
            for row in values(chart.draw(database, study))
            if "concurrency" in row
        }
        for chart in charts.CHARTS
        if chart.name.startswith(("ttfb", "duration"))
    }
    database.close()
    assert seen == {
        "ttfb_analysis_32": {1, 32},
        "ttfb_analysis_256": {1, 32, 33},
        "duration_metrics_32": {1, 32},
        "duration_metrics_256": {1, 32, 33},
    }


def test_models_are_compared_when_there_are_two(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2), chunks=False)
    database = db.connect(tmp_path / "results.db")
    assert charts.comparisons(selection.choose(database, [], [])) == {}
    database.close()
    made_up_results.write(tmp_path / "results.db", levels=(1, 2), chunks=False, model="other:1b")
    database = db.connect(tmp_path / "results.db")
    assert list(charts.comparisons(selection.choose(database, [], []))) == [
        "comparative_throughput",
        "comparative_wait",
        "comparative_efficiency",
    ]
    database.close()


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 1000), st.floats(1, 200), st.sampled_from(["4", "256", "256, 48 failed"])
        ),
        max_size=30,
    )
)
def test_no_label_lies_on_another_or_beyond_the_edge(points):
    rows = [{"x": x, "y": y, "label": label} for x, y, label in points]
    if not rows:
        return
    domain, highest = charts.log_domain([row["x"] for row in rows]), charts.headroom(rows, "y")
    charts.place_labels(rows, domain, highest)
    spots = [charts.spot(row, domain, highest) for row in rows]
    boxes = [
        (x + row["offset"][0], y + row["offset"][1], charts.label_px(row))
        for row, (x, y) in zip(rows, spots)
        if "offset" in row
    ]
    assert all(wide / 2 <= x <= charts.WIDTH - wide / 2 for x, _, wide in boxes)
    for (a, b, one), (c, d, other) in itertools.combinations(boxes, 2):
        assert abs(a - c) >= (one + other) / 2 - 1e-6 or abs(b - d) >= charts.LABEL_PX - 1e-6


@pytest.fixture
def file(tmp_path):
    """A results file that a test may change, and its study: call it for both."""
    opened = []

    def change(sql=(), **written):
        made_up_results.write(tmp_path / "results.db", **written)
        opened.append(db.connect(tmp_path / "results.db"))
        for statement in sql:
            opened[-1].execute(statement)
        return opened[-1], selection.choose(opened[-1], [], [])[0]

    yield change
    for database in opened:
        database.close()


def chart(name):
    return next(chart for chart in charts.CHARTS if chart.name == name)


def test_failures_without_a_time_are_counted_and_not_dated(file):
    database, study = file(
        ["UPDATE request SET ended_ns = NULL WHERE status = 'reset'"], levels=(1, 8), failures=3
    )
    spec = chart("request_evolution").draw(database, study)
    states = [row for row in values(spec) if row.get("state") == charts.TIMELESS]
    assert (
        states
        and {row["y"] for row in states} == {3}
        and "nobody noted when" in spec["title"]["subtitle"][2]
    )
    last = max(row["x"] for row in values(spec) if "state" in row)
    assert sum(row["y"] for row in values(spec) if row.get("x") == last and "state" in row) == 8
    bars = [
        row
        for row in values(chart("timeline").draw(database, study))
        if row.get("level") == "8 at once"
    ]
    pale = [bar for bar in bars if bar["state"] == charts.TIMELESS]
    assert len(pale) == 3 and not any(bar["state"] == "failed" for bar in bars)
    assert "3 failed, time unknown" in {
        row.get("text") for row in values(chart("timeline").draw(database, study))
    }
    assert {(bar["x"], bar["x2"]) for bar in pale} == {
        (min(bar["x"] for bar in bars), max(bar["x2"] for bar in bars))
    }


def test_repeats_are_one_point_of_the_path_with_one_label(file):
    database, study = file(levels=(1, 8, 1, 8), failures=2)
    rows = [
        row
        for row in values(chart("throughput_vs_avg_wait").draw(database, study))
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
    assert charts.slowest(level) == {"wait_s": wait, "kind": kind}


@pytest.mark.parametrize(
    "limits, dashed",
    [
        (None, []),
        ({"tokens_per_s": 15.0}, [15.0]),
        ({"tpot": 0.05}, [20.0]),
        ({"tokens_per_s": 1e6}, []),
        ({"ttft": 2.0}, []),
    ],
)
def test_the_dashed_line_is_the_objective(file, limits, dashed):
    database, study = file(levels=(1, 4), chunks=False)
    spec = chart("average_throughput").draw(database, study, limits)
    assert [row["y"] for row in values(spec) if set(row) == {"y"}] == dashed
    assert any("Dashed" in line for line in spec["title"]["subtitle"]) == bool(dashed)


def test_words_are_marked_as_such(file):
    database, study = file(["UPDATE run SET source = 'import'"], levels=(1, 4), chunks=False)
    marked = {
        chart.name
        for chart in charts.CHARTS
        if (spec := chart.draw(database, study)) and charts.WORDS_NOTE in spec["usermeta"]["notes"]
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


def test_a_timeline_begins_with_its_model_and_names_levels_and_power(file):
    database, study = file(levels=(1, 8), runs=2)
    database.execute(
        "INSERT INTO chosen SELECT run_id, model FROM level_summary WHERE true ON CONFLICT DO NOTHING"
    )
    study = selection.read_study(database, study.model)
    database.execute(
        "UPDATE request SET sent_ns = sent_ns + 900000000000, first_text_ns = first_text_ns + 900000000000, "
        "first_answer_ns = NULL, last_text_ns = last_text_ns + 900000000000, ended_ns = ended_ns + 900000000000"
    )
    spec = chart("timeline").draw(database, study)
    begins, ends = next(axis["scale"]["domain"] for axis in axes(spec) if axis["field"] == "x")
    assert 900 < begins < 906 < ends and "Run 2 alone, of 2 chosen." in spec["title"]["subtitle"][2]
    assert {row["text"] for row in values(spec) if "text" in row} >= {"8 at once"}


@pytest.mark.parametrize(
    "where, titles",
    [
        ("0", ["mean power (W)", "energy (J per token)", "less idle power (J per token)"]),
        ("1", ["GPU alone, mean power (W)", "GPU alone, energy (J per token)"]),
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
def test_energy_of_the_gpu_alone_is_drawn_as_such_where_no_more_is_known(tmp_path, where, titles):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2, 4))
    database = db.connect(tmp_path / "results.db")
    database.execute(f"UPDATE power_sample SET energy_j = NULL WHERE {where}")
    (chart,) = [chart for chart in charts.CHARTS if chart.name == "energy"]
    spec = chart.draw(database, selection.choose(database, [], [])[0])
    database.close()
    assert (
        list(
            dict.fromkeys(
                axis["title"] for axis in axes(spec) if axis.get("title") and "(" in axis["title"]
            )
        )
        == titles
    )
    assert ("GPU alone" in " ".join(spec["title"]["subtitle"])) == ("GPU alone" in titles[-1])


def test_watts_say_what_they_include():
    assert (
        charts.power_title([{"name": "powermetrics soc GPU"}, {"name": "nvml gpu0 GPU"}])
        == "GPU power (W)"
    )
    assert charts.power_title([{"name": "rapl package-0"}]) == "rapl package-0 (W)"
    assert (
        charts.power_title([{"name": "rapl package-0"}, {"name": "nvml gpu0 GPU"}]) == "power (W)"
    )


@given(st.floats(1e-2, 3600), st.floats(1.05, 1e5))
def test_a_logarithmic_time_axis_has_ticks_to_read_by(shortest, ratio):
    low, high = charts.log_domain([shortest, shortest * ratio])
    ticks = charts.log_ticks(low, high)
    assert all(low <= tick <= high for tick in ticks) and len(ticks) >= 2
    if high / low < charts.TWO_DECADES and high < 3600:
        assert ticks[-1] > high / 3.4


@pytest.mark.parametrize("longest", [0.3, 1.48, 7, 12.2, 12.7, 42, 99, 119])
def test_the_labels_of_a_time_axis_are_evenly_spaced(longest):
    rows = [{"x": 0, "y": 1}, {"x": longest, "y": 2}]
    spec = (
        charts.base(rows)
        .mark_point()
        .encode(
            x=charts.time_axis([longest], "time", charts.alt.X, "x"),
            y=charts.alt.Y("y:Q", axis=None),
        )
        .to_dict()
    )
    labels = re.findall(
        r"(<text[^>]*)>([\d.]+)</text>",
        charts.vl_convert.vegalite_to_svg(spec, config=charts.config()),
    )
    shown = [float(label) for look, label in labels if ' opacity="0"' not in look]
    steps = [b - a for a, b in zip(shown, shown[1:])]
    assert len(shown) >= 4 and steps == pytest.approx([steps[0]] * len(steps))


def test_a_number_stands_off_its_line():
    means = [
        {"concurrency": n, "y": y, "over": y, "text": "12.3"}
        for n, y in ((1, 90.0), (2, 40.0), (4, 10.0), (8, 10.0), (16, 60.0), (32, 5.0))
    ]
    placed = {
        row["concurrency"]: place
        for place, rows in charts.beside(means, 100.0, 340).items()
        for row in rows
    }
    assert [placed[n] for n in (1, 2, 4, 8, 16, 32)] == [
        charts.ABOVE,
        charts.RIGHT,
        charts.RIGHT,
        charts.LEFT,
        charts.ABOVE,
        charts.RIGHT,
    ]


def test_the_first_number_is_not_on_the_axis():
    means = [
        {"concurrency": n, "y": y, "over": y, "text": "17.1"}
        for n, y in enumerate((17.1, 23.1, 25.3, 29.8, *[21.0] * 10))
    ]
    placed = {
        row["concurrency"]: place
        for place, rows in charts.beside(means, 33.0, 160).items()
        for row in rows
    }
    assert placed[0] == charts.BELOW


def test_no_number_lies_on_its_neighbour():
    means = [
        {"concurrency": n, "y": 50.0, "over": 50.0, "text": "0.12345"} for n in range(1, 17)
    ]  # each wider than a level
    placed = {
        row["concurrency"]: place
        for place, rows in charts.beside(means, 100.0, 340).items()
        for row in rows
    }
    assert len(placed) == 16 and all(placed[n] != placed[n + 1] for n in range(1, 16))


def test_levels_too_short_for_a_sample_are_named(file):
    database, study = file(
        ["DELETE FROM process_sample WHERE at_ns < 6600000000"], levels=(1, 8), chunks=False
    )
    assert (
        "Not shown, too short for a sample: 1 at once."
        in chart("process_metrics").draw(database, study)["usermeta"]["notes"]
    )


@pytest.mark.parametrize(
    "charged, most, title",
    [
        ("20 << 30", 20, "memory with the GPU's (GiB, most)"),
        ("1 << 30", 3, "resident memory (GiB, most)"),
        ("NULL", 3, "resident memory (GiB, most)"),
    ],
)
def test_a_process_is_as_large_as_macos_charges_it_or_as_it_is_resident(file, charged, most, title):
    """Resident memory lacks the GPU's, the footprint lacks mapped files: the larger is nearer."""
    database, study = file(
        [f"UPDATE process_sample SET footprint_bytes = {charged}"], levels=(1, 8), chunks=False
    )
    spec = chart("process_metrics").draw(database, study)
    assert title in json.dumps(spec)
    assert round(max(row["memory_gib"] for row in values(spec) if "memory_gib" in row)) == most
    shown = [
        row["value"]
        for row in database.query(charts.TIMELINE_SQL, {"model": study.model})
        if row["kind"] == "memory"
    ]
    assert round(max(shown)) == most


def test_a_pair_of_equal_charts_says_so(file):
    _, study = file(levels=(1, 32), chunks=False)
    assert not chart("ttfb_analysis_32").says_more(study) and chart("ttfb_analysis_256").says_more(
        study
    )


def test_a_line_is_broken_where_samples_are_missing():
    points = [{"x": float(x), "y": 1.0, "name": "a"} for x in (1, 2, 3, 4, 60, 61, 62)]
    assert [point["x"] for point in charts.unbridged(points) if point["y"] is None] == [4.0]
    assert len(charts.unbridged(points)) == 8


@settings(deadline=None)
@given(
    st.one_of(
        st.integers(0, 10**13),
        st.sampled_from(charts.EDGES_NS).flatmap(lambda edge: st.integers(edge - 2, edge + 2)),
    )
)
@example(50_900_000)  # once cut to 50 ms, below the edge of 50.119 ms
def test_a_gap_lies_in_the_cell_between_whose_edges_it_is(gap_ns):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        (cell,) = connection.execute(
            f"SELECT {charts.cell_of_ns(0, len(charts.EDGES_NS) - 2)} FROM (SELECT ? AS ns)",
            [gap_ns],
        ).fetchone()
    low, high = charts.EDGES_NS[cell], charts.EDGES_NS[cell + 1]
    assert low <= min(max(gap_ns, charts.EDGES_NS[0]), charts.EDGES_NS[-1] - 1) < high


def test_cells_are_tenths_of_a_decade():
    assert len(charts.EDGES_NS) == 81 and charts.EDGES_NS[10::10] == [
        10**power for power in range(6, 14)
    ]


def test_a_hostile_model_name_stays_text(tmp_path):
    made_up_results.write(
        tmp_path / "results.db",
        levels=(1,),
        model="</script><script>alert(1)</script>",
        chunks=False,
    )
    database = db.connect(tmp_path / "results.db")
    study = selection.choose(database, [], [])[0]
    spec = charts.CHARTS[0].draw(database, study)
    database.close()
    assert spec["title"]["subtitle"][0] == study.model and json.dumps(spec)


def test_gaps_are_drawn_without_their_percentiles(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path)
    writable = db.connect(path)
    writable.execute("UPDATE level SET itl_p50_s = NULL, itl_p95_s = NULL, itl_p99_s = NULL")
    writable.conn.close()
    database = db.connect(path, readonly=True)
    study = selection.choose(database, [], [])[0]
    chart = next(chart for chart in charts.CHARTS if chart.name == "itl")
    charts.save_png(chart.draw(database, study), tmp_path / "itl.png", tmp_path)
    assert (tmp_path / "itl.png").read_bytes().startswith(b"\x89PNG")
    database.conn.close()


def test_levels_without_a_speed_are_drawn_without_one(file, tmp_path):
    database, _ = file(["UPDATE level SET ended_ns = NULL"])
    database.conn.commit()
    assert (
        analyze.main(["--db", str(tmp_path / "results.db"), "--out", str(tmp_path / "data")]) == 0
    )
