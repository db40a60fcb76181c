"""Ticks and labels of time axes."""

from __future__ import annotations

import re

import altair as alt
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from ollama_bench.charts import theme
from ollama_bench.charts.axes import (
    TWO_DECADES,
    log_domain,
    log_ticks,
    time_axis,
)
from ollama_bench.charts.marks import make_plot


@given(st.floats(1e-2, 3600), st.floats(1.05, 1e5))
def test_a_logarithmic_time_axis_has_ticks_to_read_by(shortest, ratio):
    low, high = log_domain([shortest, shortest * ratio])
    ticks = log_ticks(low, high)
    assert all(low <= tick <= high for tick in ticks) and len(ticks) >= 2
    if high / low < TWO_DECADES and high < 3600:
        assert ticks[-1] > high / 3.4


@pytest.mark.parametrize(
    "longest", [0.3, 1.48, 7, 12.2, 12.7, 42, 99, 119]
)
def test_the_labels_of_a_time_axis_are_evenly_spaced(longest):
    rows = [{"x": 0, "y": 1}, {"x": longest, "y": 2}]
    spec = (
        make_plot(rows)
        .mark_point()
        .encode(
            x=time_axis([longest], "time", alt.X, "x"),
            y=alt.Y("y:Q", axis=None),
        )
        .to_dict()
    )
    labels = re.findall(
        r"(<text[^>]*)>([\d.]+)</text>",
        vl_convert.vegalite_to_svg(spec, config=theme.config()),
    )
    shown = [
        float(label)
        for look, label in labels
        if ' opacity="0"' not in look
    ]
    steps = [b - a for a, b in zip(shown, shown[1:], strict=False)]
    assert len(shown) >= 4 and steps == pytest.approx(
        [steps[0]] * len(steps)
    )
