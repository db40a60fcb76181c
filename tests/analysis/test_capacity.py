"""What a search has found, again from the loads that it tried."""

import json

import pytest

from ollama_bench.analysis.capacity import describe_search, find_search
from ollama_bench.analysis.certainty import describe_certainty
from ollama_bench.analysis.key_figures import find_tries
from ollama_bench.analysis.study import Study
from ollama_bench.inputs.objectives import parse
from ollama_bench.statistics.capacity_search import CapacitySearch, Trial
from ollama_bench.statistics.load_scales import CountScale
from ollama_bench.statistics.sequential import Evidence

SLO = parse("ttft=2,tokens_per_s=10")
LIKELY, SURE, MISSED = (
    Evidence(1.5, -3.0),
    Evidence(4.0, -4.0),
    Evidence(-3.0, 4.0),
)
OPEN = Evidence(0.1, -0.1)
SHORTER = ", less with shorter replies (--tokens)"


def make_study(levels):
    return Study("m", [], levels, [], None, [], [], [], SLO)


def served(size, evidence=SURE):
    return Trial(size, "above", evidence, 1.05, 60, 20.0)


def missed(size):
    return Trial(size, "below", MISSED, 0.8, 30, 10.0, ("ttft",))


def unresolved(size):
    return Trial(size, "unresolved", OPEN, 0.99, 80, 30.0, more_s=240.0)


def searched(trials, load="burst", think_time_s=None):
    levels = [
        {
            "run_id": 1,
            "level_id": number,
            "concurrency": 64 if load == "open" else int(trial.size),
            "rate_per_s": trial.size if load == "open" else None,
            "load": load,
            "think_time_s": think_time_s,
            "trial": json.dumps(trial.__dict__),
        }
        for number, trial in enumerate(trials, 1)
    ]
    return make_study(levels=levels)


def say(trials, **more):
    answer = find_search(searched(trials, **more))
    assert answer is not None
    return describe_search(answer, SLO)


BOTH_ENDS = [
    served(8),
    missed(10),
    served(9, LIKELY),
    served(9),
    missed(10),
]


def test_the_number_its_interval_what_was_missed_and_the_time():
    said = say(BOTH_ENDS)
    assert said == (
        "Up to 9 at once get at least 10 tokens/s and the first token "
        "within 2 s (95 %: 9); with 10, too few got the first token "
        "within 2 s (5 probes, 1:20)."
    )


@pytest.mark.parametrize(
    "trials, count, is_shown",
    [
        (BOTH_ENDS, 9, True),
        ([missed(1), missed(1)], 0, True),
        ([missed(4)], 0, True),
        ([served(8, LIKELY), missed(16)], 8, False),
        ([unresolved(4)], None, True),
    ],
)
def test_a_count_of_none_served_is_not_unknown(trials, count, is_shown):
    answer = find_search(searched(trials))
    assert (answer.count, answer.is_shown) == (count, is_shown)


def test_people_and_rates_are_called_so():
    people = say(BOTH_ENDS, load="people", think_time_s=30.0)
    assert people.startswith("Up to 9 people who think 30 s get ")
    rates = [served(2.0), missed(2.2), missed(2.2), served(2.1)]
    said = say(rates, load="open")
    assert said.startswith("Up to 2.1")
    assert "requests/s get at least" in said
    assert "(95 %: 2.1 to 2.2); with 2.2, too few" in said
    assert "at once" not in said


def test_of_a_wide_interval_the_most_likely_value_is_told():
    said = say([served(2.0), missed(4.0), missed(4.0)], load="open")
    assert said.startswith("Up to 2")
    assert "(95 %: 2 to 4, most likely 2.4)" in said


def test_what_is_not_resolved_is_said_and_how_long_it_would_take():
    said = say([served(8), unresolved(9), missed(10), missed(10)])
    assert "(95 %: 8 to 9)" in said
    assert said.endswith("Not resolved: 9: about 4:00 more would tell.")


@pytest.mark.parametrize(
    "trials, words",
    [
        ([missed(1), missed(1)], "Not even one at a time gets"),
        ([served(8), served(8)], "At least 8 at once get"),
        ([served(8, LIKELY), missed(16)], "not shown at 95 %"),
        ([missed(4)], "Fewer than 4 at once get"),
        ([unresolved(4)], "was not resolved"),
    ],
)
def test_what_is_known_of_less(trials, words):
    said = say(trials)
    assert words in said
    assert "Up to" not in said


def test_a_rate_that_was_missed_is_more_than_what_is_served():
    said = say([missed(5.5), unresolved(2.7)], load="open")
    assert said.startswith("Fewer than 5.5")
    assert "requests/s get at least 10 tokens/s" in said


def test_what_looks_good_is_said_with_what_would_show_it():
    looks = Trial(2.96, "unresolved", OPEN, 1.05, 69, 25.0, more_s=20.0)
    trials = [missed(5.92), looks]
    assert say(trials, load="open") == (
        "2.96 requests/s get at least 10 tokens/s and the first token "
        "within 2 s as far as was seen, which is not shown at 95 % "
        "(2 probes, 35 s): about 20 s more would show it; with 5.92, "
        "too few got the first token within 2 s."
    )
    open_above = say([looks, unresolved(4.2)], load="open")
    assert open_above.startswith("2.96 requests/s get")
    assert open_above.endswith(
        "20 s more would show it; 4.2 looks missed."
    )
    assert say([looks], load="open").endswith(
        "; more were not measured to an end."
    )
    answer = find_search(searched(trials, load="open"))
    assert answer is not None
    assert answer.find_level()["rate_per_s"] == 2.96
    # what is shown comes before what looks good
    answer = find_search(searched([*trials, served(2.0)], load="open"))
    assert answer is not None
    assert answer.find_level()["rate_per_s"] == 2.0


@pytest.mark.parametrize(
    "load, figures, said",
    [
        # replies of 4 s: shorter ones answer more requests in that time
        ("burst", {"output_tokens_mean": 256.0}, SHORTER),
        ("burst", {"output_tokens_mean": 12.0}, ""),
        # the prompt takes the time
        ("burst", {"output_tokens_mean": 64.0, "ttft_mean_s": 3.0}, ""),
        ("people", {"output_tokens_mean": 256.0}, ""),
        ("open", {"output_tokens_mean": 256.0}, SHORTER),
    ],
)
def test_what_would_take_hours_is_said_with_what_helps(
    load, figures, said
):
    slow = Trial(4, "unresolved", OPEN, 1.05, 40, 500.0, more_s=23088.0)
    study = searched([slow], load=load, think_time_s=30.0)
    for level in study.levels:
        times = {"ttft_mean_s": 0.5, "e2e_mean_s": 4.5}
        if load != "people":
            level["think_time_s"] = None
        level |= {"requests_per_s": 0.52, **times, **figures}
    answer = find_search(study)
    assert answer is not None
    at = "" if load == "open" else "at 0.52 requests/s "
    help_said = f"{at}that takes hours (--budget 24000){said}; more"
    assert f"(1 probe, 8:20): {help_said}" in describe_search(answer, SLO)


def test_a_load_at_the_edge_that_would_take_hours_is_said_so():
    near = Trial(9, "unresolved", OPEN, 0.99, 80, 30.0, more_s=9000.0)
    said = say([served(8), near, missed(10), missed(10)])
    assert said.endswith("Not resolved: 9: an hour more would not tell.")


def test_the_figures_are_those_of_the_highest_that_was_served():
    answer = find_search(searched(BOTH_ENDS))
    assert answer is not None
    assert answer.find_level()["level_id"] == 4
    assert answer.count == 9
    assert find_search(make_study(levels=[])) is None


def test_how_sure_it_is_stands_in_the_answer_alone():
    study = searched(BOTH_ENDS)
    assert describe_certainty(study, study.levels, {}, SLO) == ""


def test_a_first_look_counts_for_nothing_beside_a_long_try():
    study = searched([served(4, LIKELY), served(4), missed(8)])
    for level, lasted_s in zip(study.levels, (2.6, 18.0, 10.0)):
        level["duration_s"] = lasted_s
    tries = find_tries(study, find_search(study))
    assert [level["level_id"] for level in tries] == [2]


def test_a_search_in_which_nothing_was_found_names_what_it_tried():
    said = say([unresolved(6.64)], load="open")
    assert said.startswith("Whether 6.64 requests/s get at least ")
    assert said.endswith("(1 probe, 30 s): a longer --budget would tell.")


def test_more_than_what_is_shown_is_named_as_what_it_looks():
    said = say([served(12), served(16, LIKELY)])
    assert (
        "; 16 too as far as was seen, which is not shown at 95 % (" in said
    )


def test_a_load_is_shown_by_all_of_its_trials():
    search = CapacitySearch(CountScale(64, 0.0))
    search.add(served(4, LIKELY))
    assert not search.is_shown(4)
    search.add(served(4, LIKELY))
    assert not search.is_shown(4) and search.is_shown(4, LIKELY)
    search.add(served(4, LIKELY))
    assert search.is_shown(4)
