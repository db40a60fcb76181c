import pytest

from ollama_bench.protocols.json_values import read_label


@pytest.mark.parametrize(
    "value, label",
    [("x" * 200, "x" * 100), (7, "7"), ("", None), (None, None), ([[]], None), ({"a": 1}, None)],
)
def test_label_is_a_short_text(value, label):
    assert read_label(value) == label
