"""charts.py: every chart is drawn, wide, titled with its units, and true to its rows."""
import contextlib
import itertools
import json
import sqlite3
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import charts
import db
import made_up_results
import selection


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
        row for row in flat(spec) if isinstance(row, dict)]


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
    assert all("simulated" in spec["title"]["subtitle"][1] for spec in drawn.values())


def test_every_quantity_has_a_title_and_every_time_its_unit(drawn):
    for name, spec in drawn.items():
        titled = [axis["title"] for axis in axes(spec) if axis.get("title")]
        assert titled, name
        for title in titled:
            assert not any(word in title for word in ("wait", "time since", "first to last")) or "(" in title or "share" in title, (name, title)


def test_levels_are_evenly_spaced_everywhere(drawn):
    for name, spec in drawn.items():
        for axis in axes(spec):
            if axis.get("field") == "concurrency":
                assert axis["type"] == "ordinal", name


@pytest.mark.parametrize("name", ["combined_metrics", "ttfb_analysis_256", "duration_metrics_256", "average_throughput"])
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
        charts.save_png(drawn[name], tmp_path / f"{name}.png")
        width, height = struct.unpack(">II", (tmp_path / f"{name}.png").read_bytes()[16:24])
        assert abs(width - charts.PNG_WIDTH_PX) <= 1 and height > 600


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
    seen = {chart.name: {row["concurrency"] for row in values(chart.draw(database, study)) if "concurrency" in row}
            for chart in charts.CHARTS if chart.name.startswith(("ttfb", "duration"))}
    database.close()
    assert seen == {"ttfb_analysis_32": {1, 32}, "ttfb_analysis_256": {1, 32, 33}, "duration_metrics_32": {1, 32}, "duration_metrics_256": {1, 32, 33}}


def test_models_are_compared_when_there_are_two(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1, 2), chunks=False)
    database = db.connect(tmp_path / "results.db")
    assert charts.comparisons(selection.choose(database, [], [])) == {}
    database.close()
    made_up_results.write(tmp_path / "results.db", levels=(1, 2), chunks=False, model="other:1b")
    database = db.connect(tmp_path / "results.db")
    assert list(charts.comparisons(selection.choose(database, [], []))) == ["comparative_throughput", "comparative_wait", "comparative_efficiency"]
    database.close()


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.floats(0.1, 1000), st.floats(1, 200)), max_size=30))
def test_no_label_lies_on_another(points):
    rows = [{"x": x, "y": y} for x, y in points]
    if not rows:
        return
    domain, highest = charts.log_domain([row["x"] for row in rows]), charts.headroom(rows, "y")
    charts.place_labels(rows, domain, highest)
    spots = [charts.spot(row, domain, highest) for row in rows]
    boxes = [(x + row["offset"][0], y + row["offset"][1]) for row, (x, y) in zip(rows, spots) if "offset" in row]
    wide, high = charts.LABEL_PX
    for (a, b), (c, d) in itertools.combinations(boxes, 2):
        assert abs(a - c) >= wide - 1e-6 or abs(b - d) >= high - 1e-6


def test_a_line_is_broken_where_samples_are_missing():
    points = [{"x": float(x), "y": 1.0, "name": "a"} for x in (1, 2, 3, 4, 60, 61, 62)]
    assert [point["x"] for point in charts.unbridged(points) if point["y"] is None] == [4.0]
    assert len(charts.unbridged(points)) == 8


@settings(deadline=None)
@given(st.one_of(st.integers(0, 10**13), st.sampled_from(charts.EDGES_NS).flatmap(lambda edge: st.integers(edge - 2, edge + 2))))
@example(50_900_000)  # once cut to 50 ms, below the edge of 50.119 ms
def test_a_gap_lies_in_the_cell_between_whose_edges_it_is(gap_ns):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        cell, = connection.execute(f"SELECT {charts.cell_of_ns(0, len(charts.EDGES_NS) - 2)} FROM (SELECT ? AS ns)", [gap_ns]).fetchone()
    low, high = charts.EDGES_NS[cell], charts.EDGES_NS[cell + 1]
    assert low <= min(max(gap_ns, charts.EDGES_NS[0]), charts.EDGES_NS[-1] - 1) < high


def test_cells_are_tenths_of_a_decade():
    assert len(charts.EDGES_NS) == 81 and charts.EDGES_NS[10::10] == [10**power for power in range(6, 14)]


def test_a_hostile_model_name_stays_text(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1,), model="</script><script>alert(1)</script>", chunks=False)
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
    charts.save_png(chart.draw(database, study), tmp_path / "itl.png")
    assert (tmp_path / "itl.png").read_bytes().startswith(b"\x89PNG")
    database.conn.close()
