"""Gaps between chunks."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ollama_bench.analysis import selection
from ollama_bench.charts import catalog
from ollama_bench.charts.png import make_png
from ollama_bench.charts.stream_charts import (
    EDGES_NS,
    GAPS,
    MOST_GAPS,
    cell_of_ns,
)
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.chart_specs import values


def test_the_share_of_gaps_is_whole_at_every_level(drawn):
    shares = {}
    for row in values(drawn["itl"]):
        if "share" in row:
            shares[row["concurrency"]] = (
                shares.get(row["concurrency"], 0) + row["share"]
            )
    assert shares == {n: pytest.approx(1) for n in (1, 2, 4, 8, 32)}


@settings(deadline=None)
@given(
    st.one_of(
        st.integers(0, 10**13),
        st.sampled_from(EDGES_NS).flatmap(
            lambda edge: st.integers(edge - 2, edge + 2)
        ),
    )
)
@example(50_900_000)  # once cut to 50 ms, below the edge of 50.119 ms
def test_a_gap_lies_in_the_cell_between_whose_edges_it_is(gap_ns):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        (cell,) = connection.execute(
            f"SELECT {cell_of_ns(0, len(EDGES_NS) - 2)} FROM (SELECT ? AS ns)",
            [gap_ns],
        ).fetchone()
    low, high = EDGES_NS[cell], EDGES_NS[cell + 1]
    assert low <= min(max(gap_ns, EDGES_NS[0]), EDGES_NS[-1] - 1) < high


def test_cells_are_tenths_of_a_decade():
    assert len(EDGES_NS) == 81 and EDGES_NS[10::10] == [
        10**power for power in range(6, 14)
    ]


def test_gaps_are_drawn_without_their_percentiles(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path)
    writable = connect(path)
    writable.execute(
        "UPDATE level SET itl_p50_s = NULL, itl_p95_s = NULL, itl_p99_s = NULL"
    )
    writable.conn.close()
    database = connect(path, readonly=True)
    study = selection.choose(database, [], [])[0]
    chart = next(chart for chart in catalog.CHARTS if chart.name == "itl")
    assert make_png(chart.draw(database, study)).startswith(b"\x89PNG")
    database.conn.close()


def draw_at_most(database, gaps):
    """Draw the gaps where so many are enough; return the chart and how many count by level."""
    sql = GAPS.sql.replace(str(MOST_GAPS), str(gaps))
    chart = dataclasses.replace(GAPS, sql=sql)
    study = selection.choose(database, [], [])[0]
    counted = collections.Counter()
    for row in database.query(sql, {**study.key, "top": GAPS.top}):
        counted[row["concurrency"]] += row["gaps"]
    return chart.draw(database, study), counted


def test_of_too_many_gaps_a_part_counts_and_it_is_said(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path, levels=(1, 8, 32), slots=32, rate=600)
    with contextlib.closing(connect(path, readonly=True)) as database:
        whole, every = draw_at_most(database, MOST_GAPS)
        thin, counted = draw_at_most(database, 500)
    assert every == {n: n * 59 for n in (1, 8, 32)}
    # 2,460 chunks: of five gaps one
    assert all(
        counted[n] == pytest.approx(every[n] / 5, rel=0.2, abs=2)
        for n in every
    )
    assert "(1 in 5 counted)" in str(thin)
    assert "counted)" not in str(whole)
