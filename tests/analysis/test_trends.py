"""How speed and wait go with the number at once."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.trends import (
    describe_best,
    describe_cache,
    describe_law,
    describe_order,
    describe_throughput,
    describe_waits,
)
from tests.support.studies import THROUGHPUT, made_of


@pytest.mark.parametrize(
    "rates, said",
    [
        (
            THROUGHPUT["7b"],
            "best with 38 at once: 124 tokens/s; 16 come within 10 % of that, "
            "and more get 82 to 100 "
            "% of it.",
        ),
        (
            THROUGHPUT["1.5b"],
            "best with 32 at once: 299 tokens/s; 16 come within 10 % of that, "
            "and more get 83 to 100 "
            "% of it.",
        ),
        (
            {1: 40.0, 4: 80.0, 8: 95.0, 16: 100.0, 32: 93.0},
            "best with 16 at once: 100 tokens/s; from 8 on it is within 10 % of that.",
        ),
        (
            {1: 40.0, 4: 100.0, 8: 50.0},
            "best with 4 at once: 100 tokens/s.",
        ),
    ],
)
def test_near_the_best_is_said_only_of_levels_that_stay_there(rates, said):
    assert describe_best(made_of(rates)) == f"Throughput is {said}"


def test_a_best_level_with_failures_is_named_with_them():
    said = describe_best(
        made_of(
            {1: 77.1, 19: 305.4, 48: 308.1}, errors={1: 0, 19: 0, 48: 9}
        )
    )
    assert (
        said
        == "Throughput is best with 48 at once: 308 tokens/s, 9 of 48 failed; "
        "from 19 on it is within 10 % of that. "
        "Of the levels without failures it is best with 19: 305 tokens/s."
    )


def test_the_throughput_is_told_up_to_where_it_turns():
    assert describe_throughput(made_of(THROUGHPUT["7b"])) == (
        "50.9 tokens/s with 1 at once and 115 tokens/s with 16, at full load; "
        "from there to 256 at once 103 to 124"
    )
    assert (
        describe_throughput(made_of({1: 40.0, 2: 80.0}))
        == "40 tokens/s with 1 at once and 80 tokens/s with 2, at full load"
    )


def test_no_level_is_the_best_where_replies_are_unlike():
    study = made_of(
        {1: 40.0, 4: 80.0, 8: 60.0},
        output_tokens_mean={1: 50.0, 4: 400.0, 8: 90.0},
    )
    assert describe_best(study) == "" == describe_throughput(study)


@pytest.mark.parametrize(
    "waits, said",
    [
        (
            {1: 1.88, 19: 0.724, 32: 84.1, 256: 1534.8},
            "is 1.88 s with 1 at once, 724 ms with 19, jumps to 1:24 with 32 and rises to 25:35 "
            "with 256.",
        ),
        (
            {1: 0.31, 19: 0.329, 32: 2.75},
            "is 310 ms with 1 at once, 329 ms with 19 and jumps to 2.75 s with 32.",
        ),
        (
            {1: 0.2, 2: 4.0, 4: 8.0},
            "is 200 ms with 1 at once, jumps to 4 s with 2 and rises to 8 s with 4.",
        ),
        (
            {1: 0.2, 2: 4.0, 4: 3.0},
            "is 200 ms with 1 at once, jumps to 4 s with 2 and falls to 3 s with 4.",
        ),
        (
            {1: 0.01, 2: 0.09, 4: 0.1},
            "is 10 ms with 1 at once and 100 ms with 4.",
        ),  # nine times more, and nobody notices
        (
            {1: 1.0, 2: 2.0, 4: 4.0},
            "is 1 s with 1 at once and 4 s with 4.",
        ),
    ],
)
def test_where_the_wait_jumps(waits, said):
    assert describe_waits(made_of(waits=waits)) == f"The mean wait {said}"


def test_the_law_is_told_with_its_ranges_or_not_at_all():
    loads = (1, 2, 4, 8, 16, 32, 64)
    noise = (1.01, 0.99, 1.0, 1.01, 0.99, 1.0, 1.01)
    rates = {
        n: factor * 50.0 * n / (1 + 0.1 * (n - 1) + 0.002 * n * (n - 1))
        for n, factor in zip(loads, noise, strict=True)
    }
    said = describe_law(made_of(rates))
    assert said.startswith("Universal Scalability Law over 7 levels: ")
    assert "tokens/s alone (measured 50.5), contention 0.1" in said
    assert (
        "crosstalk 0.00195 (0.00178 to" in said
        and "a peak near 21" in said
    )
    # flat from 16 on: slots, no crosstalk
    assert describe_law(made_of(THROUGHPUT["7b"])) == ""
    assert describe_law(made_of(dict(list(rates.items())[:5]))) == ""


def repeated(rates):
    """Levels of 1 and 4 at once, three times each, in another order."""
    study = made_of({1: 50.0, 4: 80.0})
    one, four = study.levels
    study.levels = [
        {**level, "repeat": repeat, "level_id": 10 - repeat, **rate}
        for level, own in ((one, (50.0,) * 3), (four, rates))
        for repeat, value in enumerate(own, 1)
        for rate in [{"full_load_tokens_per_s": value}]
    ]
    return study


def test_the_spread_of_repeats_is_told_with_a_mean():
    """20, 2 and 20 are not 14."""
    said = describe_throughput(repeated((20.0, 2.0, 20.0)))
    assert "and 14 tokens/s (2 to 20, 3 repeats) with 4, at" in said
    assert "50 tokens/s (3 repeats) with 1" in said


def test_the_order_of_the_levels_is_told():
    assert describe_order(made_of({4: 80.0, 1: 40.0})) == (
        "Each level was sent once, in the order 4, 1."
    )
    assert describe_order(repeated((20.0, 2.0, 20.0))) == (
        "Each level was sent 3 times, in an order drawn at random."
    )
    assert describe_order(made_of({4: 80.0})) == ""


def test_a_quick_run_draws_no_order_at_random():
    study = repeated((80.0, 80.0, 80.0))
    study.levels.pop()
    study.runs.append({"arguments": '{"budget": 60.0}'})
    assert describe_order(study) == (
        "Each level was sent 2 to 3 times, those around the knee more often."
    )


def test_the_order_of_an_interrupted_run_counts_what_was_sent():
    study = repeated((20.0, 2.0, 20.0))
    study.levels = study.levels[:-1]
    assert describe_order(study) == (
        "Each level was sent 2 to 3 times, in an order drawn at random."
    )


def test_the_warm_cache_is_told_by_all_repeats_of_the_highest_level():
    """The last repeat alone would say 3 s instead of 6; at 8 none is known of the warm ones."""
    study = made_of({1: 50.0, 4: 80.0})
    study.cache_effect = [
        {
            "concurrency": n,
            "warm_ttft_mean_s": warm_s,
            "cold_ttft_mean_s": cold_s,
        }
        for n, warm_s, cold_s in (
            (1, 9.0, 9.0),
            (4, 1.0, 2.0),
            (4, 3.0, 6.0),
        )
    ]
    assert "waits 2 s instead of 4 s, with 4 at once" in describe_cache(
        study
    )
