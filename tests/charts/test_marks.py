"""Plots of rows."""

from __future__ import annotations

import altair as alt

from ollama_bench.charts.marks import make_plot, stack_panels


def test_a_plot_shares_its_rows_with_every_copy():
    rows, others = [{"x": 1}], [{"x": 2}]
    plot = make_plot(rows).mark_line().encode(x=alt.X("x:Q"))
    layers = alt.layer(plot, make_plot(others).mark_point())
    stack = stack_panels([layers, plot]).properties(title="two")
    assert stack.vconcat[0].layer[0].data.values is rows
    assert stack.vconcat[0].layer[1].data.values is others
    assert stack.vconcat[1].data.values is rows


def test_a_copy_can_be_changed_without_its_original():
    plot = make_plot([{"x": 1}]).mark_line().encode(x=alt.X("x:Q"))
    wide = plot.copy().properties(width=1).encode(y=alt.Y("y:Q"))
    assert plot.width != 1 and "y" not in plot.to_dict()["encoding"]
    assert set(wide.to_dict()["encoding"]) == {"x", "y"}
