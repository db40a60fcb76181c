"""Values that samplers report."""

import math

import pytest

from ollama_bench.power.values import as_number


@pytest.mark.parametrize(
    "value, expected",
    [
        (3, 3),
        (0, 0),
        (-1, None),
        (math.nan, None),
        (math.inf, None),
        ("3", None),
        (None, None),
        (True, None),
    ],
)
def test_number(value, expected):
    assert as_number(value) == expected
