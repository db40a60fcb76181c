"""The number of requests in flight, its most, its means and its steady part."""

import pytest

from ollama_bench.statistics.in_flight import PARTS, InFlight

S = 1_000_000_000


def make(*spans):
    found = InFlight()
    for sent_s, ended_s in spans:
        found.add(int(sent_s * S), int(ended_s * S))
    return found


def test_the_means_of_parts_are_what_each_request_spends_in_them():
    found = make((0, 1), (0.5, 2.5), (3, 9), (-1, 0.25), (7, 8))
    assert found.split((0, 4 * S), 4) == pytest.approx(
        [1 + 0.5 + 0.25, 1.0, 0.5, 1.0]
    )
    assert found.mean((0, 4 * S)) == pytest.approx(4.25 / 4)
    assert make().split((0, S), 2) == [0, 0]


def test_the_peak_counts_who_overlaps():
    assert make().find_peak() is None
    assert make((0, 1), (1, 2), (2, 3)).find_peak() == 1
    assert make((0, 5), (1, 2), (1.5, 3)).find_peak() == 3


def test_the_steady_part_begins_after_the_filling():
    """One more each second for ten seconds, then ten for ever."""
    found = make(*[(second, 100) for second in range(10)])
    start_ns, end_ns = found.find_steady((0, 100 * S))
    assert end_ns == 100 * S
    # to the part of the time that MSER-5 can tell
    assert start_ns / S == pytest.approx(9, abs=5 * 100 / PARTS)
    assert make().find_steady((0, S)) is None
    assert found.find_steady((S, S)) is None
