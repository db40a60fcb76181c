"""--find-capacity and --find-rate from the outside."""

import contextlib
import json
import sqlite3
from types import SimpleNamespace

import pytest

from ollama_bench.run.capacity import CapacityRun, say_more
from ollama_bench.statistics.capacity_search import (
    CapacitySearch,
    Trial,
)
from ollama_bench.statistics.load_scales import RateScale
from ollama_bench.statistics.probe import ProbePlan
from ollama_bench.statistics.sequential import Evidence
from tests.run.programs import QUICK, rows, run

SLO = ("--slo", "ttft=0.2,tokens_per_s=1")
TRIALS = (
    "SELECT load, trial FROM level WHERE trial IS NOT NULL ORDER BY id"
)


def read_trials(folder):
    return [
        {**json.loads(row["trial"]), "load": row["load"]}
        for row in rows(folder, TRIALS)
    ]


@pytest.mark.faults
def test_find_capacity_finds_the_simulators_slots(module_sim, tmp_path):
    # who waits for another's reply gets no first token in 0.2 s
    six = module_sim(profile="exact", ttft=10, itl=10, tokens=22, slots=6)
    arguments = ("32", "--find-capacity", *SLO, "--host", six.url, *QUICK)
    code, out, _ = run(*arguments, "--budget", "60", cwd=tmp_path)
    text = " ".join(out.split())
    assert code == 0
    assert "Up to 6 at once get at least 1 tokens/s" in text
    assert "(95 %: 6); with 7, too few got the first token" in text
    assert "searching for up to 60 s" in text
    assert max(map(len, out.splitlines())) <= 100
    found = {}
    for trial in read_trials(tmp_path):
        found.setdefault(trial["size"], []).append(trial["verdict"])
        assert trial["load"] == "burst"
    assert set(found) == {4, 8, 6, 7}
    # the two at the end are tried again
    assert found[6] == ["above"] * 2 and found[7] == ["below"] * 2
    # the views judge the requests as the search did
    judged = {
        (row["concurrency"], row["repeat"]): row
        for row in rows(
            tmp_path,
            "SELECT concurrency, repeat, requests, good_ratio, trial FROM level_summary",
        )
    }
    assert len(judged) == 6
    for row in judged.values():
        trial = json.loads(row["trial"])
        assert trial["count"] == row["requests"]
        assert trial["reach"] * 0.95 == pytest.approx(row["good_ratio"])
    # bursts are repeated within a level, all at the same instant
    bursts = rows(
        tmp_path,
        "SELECT count(*) AS n, count(due_ns) AS due FROM request "
        "JOIN level ON level.id = level_id WHERE concurrency = 4",
    )[0]
    assert bursts["n"] >= 30 and bursts["n"] % 4 == 0 and not bursts["due"]


def test_a_spent_budget_is_said_and_nothing_is_made_up(
    module_sim, tmp_path
):
    slow = module_sim(profile="exact", ttft=10, itl=10, tokens=30, slots=2)
    arguments = ("8", "--find-capacity", *SLO, "--host", slow.url, *QUICK)
    code, out, _ = run(*arguments, "--budget", "1", cwd=tmp_path)
    text = " ".join(out.split())
    assert code == 0
    assert "not resolved" in text and "more would tell" in text
    assert "Up to" not in text


@pytest.mark.parametrize(
    "more_s, said",
    [
        (None, ""),
        (0.0, ""),
        (180.0, ", 3 min more would tell"),
        (23088.0, ", an hour more would not tell"),
    ],
)
def test_a_load_that_is_open_says_what_would_tell(more_s, said):
    assert say_more(Trial(4, "unresolved", more_s=more_s)) == said


LATE = {"client_send_lag_max_s": 0.5}


@pytest.mark.parametrize(
    "found, verdict, said",
    [
        ({}, "saturated", ""),
        ({"slept_s": 3.0}, "above", "this machine"),
        (LATE, "below", "this machine"),
        (LATE, "above", ""),
        # it would have been missed without that as well
        (LATE | {"ttft_p50_s": 1.6}, "saturated", ""),
        (LATE | {"ttft_p50_s": 1.4}, "saturated", "this machine"),
        ({"server_gone_s": 3.0}, "below", "the server, which stopped"),
    ],
)
def test_what_disturbs_a_load_is_named(found, verdict, said):
    search = SimpleNamespace(_judge=SimpleNamespace(wait_s=1.0))
    row = {
        "slept_s": 0.0,
        "client_send_lag_max_s": 0.01,
        "server_gone_s": None,
        "ttft_p50_s": 0.2,
    }
    trial = Trial(4, verdict)
    assert (
        CapacityRun._find_disturbance(search, row | found, trial) == said
    )


def test_a_load_that_is_saturated_before_any_is_judged_ends_no_search():
    search, warned = CapacitySearch(RateScale(16.0)), []
    capacity = SimpleNamespace(
        _search=search,
        budget_s=600.0,
        _longest_s=600.0,
        interrupt=SimpleNamespace(is_set=lambda: len(search.trials) == 3),
        screen=SimpleNamespace(warn=warned.append),
        _make_plan=ProbePlan,
        _try=lambda step, *_: Trial(step.size, "saturated"),
    )
    CapacityRun.run(capacity)
    assert len(search.trials) == 3 and not warned
    search.trials.clear()
    capacity._try = lambda step, *_: Trial(step.size, "unresolved")
    CapacityRun.run(capacity)
    assert len(search.trials) == len(warned) == 1


def test_a_load_is_called_served_once_that_is_shown():
    search = CapacitySearch(RateScale(16.0))
    capacity = SimpleNamespace(
        _search=search, _name=lambda size: f"{size:g} requests/s"
    )
    look = Trial(8.0, "above", Evidence(2.0, -3.0), 1.05, 30)
    assert (
        CapacityRun._describe(capacity, look)
        == "8 requests/s: looks served"
    )
    search.add(look)
    assert CapacityRun._describe(capacity, look) == "8 requests/s: served"


def test_a_duration_that_is_too_short_to_judge_is_said(
    module_sim, tmp_path
):
    sim = module_sim(profile="exact", ttft=10, itl=10, tokens=5, slots=2)
    asked = (
        "4",
        "--find-capacity",
        "--think-time",
        "2",
        "--duration",
        "1",
    )
    code, _, err = run(*asked, "--host", sim.url, *QUICK, cwd=tmp_path)
    assert code == 1
    assert err.startswith(
        "bench.py: --duration 1 is too short: a probe, of 4 people, needs"
    )
    assert len(err.splitlines()) == 1
    assert not read_trials(tmp_path)


@pytest.mark.parametrize(
    "told, tries, is_said",
    [
        ("..tt..t", 7, False),  # t: told, . : disturbed
        ("t...t", 4, True),
    ],
)
def test_three_disturbed_loads_in_a_row_end_a_search(told, tries, is_said):
    left, warned = list(told), []

    def try_next(step, *_):
        is_told = left.pop(0) == "t"
        return Trial(step.size, "saturated", count=9) if is_told else None

    capacity = SimpleNamespace(
        _search=CapacitySearch(RateScale(16.0)),
        budget_s=600.0,
        _longest_s=600.0,
        interrupt=SimpleNamespace(is_set=lambda: not left),
        screen=SimpleNamespace(warn=warned.append),
        _make_plan=ProbePlan,
        _try=try_next,
    )
    CapacityRun.run(capacity)
    assert len(told) - len(left) == tries
    assert bool(warned) == is_said


@pytest.mark.faults
def test_find_rate_finds_what_the_slots_can_answer(module_sim, tmp_path):
    four = module_sim(profile="exact", ttft=5, itl=5, tokens=20, slots=4)
    arguments = ("--find-rate", *SLO, "--host", four.url, *QUICK)
    code, out, _ = run(
        *arguments, "--tokens", "20", "--budget", "45", cwd=tmp_path
    )
    text = " ".join(out.split())
    assert code == 0 and "requests/s get at least 1 tokens/s" in text
    trials = read_trials(tmp_path)
    assert {trial["load"] for trial in trials} == {"open"}
    # 4 slots of 0.1 s
    sizes = {
        verdict: [
            one["size"] for one in trials if one["verdict"] == verdict
        ]
        for verdict in ("above", "below", "saturated")
    }
    assert max(sizes["above"]) > 4
    assert max(sizes["below"] + sizes["saturated"]) > 40


@pytest.mark.faults
def test_a_saturated_level_is_a_rate_that_is_missed(module_sim, tmp_path):
    two = module_sim(profile="exact", ttft=10, itl=20, tokens=25, slots=2)
    # every reply is as fast as is asked, and four a second are answered
    arguments = (
        "--find-rate",
        "--slo",
        "tokens_per_s=5",
        "--tokens",
        "25",
    )
    code, out, _ = run(
        *arguments,
        *("--host", two.url, "--budget", "8"),
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0
    found = rows(
        tmp_path,
        "SELECT rate_per_s, probe_rate_per_s, saturated, trial FROM level_summary",
    )
    first, *_ = found
    assert first["rate_per_s"] > 10 and first["saturated"]
    for level in found:
        assert level["probe_rate_per_s"] == level["rate_per_s"]
        verdict = json.loads(level["trial"])["verdict"]
        assert verdict in ("below", "saturated") or not level["saturated"]
    assert (
        f"{first['rate_per_s']:g} requests/s: saturated: more come "
        "than are answered" in out
    )
    assert "At least" not in out


@pytest.mark.faults
def test_find_capacity_of_people_says_people(module_sim, tmp_path):
    two = module_sim(profile="exact", ttft=10, itl=10, tokens=30, slots=2)
    arguments = ("16", "--find-capacity", "--think-time", "0.3", *SLO)
    code, out, _ = run(
        *arguments,
        "--host",
        two.url,
        "--budget",
        "40",
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0
    answer = " ".join(out.split())
    assert "people who think 300 ms get" in answer
    assert "4 people: " in answer and "at once get" not in answer


@pytest.mark.faults
def test_a_search_goes_on_where_it_was_interrupted(module_sim, tmp_path):
    six = module_sim(profile="exact", ttft=10, itl=10, tokens=30, slots=6)
    arguments = ("16", "--find-capacity", *SLO, "--host", six.url, *QUICK)
    run(*arguments, "--budget", "60", cwd=tmp_path)
    before = read_trials(tmp_path)
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db")
    ) as database:
        database.execute("UPDATE run SET status = 'interrupted'")
        database.execute(
            "UPDATE level SET status = 'interrupted', trial = NULL "
            "WHERE id = (SELECT max(id) FROM level)"
        )
        database.commit()
    code, out, _ = run(
        *arguments, "--resume", "--budget", "60", cwd=tmp_path
    )
    after = read_trials(tmp_path)
    assert code == 0 and "probes are measured" in out
    assert len(after) == len(before)
    assert after[:-1] == before[:-1]
    assert "Up to 6 at once" in " ".join(out.split())


@pytest.mark.faults
def test_a_search_in_which_nothing_can_be_judged_claims_nothing(
    module_sim, tmp_path
):
    long = module_sim(profile="exact", ttft=20, itl=20, tokens=500)
    code, out, _ = run(
        "4",
        "--find-capacity",
        "--slo",
        "e2e=60",
        "--deadline",
        "1",
        "--host",
        long.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 1
        and "cannot judge" in out
        and "nobody" not in out.lower()
        and "serves" not in out
        and "served" not in out
    )
