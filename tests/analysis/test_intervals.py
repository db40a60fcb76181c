"""The intervals of levels, and what they are made of."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.intervals import (
    describe_intervals,
    find_intervals,
    write_interval,
)
from ollama_bench.analysis.study import Study
from tests.support.studies import made_of

STORED = {
    "ttft_mean_low_s": {1: None, 4: 0.3},
    "ttft_mean_high_s": {1: None, 4: 0.5},
    "tokens_per_s_mean_low": {1: None, 4: 20.0},
    "tokens_per_s_mean_high": {1: None, 4: 22.0},
    "tokens_per_s_mean": {1: 50.0, 4: 21.0},
    "interval_n": {1: None, 4: 4},
}


def study_of(basis: str | None, load: str = "burst") -> Study:
    return made_of(
        {1: 50.0, 4: 80.0},
        {1: 0.3, 4: 0.4},
        interval_basis={4: basis},
        load={1: load, 4: load},
        **STORED,
    )


@pytest.mark.parametrize(
    "basis, load, said",
    [
        ("requests", "burst", "4 requests of this burst"),
        ("requests", "closed", "4 requests of this load"),
        ("batches", "closed", "4 batches of this load"),
    ],
)
def test_without_repeats_it_says_what_it_speaks_of(basis, load, said):
    study = study_of(basis, load)
    found = describe_intervals(find_intervals(study), study.levels)
    assert found == [
        f"4 at once: wait 300 to 500 ms, tokens/s each 20 to 22 ({said})"
    ]


def test_a_bootstrap_of_an_older_version_is_not_shown():
    assert find_intervals(study_of(None)) == []


def test_repeats_are_the_unit_where_there_are_any():
    """Means of 48, 50 and 52: the standard error is 1.155, t of two degrees of freedom 4.303."""
    study = study_of("requests")
    once = study.levels[1]
    study.levels = [
        {**once, "tokens_per_s_mean": rate, "ttft_mean_s": None}
        for rate in (48.0, 50.0, 52.0)
    ]
    (level,) = find_intervals(study)
    assert (level.n, level.basis, level.wait_s) == (3, "repeats", None)
    assert level.tokens_per_s.low == pytest.approx(45.03, abs=0.01)
    assert level.tokens_per_s.high >= 54.96


def once_more(study: Study, *more: dict[str, object]) -> None:
    """Give the study its second level again, for each of these figures."""
    first, once = study.levels
    study.levels = [first, *({**once, **figures} for figures in more)]


def test_of_several_runs_each_is_one_value():
    """Five repeats in each of three runs are three values: 48, 50 and 52."""
    study = study_of("requests")
    once_more(
        study,
        *(
            {"run_id": run, "tokens_per_s_mean": rate + off}
            for run, rate in ((1, 48.0), (2, 50.0), (3, 52.0))
            for off in (-0.2, -0.1, 0.0, 0.1, 0.2)
        ),
    )
    (level,) = find_intervals(study)
    assert (level.n, level.basis) == (3, "runs")
    assert level.tokens_per_s.low == pytest.approx(45.03, abs=0.01)


@pytest.mark.parametrize(
    "cut", [{"status": "interrupted"}, {"slept_s": 30.0}]
)
def test_a_level_that_was_cut_or_slept_through_is_no_repeat(cut):
    study = study_of("requests")
    once_more(study, {}, {"tokens_per_s_mean": 90.0, **cut})
    (level,) = find_intervals(study)
    assert level.basis == "requests of this burst"
    assert level.tokens_per_s == (20.0, 22.0)


def test_n_counts_the_repeats_that_have_a_value():
    study = study_of("requests")
    dead = {"tokens_per_s_mean": None, "ttft_mean_s": None}
    once_more(study, {}, {"tokens_per_s_mean": 22.0}, dead)
    (level,) = find_intervals(study)
    assert (level.n, level.basis) == (2, "repeats")


def test_an_interval_from_nothing_on_says_that_too_little_was_measured():
    study = study_of("requests")
    study.levels[1] |= {
        "tokens_per_s_mean_low": 0.0,
        "tokens_per_s_mean_high": 491.0,
        "ttft_mean_low_s": None,
    }
    (level,) = find_intervals(study)
    assert write_interval(level.tokens_per_s, str) == "–"
    assert describe_intervals([level], study.levels) == [
        "4 at once: too few to tell (4 requests of this burst)"
    ]


@pytest.mark.parametrize(
    "repeats, requests, is_known",
    [(2, 64, False), (3, 3, False), (3, 4, True), (4, 1, True)],
)
def test_too_few_repeats_of_too_few_requests_are_said_to_be(
    repeats, requests, is_known
):
    """There an interval covers the mean of skewed requests in 86 to 92 %, not in 95."""
    study = study_of("requests")
    rates = [48.0, 50.0, 52.0, 49.0][:repeats]
    once_more(
        study,
        *(
            {"tokens_per_s_mean": rate, "judged_completed": requests}
            for rate in rates
        ),
    )
    (level,) = found = find_intervals(study)
    assert (level.tokens_per_s is not None) == is_known
    said = f"4 at once: too few to tell ({repeats} repeats)"
    assert (describe_intervals(found, study.levels) == [said]) != is_known


def test_levels_of_too_few_repeats_share_a_line():
    study = made_of({1: 50.0, 4: 80.0, 8: 90.0}, {1: 0.3, 4: 0.4, 8: 0.5})
    one, four, eight = study.levels
    study.levels = [one, one, four, four, eight, eight, eight]
    assert describe_intervals(find_intervals(study), study.levels) == [
        "8 at once: wait 500 ms (3 repeats)",
        "1 and 4 at once: too few to tell (2 repeats)",
    ]


def test_each_rate_is_a_load_of_its_own():
    study = study_of("batches", "open")
    once_more(study, {"rate_per_s": 1.5}, {"rate_per_s": 3.0})
    first, second = describe_intervals(find_intervals(study), study.levels)
    assert first.startswith("1.5 requests/s: ")
    assert second.startswith("3 requests/s: ")
