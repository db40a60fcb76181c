"""How sure the answer is that a level is served."""

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.certainty import (
    count_needed,
    describe_certainty,
    write_range,
)
from ollama_bench.analysis.service import measure_service
from ollama_bench.inputs.objectives import parse
from ollama_bench.statistics.share import share_interval
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import SLO, read

SLOW = (
    "UPDATE request SET last_text_ns = first_text_ns + 100 * 1000000000"
    " WHERE {}"
)
# one after the other, so that neighbours are neighbours in time
IN_TURN = "UPDATE request SET due_ns = sent_ns + number"
NO_CHUNKS = "DELETE FROM chunk"


def say(results, *changes):
    """What the answer says of how sure it is."""
    said = read(results, *changes)[1]
    return said.partition("that they are served? ")[2].partition(
        " One request"
    )[0]


def test_eight_of_eight_prove_a_share_of_69_percent(results):
    made_up_results.write(results, levels=(8,), slots=8, rate=200.0)
    assert say(results).startswith(
        "8 of 8 in this burst: a share of at least 69 %; "
        "--repeat 8 would show 95 %"
    )


def test_more_requests_than_the_deadline_lets_begin_are_not_advised(
    results,
):
    made_up_results.write(results, levels=(8,), slots=8, rate=200.0)
    closed = "UPDATE level SET load = 'closed'"
    asked = (
        'UPDATE run SET arguments = \'{{"deadline": {}, "requests": 8}}\''
    )
    for deadline_s, is_advised in ((1000.0, True), (0.01, False)):
        said = say(results, closed, asked.format(deadline_s))
        assert said.startswith("8 of 8")
        assert ("would show 95 %" in said) == is_advised


def test_repeated_bursts_are_clusters(results):
    made_up_results.write(results, levels=(8, 8, 8), slots=8, rate=200.0)
    said = say(
        results,
        NO_CHUNKS,
        "UPDATE level SET repeat = id",
        # the machine was slower each time
        "UPDATE request SET first_text_ns = sent_ns + level_id * 1000000000",
        "UPDATE request SET last_text_ns = first_text_ns + 1000000000",
    )
    assert said.startswith(
        "24 of 24, worth 1 independent one: a share of "
    )
    assert "--repeat" in said
    assert " in this burst" not in said


def test_a_load_that_goes_on_is_worth_less_where_neighbours_are_alike(
    results,
):
    made_up_results.write(results, levels=(64,), slots=64, rate=6400.0)
    loop = (
        "UPDATE level SET load = 'closed'",
        """UPDATE run SET arguments = '{"requests": 64, "levels": [64]}'""",
        IN_TURN,
    )
    end = "UPDATE request SET last_text_ns = first_text_ns + 1000000000"
    free = say(
        results,
        *loop,
        NO_CHUNKS,
        "UPDATE request SET first_text_ns = due_ns + 100000000",
        end,
    )
    assert "64 of 64: a share of at least " in free
    # waits rise slowly, none of them too far
    slow = say(
        results,
        *loop,
        NO_CHUNKS,
        "UPDATE request SET first_text_ns = due_ns + number * 100000000",
        end,
    )
    assert "worth" in slow and "--requests" in slow


@pytest.mark.parametrize(
    "arguments, advice",
    [
        ('"requests": 8, "duration": 3', "--requests 59 would show"),
        # the time ended it before as many were asked
        ('"requests": 30, "duration": 3', "--duration "),
        # more than its lines do not come
        ('"trace": "azure.csv", "duration": 3', ""),
    ],
)
def test_what_ended_a_level_is_what_is_advised(results, arguments, advice):
    made_up_results.write(results, levels=(8,), slots=8, rate=200.0)
    said = say(
        results,
        "UPDATE level SET load = 'closed'",
        f"UPDATE run SET arguments = '{{{arguments}, \"levels\": [8]}}'",
        IN_TURN,
        NO_CHUNKS,
    )
    assert "8 of 8" in said
    assert advice in said if advice else "would show" not in said


def test_a_level_that_is_not_served_is_given_no_advice(results):
    made_up_results.write(results, levels=(8,), slots=8, rate=200.0)
    said = say(results, NO_CHUNKS, SLOW.format("number <= 4"))
    assert said.startswith("4 of 8 in this burst: a share of 18 to 82 %")
    assert "would show" not in said


def test_the_share_is_of_what_counts(results):
    """Strain is at most 1 of exactly those that met the objectives."""
    made_up_results.write(
        results, levels=(1, 8, 32), slots=4, rate=41.0, failures=3
    )
    database = connect(results)
    database.execute(NO_CHUNKS)
    database.execute(
        "UPDATE request SET status = 'cancelled', last_text_ns = NULL"
        " WHERE number IN (5, 30)"
    )
    database.execute("UPDATE request SET prompt_cut = 1 WHERE number = 2")
    study = selection.choose(database, [], [])[0]
    for service in measure_service(database, study, SLO).values():
        for outcome in service.demands:
            good = sum(strain <= 1 for strain in outcome.strains)
            assert good == outcome.good
            assert len(outcome.strains) == outcome.asked


@pytest.mark.parametrize(
    "share, needed", [(1.0, 59), (0.95, None), (0.9, None)]
)
def test_how_many_would_show_it(share, needed):
    found = count_needed(share)
    assert (
        found is None
        if needed is None
        else needed <= found <= needed * 1.1
    )


def test_what_is_not_shown_is_not_rounded_to_it():
    assert write_range(share_interval(58, 58, 58)) == "at least 94 %"
    assert write_range(share_interval(59, 59, 59)) == "at least 95 %"


def test_of_several_demands_the_one_that_is_shown_least(results):
    made_up_results.write(results, levels=(8,), slots=8, rate=200.0)
    objectives = parse("ttft=10@99,tokens_per_s=10@60")
    database = connect(results)
    study = selection.choose(database, [], [])[0]
    services = measure_service(database, study, objectives)
    said = describe_certainty(study, study.levels, services, objectives)
    assert said == (
        "8 of 8 in this burst got the first token within 10 s: "
        "a share of at least 69 %; --repeat 38 would show 99 %"
    )
