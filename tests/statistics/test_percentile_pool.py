import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_bench.statistics import percentile_pool
from ollama_bench.statistics.percentile_pool import PercentilePool

VALUES = st.lists(st.integers(0, 2**62), min_size=1, max_size=60)


def percentile_by_definition(values, percent):
    """The smallest value with at least so many percent of all values at or below it."""
    for value in sorted(values):
        if 100 * sum(other <= value for other in values) >= percent * len(
            values
        ):
            return value
    raise AssertionError("no values")


@given(VALUES, st.integers(1, 100), st.booleans())
def test_percentile_is_exact_or_within_its_bin(values, percent, is_binned):
    pool = PercentilePool()
    with pytest.MonkeyPatch.context() as patch:
        if is_binned:
            patch.setattr(percentile_pool, "MAX_EXACT_VALUES", 0)
        for value in values:
            pool.extend([value])
    expected = percentile_by_definition(values, percent)
    tolerance = expected / 4096 if is_binned else 0
    assert abs(pool.percentile(percent) - expected) <= tolerance
    assert (pool.count, pool.total, pool.largest) == (
        len(values),
        sum(values),
        max(values),
    )


def test_memory_does_not_grow_with_the_values():
    pool = PercentilePool()
    for start in range(0, 1_000_000, 100_000):
        pool.extend(range(start, start + 100_000))
    assert pool.count == 1_000_000
    assert len(pool._bins) < 30_000 and not pool._values
    assert pool.percentile(99) == pytest.approx(990_000, rel=1 / 4096)


def test_empty_pool_has_no_percentile():
    with pytest.raises(IndexError):
        PercentilePool().percentile(50)
