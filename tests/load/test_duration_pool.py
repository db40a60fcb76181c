import pytest

from ollama_bench.load.duration_pool import DurationPool


def test_durations_are_in_seconds():
    pool = DurationPool([1_000_000_000, 2_000_000_000, 6_000_000_000])
    assert (pool.mean_s(), pool.max_s(), pool.percentile_s(50)) == (
        3.0,
        6.0,
        2.0,
    )


def test_nothing_is_unknown():
    pool = DurationPool()
    assert {
        pool.mean_s(),
        pool.max_s(),
        pool.percentile_s(50),
        pool.p99_or_max_s(),
    } == {None}


@pytest.mark.parametrize(
    "count, seconds", [(99, 99.0), (100, 99.0), (1000, 990.0)]
)
def test_p99_is_the_maximum_below_100_values(count, seconds):
    pool = DurationPool(
        second * 1_000_000_000 for second in range(1, count + 1)
    )
    assert pool.p99_or_max_s() == seconds
