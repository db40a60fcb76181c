"""The study's four questions, and what measures what is not known."""

import itertools

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.questions import describe_rates
from ollama_bench.analysis.service import DemandOutcome, Service
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.verdict import judge
from ollama_bench.inputs.objectives import Demand, parse
from ollama_bench.storage.connection import connect
from tests.support import made_up_results

SPEED, RATE, CURVE, POWER, SURE = (
    "How many tokens/s do I get?",
    "How many requests/s can I serve with reasonable throughput (10 tokens/s)?",
    "How does concurrency change throughput?",
    "How much power is used?",
    "How sure is it that they are served?",
)
NO_POWER = "DELETE FROM power_sample"
ASKED = "UPDATE run SET command = 'python bench.py 1,2 --model tiny:7b'"


@pytest.fixture
def ask(tmp_path):
    """Return the questions of a study, by what is asked: answer and command."""

    numbers = itertools.count()

    def ask(
        *changes, levels=(1, 2, 8), slo=None, file="results.db", **columns
    ):
        path = tmp_path / f"{next(numbers)}" / file
        path.parent.mkdir()
        made_up_results.write(
            path, levels=levels, **{"slots": 8, "rate": 41.0, **columns}
        )
        database = connect(path)
        for sql in changes:
            database.execute(sql)
        (study,) = selection.choose(database, [], [])
        answer = judge(database, study, parse(slo) if slo else None).answer
        database.close()
        return {
            asked: (said, command)
            for asked, said, command in answer.questions
        }

    return ask


@pytest.mark.parametrize(
    "typed, kept",
    [
        (
            "8 --requests 60 --host a --db x.db",
            "--requests 60 --host a --db x.db",
        ),
        ("2 --requests 4", ""),
        (
            "8 --fleet tcp://a:1 --fleet-insecure",
            "--fleet tcp://a:1 --fleet-insecure",
        ),
        (
            "8 --think-time 5 --duration=90 --no-monitor",
            "--think-time 5 --duration=90",
        ),
        (
            "8 --think-time 5 --patience 2 --cache warm",
            "--think-time 5 --patience 2 --cache warm",
        ),
        ("8 --cache both", ""),
        ("8 --cache=both --requests=4 --host=b", "--host=b"),
    ],
)
def test_what_is_not_known_is_measured_as_the_run_was(ask, typed, kept):
    file = "x.db" if "x.db" in typed else "results.db"
    sql = f"UPDATE run SET command = '{typed}'"
    found = ask(sql, levels=(1,), file=file)
    command = f"python bench.py 1,2,4,8 {kept}".strip()
    assert found[CURVE] == ("not measured", command)
    # a search finds the load itself
    searching = found[RATE][1]
    assert "--find-rate" in searching and "--requests" not in searching
    for option in ("--db", "--cache warm"):
        assert (option in searching) == (option in typed)


@pytest.mark.parametrize("typed", ["", " --db a.db", " --db=there/a.db"])
def test_what_is_measured_next_goes_to_the_file_that_is_read(
    ask, tmp_path, monkeypatch, typed
):
    """As of a file into which others were merged."""
    monkeypatch.chdir(tmp_path)
    sql = f"UPDATE run SET command = 'python bench.py 1{typed}'"
    for _, command in ask(sql, levels=(1,), file="all.db").values():
        assert not command or command.endswith("/all.db")
        assert command.count("--db") == bool(command)


def test_the_curve_is_judged_by_the_same_objectives(ask):
    asked = RATE.replace("10 tokens/s", "5 tokens/s")
    found = ask(ASKED, levels=(1,), slo="tokens_per_s=5")
    for question in (CURVE, asked):
        assert " --slo tokens_per_s=5 " in f"{found[question][1]} "


def test_all_four_are_answered_in_figures(ask):
    found = ask()
    assert list(found) == [SPEED, RATE, CURVE, POWER, SURE]
    assert found[SURE][0].startswith(
        "2 of 2 in this burst: a share of at least"
    )
    assert found[SPEED][0].startswith("20.5 tokens/s each, ")
    assert " all together, 200 ms until the first token" in found[SPEED][0]
    going_on = ask("UPDATE level SET load = 'closed'")[SPEED][0]
    assert " all together over the whole level, " in going_on
    assert " with 1 at once and " in found[CURVE][0]
    assert " W, " in found[POWER][0] and "J/token" in found[POWER][0]
    commands = {asked: command for asked, (_, command) in found.items()}
    assert commands.pop(RATE) and not any(commands.values())


def test_a_burst_is_no_rate_and_the_command_measures_one(ask):
    said, command = ask(ASKED)[RATE]
    assert (
        "requests/s with 2 at once; at random times: not measured" in said
    )
    assert command == "python bench.py --find-rate --model tiny:7b"


def test_the_command_names_the_server_and_the_objectives(ask):
    elsewhere = (
        "UPDATE run SET command = "
        "'python bench.py 1,2 --host http://b:8080 --host http://c --balance random --api=openai'"
    )
    asked = RATE.replace("10 tokens/s", "5 tokens/s")
    _, command = ask(elsewhere, slo="tokens_per_s=5@99")[asked]
    assert command.endswith(
        "--slo tokens_per_s=5@99 --host http://b:8080 --host http://c --balance random --api=openai"
    )
    _, command = ask("UPDATE run SET command = 'python bench.py --demo'")[
        RATE
    ]
    assert command.endswith(" --find-rate --demo")


@pytest.mark.parametrize(
    "column, value, option",
    [
        ("asked_prompt_tokens", 500, "--prompt-tokens 500"),
        ("prompt_mix", "500*9,8000*1", "--mix '500*9,8000*1'"),
    ],
)
def test_the_command_asks_for_the_same_work(ask, column, value, option):
    asked = "UPDATE run SET command = 'python bench.py 1,2 --tokens 9'"
    lengths = f"UPDATE level SET {column} = '{value}'"
    _, command = ask(asked, lengths)[RATE]
    assert command == f"python bench.py --find-rate {option} --tokens 9"


def test_repeats_give_the_rate_an_interval(ask):
    again = (
        "INSERT INTO level (run_id, model, concurrency, repeat, cache, load, status, started_ns,"
        " ended_ns) SELECT run_id, model, concurrency, {0}, cache, load, status, started_ns,"
        " ended_ns + {0} * 100000000 FROM level WHERE repeat = 1 AND concurrency = 8",
        "INSERT INTO request (level_id, number, status, sent_ns, first_text_ns, last_text_ns,"
        " ended_ns, output_tokens, chunks) SELECT (SELECT max(id) FROM level), number, status,"
        " sent_ns, first_text_ns, last_text_ns, ended_ns, output_tokens, chunks FROM request"
        " WHERE level_id = 2",
    )
    changes = [sql.format(n) for n in (2, 3) for sql in again]
    said, _ = ask(*changes, levels=(1, 8), rate=8 * 40.0)[RATE]
    assert "requests/s (95 %: " in said and " with 8 at once" in said


@pytest.mark.parametrize(
    "sql, said, command",
    [
        (
            "UPDATE machine SET virtual = 1",
            "not measured: a virtual machine has no power sensors",
            "",
        ),
        (
            "UPDATE run SET command = 'python bench.py 1 --no-monitor'",
            "not measured",
            "python bench.py 1,2,4,8",
        ),
        (
            "UPDATE machine SET virtual = 0, os = 'Windows 11'",
            "not measured",
            "python -m ollama_bench.doctor",
        ),
        (
            "UPDATE machine SET virtual = 0",
            "not measured",
            "sudo python bench.py 1,2,4,8 --model tiny:7b",
        ),
    ],
)
def test_power_that_was_not_measured(ask, sql, said, command):
    assert ask(NO_POWER, ASKED, sql)[POWER] == (said, command)


def test_power_of_another_machine_has_nothing_to_do_with_this_one(ask):
    far = "UPDATE target SET watcher = 'one', machine_id = 1"
    here = "UPDATE machine SET virtual = 1"
    assert ask(NO_POWER, ASKED, here, far)[POWER] == (
        "not measured: no power was read on the server's machine",
        "",
    )


def test_one_level_has_no_curve(ask):
    said, command = ask(ASKED, levels=(2,))[CURVE]
    assert said == "not measured"
    assert command == "python bench.py 1,2,4,8 --model tiny:7b"


def test_of_rates_the_highest_that_is_served_counts(ask):
    at_rates = (
        "UPDATE level SET load = 'open', rate_per_s = concurrency / 2.0"
    )
    found = ask(at_rates)
    assert found[RATE] == ("1 requests/s", "")
    assert found[CURVE][0].startswith("not measured")
    assert ask(at_rates, "UPDATE request SET status = 'reset'")[RATE] == (
        "fewer than 0.5",
        "",
    )


@pytest.mark.parametrize(
    "answered, said",
    [(3.07, "3.07"), (3.9, "3.9"), (4.1, "3.98"), (None, "3.98")],
)
def test_no_more_is_served_than_is_answered(answered, said):
    level = {
        "level_id": 1,
        "run_id": 1,
        "rate_per_s": 4.0,
        "offered_per_s": 3.98,
        "answered_per_s": answered,
    }
    study = Study("m", [], [level], [], None, [], [], [], {})
    reached = DemandOutcome(Demand(("ttft",), 0.95), 40, 40)
    served = Service(40, 40, 40, {}, {}, demands=(reached,))
    assert describe_rates(study, {1: served}) == f"{said} requests/s"


def test_a_search_that_resolved_nothing_names_no_rate(ask):
    said = ask(
        "UPDATE level SET load = 'open', rate_per_s = concurrency, "
        """trial = '{"size": 2, "verdict": "unresolved", "reach": 0, """
        """"evidence": [0, 0], "binding": []}'""",
        levels=(2,),
    )[RATE][0]
    assert said == "cannot be told"


def test_people_are_served_at_the_rate_at_which_they_ask(ask):
    said, command = ask(
        "UPDATE level SET load = 'closed', think_time_s = 30"
    )[RATE]
    assert said.endswith(" requests/s, of 2 people who think 30 s")
    assert command == ""


def test_where_nobody_is_served_the_rate_is_below_the_lowest(ask):
    assert ask(rate=5.0)[RATE][0].startswith("fewer than 0.0")
