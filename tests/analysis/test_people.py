"""People in words: the answer, and the law that they keep or break."""

import json
import re

import pytest

import analyze
from ollama_bench.analysis import selection
from ollama_bench.analysis.caveats import find_caveats
from ollama_bench.analysis.crowd import name_count, name_place, name_places
from ollama_bench.charts.catalog import CHARTS
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.chart_specs import drawing_nothing
from tests.support.studies import read

PEOPLE = (
    "UPDATE level SET load = 'closed', think_time_s = 30, think_law = 'fixed',"
    " in_flight_mean = 0.5, in_flight_peak = 2, people_law = 1.02,"
    " people_law_low = 0.9, people_law_high = 1.1"
)


@pytest.fixture
def people(results):
    made_up_results.write(results, levels=(1, 2, 8), slots=8, rate=41.0)
    return results


def test_the_answer_counts_people(people):
    _, said = read(people, PEOPLE)
    assert said.startswith(
        "Up to 2 people who think 30 s get at least 10 tokens/s "
        "and the first token within 10 s; with 8,"
    )
    assert "1 person who thinks 30 s asks" in said
    assert "0.5 are in flight on average, 2 at most" in said
    # of the 2 the questions say it
    assert said.count("each gets") == 2
    assert said.count("20.5 tokens/s each") == 1
    assert "With 2 people who think 30 s (" in said
    assert (
        "2 of 2 got at least 10 tokens/s and the first token within 10 s"
        in said
    )
    assert "at once" not in said


def test_not_even_one_person(people):
    _, said = read(
        people,
        PEOPLE,
        "DELETE FROM chunk",
        "UPDATE request SET last_text_ns = first_text_ns + 100 * 1000000000",
    )
    assert "Not even 1 person who thinks 30 s gets" in said


def test_a_level_that_breaks_the_law_is_marked(people):
    study, _ = read(people, PEOPLE)
    assert not [
        c for c in find_caveats(study) if "response time" in c.seen
    ]
    study, _ = read(
        people,
        PEOPLE,
        "UPDATE level SET people_law = 1.3, people_law_low = 1.1,"
        " people_law_high = 1.5 WHERE concurrency = 8",
    )
    (found,) = [
        caveat
        for caveat in find_caveats(study)
        if "response time" in caveat.seen
    ]
    assert found.seen == (
        "with 8 people who think 30 s, people are 1.30 times requests/s x "
        "(response time + think time) (1.10 to 1.50)"
    )
    assert not [c for c in find_caveats(study) if "at once" in c.seen]


def test_who_left_is_counted(people):
    study, said = read(
        people,
        PEOPLE,
        "UPDATE level SET patience_s = 0.1",
        "UPDATE request SET status = 'cancelled', abandoned = 1 WHERE id = 1",
    )
    assert "1 of 1 left without a first token after 100 ms" in said
    # asked, and not answered
    assert re.search(r"asks 0\.\d+ requests/s", said)
    assert "0 of 1 got at least 10 tokens/s" in said
    (found,) = [c for c in find_caveats(study) if "abandoned" in c.seen]
    assert found.seen == "1 request with 1 person failed (abandoned)"
    assert found.remedy == "Take fewer people, or raise --patience"


@pytest.mark.parametrize(
    "levels, named",
    [
        ([{"load": "burst"}], ("4 at once", "at 1 and 4 at once")),
        ([{"load": "people"}], ("4 people", "with 1 and 4 people")),
        (
            [{"load": "open"}],
            ("up to 4 at once", "at up to 1 and 4 at once"),
        ),
        (
            [{"load": "people"}, {"load": "burst"}],
            ("4 at once", "at 1 and 4 at once"),
        ),
        ([], ("4 at once", "at 1 and 4 at once")),
    ],
)
def test_what_a_number_counts_is_known_in_one_place(levels, named):
    assert (name_count(4, levels), name_places([1, 4], levels)) == named


def test_a_place_is_named_by_its_rate_where_it_has_one():
    rate = {"load": "open", "concurrency": 64, "rate_per_s": 0.5}
    assert name_place([rate, {**rate, "rate_per_s": 2.0}]) == (
        "at 0.5 and 2 requests/s"
    )
    trace = {**rate, "trace": "day.csv", "rate_per_s": 1.56522}
    assert name_place([trace]) == "at 1.57 requests/s"
    assert (
        name_place([{**rate, "rate_per_s": None}]) == "at up to 64 at once"
    )
    one = {"load": "people", "concurrency": 1}
    assert name_place([one]) == "with 1 person"


@pytest.mark.faults
def test_people_are_people_wherever_they_are_shown(
    people, tmp_path, capsys, monkeypatch
):
    """Only what streamed at once, which the server's slots bound, is called so."""
    database = connect(people)
    for sql in (PEOPLE, "UPDATE level SET slept_s = 0"):
        database.execute(sql)
    database.close()
    monkeypatch.chdir(tmp_path)
    db = ["--db", str(people)]
    names = (
        "average_throughput,ttfb_analysis_32,timeline,performance_metrics"
    )
    with drawing_nothing():
        assert analyze.main([*db, "--charts", names, "--share"]) == 0
    assert (
        analyze.main([*db, "--charts", "none", "--fail-if", "ttft>0.001"])
        == 1
    )
    assert analyze.main([*db, "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    said += (
        (tmp_path / "data" / "report.html")
        .read_text()
        .split("<script>")[0]
    )
    said += next((tmp_path / "data").rglob("card.md")).read_text()
    lower = said.lower()
    for known in ("ran at once", "requests at once, people"):
        lower = lower.replace(known, "")
    found = re.findall(".{40}at once.{20}", lower)
    assert found == []
    assert "people  TOKENS/S of all".lower() in lower
    assert "failed: ttft>0.001 with 8 people" in lower
    assert "people served" in lower and "| people | " in lower


def test_a_chart_counts_people(people):
    database = connect(people)
    database.execute(PEOPLE)
    study = selection.choose(database, [], [])[0]
    chart = next(c for c in CHARTS if c.name == "average_throughput")
    text = json.dumps(chart.draw(database, study))
    database.close()
    assert '"title": "people"' in text and "at once" not in text


def test_work_for_who_left_is_said_beside_them(people):
    with_counter = PEOPLE + ", patience_s = 5, wasted_tokens = 7"
    left = (
        "UPDATE request SET status = 'cancelled', abandoned = 1"
        " WHERE id IN (SELECT max(id) FROM request GROUP BY level_id)"
    )
    _, said = read(people, with_counter, left)
    assert (
        "1 of 2 left without a first token after 5 s; "
        "the server generated 7 tokens for nobody" in said
    )


def test_what_is_on_its_way_when_people_leave_is_no_caveat(people):
    left = (
        "UPDATE request SET status = 'cancelled', abandoned = 1,"
        " output_tokens = 0 WHERE number = 1"
    )
    for wasted, said in ((10, 0), (60, 3)):
        with_counter = f"{PEOPLE}, wasted_tokens = {wasted}"
        study, _ = read(people, with_counter, left)
        seen = [caveat.seen for caveat in find_caveats(study)]
        assert sum("for nobody, " in text for text in seen) == said


def test_the_numbers_of_a_sentence_are_of_the_same_requests(results):
    """8 completed, of which 6 were asked in the steady part: waits are of these."""
    made_up_results.write(results, levels=(8,), slots=8, rate=200.0)
    study, said = read(
        results,
        PEOPLE,
        "UPDATE request SET due_ns = sent_ns + number",
        """UPDATE level SET steady_start_ns = started_ns, steady_end_ns =
        (SELECT due_ns FROM request WHERE level_id = level.id AND number = 6)""",
    )
    (level,) = study.levels
    assert (level["completed"], level["judged_completed"]) == (8, 6)
    assert "(6 requests of the steady part, replies of" in said
    assert "6 of 6 of the steady part got at least 10 tokens/s" in said
    assert "they are served? 6 of 6" in said
