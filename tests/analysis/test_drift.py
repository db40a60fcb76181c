"""What the control at the end of a run says, and what it forbids to say."""

from __future__ import annotations

import math
import random

import pytest

from ollama_bench.analysis.drift import describe_drift
from ollama_bench.analysis.trends import (
    describe_best,
    describe_law,
    describe_throughput,
)
from tests.support.studies import made_of

# flat from 8 on, measured in rising order
FLAT = {1: 40.0, 2: 60.0, 4: 85.0, 8: 104.0, 16: 103.0, 32: 100.0}


def controlled(rate, rates=FLAT, **columns):
    """A study whose first level got this rate when it was sent again."""
    study = made_of(rates)
    first = study.levels[0]
    study.controls = [
        {
            **first,
            "level_id": 99,
            "full_load_tokens_per_s": rate,
            **columns,
        }
    ]
    return study


def test_a_drift_is_told_with_its_size_the_clock_and_the_heat():
    study = controlled(32.0, mean_gpu_mhz=1120.0, hot_samples=3)
    study.levels[0]["mean_gpu_mhz"] = 1400.0
    assert describe_drift(study) == (
        "The first level, 1 at once, was sent again at the end as a control: 32 tokens/s "
        "instead of 40 (-20 %), so the machine changed; "
        "the GPU's clock was 1,120 MHz instead of 1,400; "
        "the system reported thermal pressure."
    )
    assert describe_drift(controlled(39.8)).endswith(
        "instead of 40 (-0.5 %), which shows no change of the machine."
    )
    assert describe_drift(made_of(FLAT)) == ""


@pytest.mark.parametrize(
    ("rate", "requests", "is_shown"),
    [
        (38.4, 2, False),  # -4.1 %
        (38.4, 100, False),
        (34.0, 2, False),
        (34.0, 100, True),  # -15 %
        (32.0, 1, True),
        (46.0, 2, False),
        (48.0, 2, True),
    ],
)
def test_the_machine_changed_where_single_levels_do_not_differ_by_as_much(
    rate, requests, is_shown
):
    """Of few requests it takes more."""
    study = controlled(rate, completed=requests)
    study.levels[0]["completed"] = requests
    said = describe_drift(study)
    assert ("so the machine changed" in said) == is_shown
    assert ("which shows no change of the machine." in said) != is_shown


@pytest.mark.parametrize("seed", range(3))
def test_an_unchanged_machine_is_said_to_change_in_one_of_twenty(seed):
    """Levels vary by 5 %, and each request by as much again."""
    chance = random.Random(seed)
    rounds, found = 1000, 0
    for _ in range(rounds):
        study = controlled(40.0, completed=2)
        study.levels[0]["completed"] = 2
        for level in (study.levels[0], study.controls[0]):
            spread = 0.05 * math.sqrt(1 + 1 / 2)
            level["full_load_tokens_per_s"] = 40 * math.exp(
                chance.gauss(0, spread)
            )
        found += "so the machine changed" in describe_drift(study)
    assert 0.03 < found / rounds < 0.07


def test_no_knee_is_said_that_the_drift_could_make():
    hot, steady = controlled(32.0), controlled(39.8)
    assert "best with 8 at once" in describe_best(steady)
    assert describe_best(hot) == (
        "Where throughput is best cannot be told: the first level and the same one "
        "at the end differ by 20 %."
    )
    assert (
        "and 104 tokens/s with 8, at full load; from there"
        in describe_throughput(steady)
    )
    assert describe_throughput(hot).endswith(
        "and 100 tokens/s with 32, at full load"
    )
    assert describe_law(hot) == ""


def test_a_knee_that_the_drift_cannot_make_is_said():
    """The later levels are slower by half: a loss of 20 % does not do that."""
    rates = {1: 40.0, 4: 100.0, 8: 52.0, 16: 50.0}
    assert "best with 4 at once" in describe_best(controlled(32.0, rates))


def test_a_machine_that_became_faster_hides_what_came_before():
    """Measured in falling order: 8 came first, and the machine was slow then."""
    rates = {8: 95.0, 4: 100.0, 1: 40.0}
    assert "cannot be told" in describe_best(controlled(105.0, rates))


def test_a_control_of_a_level_that_was_slept_through_says_nothing():
    assert describe_drift(controlled(32.0, slept_s=60.0)) == ""
