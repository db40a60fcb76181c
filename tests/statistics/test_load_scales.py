"""The loads that a search chooses from."""

from __future__ import annotations

import pytest

from ollama_bench.statistics.load_scales import (
    STEP,
    CountScale,
    RateScale,
    round_rate,
)


def test_counts_are_whole_and_have_ends():
    scale = CountScale(50)
    assert (scale.first, scale.double(4.0), scale.double(32.0)) == (
        4,
        8,
        50,
    )
    assert scale.double(50.0) == 50
    assert (scale.split(4.0, 7.0), scale.split(4.0, 5.0)) == (5, None)
    assert (scale.halve(4.0), scale.halve(1.0)) == (2, None)
    assert CountScale(2).first == 2
    assert scale.round_down(5.7) == 5


@pytest.mark.parametrize("low, high", [(100.0, 105.0), (10.0, 11.0)])
def test_larger_counts_may_have_steps(low, high):
    assert CountScale(256, STEP).split(low, high) is None
    assert CountScale(256, STEP).split(low, high + 2) is not None


def test_rates_have_steps_of_a_twentieth():
    scale = RateScale(5.9168)
    assert scale.first == 5.92
    assert scale.split(2.96, 5.92) == 4.19
    assert scale.split(4.0, 4.2) is None
    assert (scale.halve(5.92), scale.double(0.912)) == (2.96, 1.82)
    assert scale.halve(5.92 / 256) is None
    assert round_rate(0.18512) == 0.185
