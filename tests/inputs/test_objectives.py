"""Objectives of --slo: bounds, shares of their own, and what a level must reach."""

import pytest

from ollama_bench.inputs.objectives import (
    Demand,
    Objective,
    find_reach,
    list_demands,
    parse,
    write,
)


def test_an_objective_may_have_a_share_of_its_own():
    text = "ttft=2@99.9,tpot=0.1,e2e=60,tokens_per_s=10@100"
    found = parse(text)
    assert found == {
        "ttft": Objective(2.0, 0.999),
        "tpot": Objective(0.1),
        "e2e": Objective(60.0),
        "tokens_per_s": Objective(10.0, 1.0),
    }
    assert write(found) == text
    # exactly the share that 999 of 1000 are
    assert found["ttft"].share == 999 / 1000
    assert list_demands(found) == [
        Demand(("tpot", "e2e"), 0.95),
        Demand(("ttft",), 0.999),
        Demand(("tokens_per_s",), 1.0),
    ]


@pytest.mark.parametrize(
    "text", ["ttft=2@", "ttft=2@0", "ttft=2@101", "ttft=2@nan", "ttft=2@x"]
)
def test_a_share_is_a_percentage(text):
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value) == (
        f"invalid objective {text!r}: expected a percentage "
        "above 0 and up to 100 after @"
    )


def row(good_ratio, share=None, undecided=0, slept_s=None):
    return {
        "requests": 100,
        "undecided_requests": undecided,
        "good_ratio": good_ratio,
        "share": share,
        "slept_s": slept_s,
    }


@pytest.mark.parametrize(
    "rows, reach",
    [
        ([row(0.95)], 1.0),
        ([row(0.96), row(0.98, share=0.99)], pytest.approx(98 / 99)),
        ([row(0.95), row(0.5, share=0.5)], 1.0),
        ([row(1.0), row(1.0, share=1.0, undecided=1)], None),
        # that one is missed is enough to know
        (
            [row(0.5), row(1.0, share=1.0, undecided=1)],
            pytest.approx(0.5 / 0.95),
        ),
        ([row(0.5, slept_s=3)], None),
        ([row(None)], None),
        ([], None),
    ],
)
def test_a_level_reaches_as_much_as_its_worst_demand(rows, reach):
    assert find_reach(rows) == reach
