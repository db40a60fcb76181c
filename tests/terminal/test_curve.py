"""The curve of throughput and wait in plain text."""

from __future__ import annotations

import io
import sys

import pytest

from ollama_bench.terminal.curve import Point, draw

POINTS = [
    Point(1, 42.2, 0.312),
    Point(19, 152.6, 0.323),
    Point(4096, 151.8, 2.95),
]


def set_output(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)


def bars(line):
    """How many whole blocks each half of a line has."""
    return [half.count("█") for half in (line[:44], line[44:])]


def test_each_level_has_bars_as_long_as_its_figures(monkeypatch):
    set_output(monkeypatch, "utf-8")
    _, title, heading, *lines = draw(POINTS, 80)
    assert title == "Throughput and wait by level"
    assert heading.split() == (
        ["AT", "ONCE", "TOKENS/S", "of", "all", "WAIT,", "first", "token"]
    )
    assert [line.split()[0] for line in lines] == ["1", "19", "4096"]
    alone, best, most = map(bars, lines)
    assert best[0] == most[1] == 26
    assert alone[0] == 7  # 26 * 42.2 / 152.6 = 7.2
    assert alone[1] == 2  # 26 * 0.312 / 2.95 = 2.7
    assert "152.6" in lines[1] and lines[2].endswith(" 2.95 s")


@pytest.mark.parametrize("width", [80, 60, 40, 30])
def test_no_line_is_wider_than_the_window(monkeypatch, width):
    set_output(monkeypatch, "utf-8")
    lines = draw(POINTS, width, ", simulated")
    assert len(lines) == 6 and max(map(len, lines)) <= width


def test_where_there_is_no_room_there_is_no_curve():
    assert draw(POINTS, 20) == []


def test_an_output_without_blocks_has_them_in_ascii(monkeypatch):
    set_output(monkeypatch, "ascii")
    lines = draw(POINTS, 80)
    assert "\n".join(lines).isascii()
    assert lines[4].count("#") > lines[3].count("#") > 2


def test_two_levels_are_no_curve():
    assert draw(POINTS[:2], 80) == []


def test_what_is_not_known_has_no_bar(monkeypatch):
    set_output(monkeypatch, "utf-8")
    unknown = Point(32, None, None)
    assert draw([*POINTS, unknown], 80)[-1].split() == ["32", "-", "-"]


def test_nothing_above_zero_is_not_divided_by(monkeypatch):
    set_output(monkeypatch, "utf-8")
    lines = draw([Point(n, 0.0, None) for n in (1, 2, 4)], 80)
    assert lines[-1].split() == ["4", "0.0", "-"]


def test_simulated_levels_are_marked(monkeypatch):
    set_output(monkeypatch, "utf-8")
    assert draw(POINTS, 80, ", simulated")[1].endswith(", simulated")
