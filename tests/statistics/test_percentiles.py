import pytest

from ollama_bench.statistics.percentiles import nearest_rank


@pytest.mark.parametrize(
    "percent, value",
    [(1, 15), (5, 15), (30, 20), (40, 20), (50, 35), (95, 50), (100, 50)],
)
def test_nearest_rank(percent, value):
    assert nearest_rank([15, 20, 35, 40, 50], percent) == value


def test_no_values_have_no_percentile():
    with pytest.raises(IndexError):
        nearest_rank([], 50)
