"""A share against a bound, looked at after every request."""

from __future__ import annotations

import random

import pytest

from ollama_bench.statistics.sequential import ShareTest

EACH = 5  # requests from look to look


def count_until(good: bool) -> tuple[int, str | None]:
    test = ShareTest()
    while test.verdict is None:
        test.add(good)
    return test.count, test.verdict


def follow(share: float, seed: int, most: int = 600) -> str | None:
    """Return the verdict on independent requests, looked at after every few of them."""
    draw, test = random.Random(seed), ShareTest()
    while test.verdict is None and test.count < most:
        for _ in range(EACH):
            test.add(draw.random() < share)
    return test.verdict


def test_good_requests_in_a_row_are_enough():
    count, verdict = count_until(True)
    assert verdict == "above"
    # Wald: 20 times as probable takes at least log(20) / -log(0.95)
    assert 59 <= count <= 100


def test_a_few_that_all_miss_are_enough():
    assert count_until(False) == (10, "below")


@pytest.mark.parametrize(
    "share, wrong", [(0.9, "above"), (0.95, "below"), (0.98, "below")]
)
def test_a_verdict_is_rarely_wrong_though_it_is_looked_at_again_and_again(
    share, wrong
):
    verdicts = [follow(share, seed) for seed in range(100)]
    assert verdicts.count(wrong) <= 5


def test_a_share_far_from_the_bound_is_found():
    assert [follow(0.8, seed) for seed in range(20)] == ["below"] * 20
    assert [follow(0.995, seed) for seed in range(20)] == ["above"] * 20


def test_a_share_at_the_bound_stays_unknown():
    test = ShareTest()
    for number in range(400):
        test.add(number % 20 != 7)
    assert test.verdict is None
    assert test.expect_more() is None


def test_what_is_missing_to_a_verdict_is_foreseen():
    test = ShareTest()
    for _ in range(30):
        test.add(True)
    more = test.expect_more()
    assert more is not None
    count, _ = count_until(True)
    assert count - 30 <= more <= 1.2 * (count - 30)
    for _ in range(more):
        test.add(True)
    assert (test.verdict, test.expect_more()) == ("above", 0)


def test_a_hiccup_counts_once_not_for_each_request_that_it_hit():
    test = ShareTest()
    for number in range(64):
        test.add(not 20 <= number < 28)
    # independent misses, so many of so many, would say it
    assert test.verdict is None
    assert test.measure_design_effect() > 3


def test_one_group_is_no_verdict_and_two_unlike_ones_neither():
    test = ShareTest()
    for _ in range(16):
        test.add(False)
    test.end_group()
    assert test.verdict is None
    for _ in range(16):
        test.add(True)
    test.end_group()
    assert test.verdict is None


def test_two_groups_alike_are_a_verdict():
    test = ShareTest()
    for _ in range(2):
        for number in range(16):
            test.add(number < 8)
        test.end_group()
    assert test.verdict == "below"
    assert test.share == 0.5


def test_nothing_is_known_of_no_request():
    test = ShareTest()
    assert (test.verdict, test.expect_more(), test.share) == (None,) * 3


def test_who_comes_near_the_bound_together_counts_once():
    spread, together = ShareTest(), ShareTest()
    for number in range(200):
        spread.add(True, 0.9 if number % 5 == 0 else 0.2)
        together.add(True, 0.9 if number % 100 < 20 else 0.2)
    assert spread.verdict == "above"
    assert spread.measure_design_effect(is_strained=True) < 1.5
    assert together.measure_design_effect(is_strained=True) > 10
    assert together.verdict is None and together.expect_more()
