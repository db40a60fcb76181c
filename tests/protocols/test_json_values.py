import pytest

from ollama_bench.protocols.json_values import read_label, scale


@pytest.mark.parametrize(
    "value, label",
    [
        ("x" * 200, "x" * 100),
        (7, "7"),
        ("", None),
        (None, None),
        ([[]], None),
        ({"a": 1}, None),
    ],
)
def test_label_is_a_short_text(value, label):
    assert read_label(value) == label


@pytest.mark.parametrize(
    "value", [True, "1", None, [1], 10**400, 10**14 + 1]
)
def test_value_that_cannot_be_scaled_is_unchanged(value):
    assert scale(value, 1e6) is value


def test_numbers_are_scaled():
    assert scale(2, 1e6) == 2_000_000
    assert scale(0.5, 1e6) == 500_000
