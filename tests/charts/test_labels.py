"""Labels and numbers: none on another, on its line or beyond the edge."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_bench.charts.axes import headroom, log_domain
from ollama_bench.charts.labels import (
    ABOVE,
    BELOW,
    LABEL_PX,
    LEFT,
    RIGHT,
    label_width,
    locate,
    place_labels,
    place_numbers,
)
from ollama_bench.charts.theme import WIDTH


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 1000),
            st.floats(1, 200),
            st.sampled_from(["4", "256", "256, 48 failed"]),
        ),
        max_size=30,
    )
)
def test_no_label_lies_on_another_or_beyond_the_edge(points):
    rows = [{"x": x, "y": y, "label": label} for x, y, label in points]
    if not rows:
        return
    domain, highest = (
        log_domain([row["x"] for row in rows]),
        headroom(rows, "y"),
    )
    place_labels(rows, domain, highest)
    spots = [locate(row, domain, highest) for row in rows]
    boxes = [
        (x + row["offset"][0], y + row["offset"][1], label_width(row))
        for row, (x, y) in zip(rows, spots, strict=True)
        if "offset" in row
    ]
    assert all(wide / 2 <= x <= WIDTH - wide / 2 for x, _, wide in boxes)
    for (a, b, one), (c, d, other) in itertools.combinations(boxes, 2):
        assert (
            abs(a - c) >= (one + other) / 2 - 1e-6
            or abs(b - d) >= LABEL_PX - 1e-6
        )


def test_a_number_stands_off_its_line():
    means = [
        {"concurrency": n, "y": y, "over": y, "text": "12.3"}
        for n, y in (
            (1, 90.0),
            (2, 40.0),
            (4, 10.0),
            (8, 10.0),
            (16, 60.0),
            (32, 5.0),
        )
    ]
    placed = {
        row["concurrency"]: place
        for place, rows in place_numbers(means, 100.0, 340).items()
        for row in rows
    }
    assert [placed[n] for n in (1, 2, 4, 8, 16, 32)] == [
        ABOVE,
        RIGHT,
        RIGHT,
        LEFT,
        ABOVE,
        RIGHT,
    ]


def test_the_first_number_is_not_on_the_axis():
    means = [
        {"concurrency": n, "y": y, "over": y, "text": "17.1"}
        for n, y in enumerate((17.1, 23.1, 25.3, 29.8, *[21.0] * 10))
    ]
    placed = {
        row["concurrency"]: place
        for place, rows in place_numbers(means, 33.0, 160).items()
        for row in rows
    }
    assert placed[0] == BELOW


def test_no_number_lies_on_its_neighbour():
    means = [
        {"concurrency": n, "y": 50.0, "over": 50.0, "text": "0.12345"}
        for n in range(1, 17)
    ]  # each wider than a level
    placed = {
        row["concurrency"]: place
        for place, rows in place_numbers(means, 100.0, 340).items()
        for row in rows
    }
    assert len(placed) == 16 and all(
        placed[n] != placed[n + 1] for n in range(1, 16)
    )
