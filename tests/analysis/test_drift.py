"""What the control at the end of a run says, and what it forbids to say."""

from __future__ import annotations

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
        "instead of 40 (-0.5 %), so the machine stayed the same."
    )
    assert describe_drift(made_of(FLAT)) == ""


def test_no_knee_is_said_that_the_drift_could_make():
    hot, steady = controlled(32.0), controlled(39.8)
    assert "best with 8 at once" in describe_best(steady)
    assert describe_best(hot) == (
        "Where throughput is best cannot be told: the machine changed by 20 % "
        "between the first level and the same one at the end."
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
