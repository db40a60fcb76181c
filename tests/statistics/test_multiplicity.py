"""Holm's levels, worked out by hand."""

from __future__ import annotations

import pytest

from ollama_bench.statistics.multiplicity import holm


def test_the_levels_are_holms():
    """0.01 < 0.05/3 and 0.02 < 0.05/2, but 0.06 is not below 0.05."""
    assert holm([0.02, 0.06, 0.01], 0.05) == pytest.approx(
        [0.025, 0.05, 0.05 / 3]
    )


def test_after_the_first_that_fails_none_is_easier():
    assert holm([0.01, 0.04, 0.03], 0.05) == pytest.approx(
        [0.05 / 3, 0.025, 0.025]
    )
