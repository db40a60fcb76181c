"""People who think, from the command line to the sentence."""

import json

import pytest

from tests.run.programs import QUICK, rows, run


def run_people(fast, folder):
    """A run of 3 and 6 people of which each request left before its level ended."""
    # on a busy machine this client may be too late for the last one, and says so
    for number in range(4):
        path = folder / str(number)
        path.mkdir()
        code, out, err = run(
            "3,6",
            "--think-time",
            "0.1:exponential",
            "--tokens",
            "10",
            "--duration",
            "2",
            "--host",
            fast.url,
            *QUICK,
            cwd=path,
        )
        unsent = "SELECT 1 FROM request WHERE sent_ns IS NULL"
        if code or not rows(path, unsent):
            break
    return path, code, out, err


@pytest.mark.faults
def test_people_ask_think_and_are_said_to_be_people(fast, tmp_path):
    tmp_path, code, out, err = run_people(fast, tmp_path)
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert (
        "people who think 0.1 s (exponential): each level lasts 2 s"
        in said
    )
    assert "level 1 of 2, 3 people" in said
    assert "PEOPLE" in out and "LEVEL" not in out and "3 people: " in out
    assert "6 people who think 100 ms get at least 10 tokens/s and" in said
    assert " at once" not in said and "steady for " in said
    levels = rows(tmp_path, "SELECT * FROM level_summary")
    for level, people in zip(levels, (3, 6), strict=True):
        assert level["load"] == "people"
        assert level["concurrency"] == people
        assert level["completed"] == level["requests"] > 4 * people
        assert level["in_flight_mean"] < level["in_flight_peak"] <= people
        assert (level["think_time_s"], level["think_law"]) == (
            0.1,
            "exponential",
        )
        # a mean of dozens of exponential times
        assert 0.05 < level["think_mean_s"] < 0.2
        assert level["never_sent"] is level["pool_waits"] is None
        # those who are served alike are worth fewer
        assert level["good_ratio"] == level["good_ratio_high"] == 1
        assert (
            0.05
            <= level["good_ratio_low"]
            < 0.05 ** (1 / level["good_requests"]) + 1e-9
        )
        # each person lives its own times
        assert 0.6 < level["people_law"] < 1.6
    (first,) = rows(
        tmp_path,
        "SELECT count(DISTINCT person) AS people, min(due_ns - started_ns) AS early,"
        " max(due_ns - started_ns) AS late FROM request"
        " JOIN level ON level.id = level_id"
        " WHERE level_id = 2 AND request.number <= 3",
    )
    # nobody asks at the start together with the others
    assert first["people"] >= 2 and first["late"] - first["early"] > 10**6


def test_each_turn_of_a_conversation_is_due_when_its_person_has_thought(
    fast, tmp_path
):
    prompts = tmp_path / "talks.jsonl"
    talk = {"turns": ["Hello", "And then?", "Thanks"], "tokens": 9}
    prompts.write_text(json.dumps(talk) + "\n", "utf-8")
    code, out, err = run(
        "2",
        "--think-time",
        "0.2:fixed",
        "--duration",
        "2",
        "--prompts",
        prompts,
        "--host",
        fast.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    turns = rows(tmp_path, "SELECT * FROM turn_summary ORDER BY turn")
    assert [row["turn"] for row in turns] == [1, 2, 3]
    asked = rows(
        tmp_path,
        "SELECT person, turn, due_ns, sent_ns, ended_ns, think_s,"
        " lag(turn) OVER life AS turn_before,"
        " lag(ended_ns) OVER life AS ended_before FROM request"
        " WINDOW life AS (PARTITION BY person ORDER BY due_ns)",
    )
    later = [row for row in asked if row["turn_before"] is not None]
    assert len(later) > 8
    for row in later:
        assert row["turn"] == row["turn_before"] % 3 + 1
        thought_s = (row["due_ns"] - row["ended_before"]) / 1e9
        assert thought_s == pytest.approx(0.2, abs=1e-5)
        assert row["think_s"] == 0.2
        assert row["sent_ns"] >= row["due_ns"]


@pytest.mark.faults
def test_the_same_seed_gives_the_same_think_times(fast, tmp_path):
    for _ in range(2):
        code, _, _ = run(
            "3",
            "--think-time",
            "0.1",
            "--duration",
            "1.5",
            "--seed",
            "7",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )
        assert code == 0
    lives = [
        rows(
            tmp_path,
            "SELECT person, think_s FROM (SELECT *, row_number() OVER"
            " (PARTITION BY person ORDER BY due_ns) AS place FROM request"
            f" WHERE level_id = {level}) WHERE place <= 3"
            " ORDER BY person, place",
        )
        for level in (1, 2)
    ]
    assert lives[0] == lives[1]
    assert len({row["think_s"] for row in lives[0]}) == len(lives[0]) >= 6


@pytest.mark.faults
def test_who_leaves_is_counted_and_never_good(sim, tmp_path):
    slow = sim(
        "--profile",
        "exact",
        "--ttft",
        "50",
        "--itl",
        "10",
        "--tokens",
        "40",
        "--slots",
        "1",
    )
    code, out, _ = run(
        "4",
        "--think-time",
        "0.1:fixed",
        "--patience",
        "0.25",
        "--duration",
        "2",
        "--host",
        slow.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert level["abandoned"] > 3 and level["completed"] > 2
    assert level["abandoned"] == level["errors"]
    assert level["patience_s"] == 0.25
    (judged,) = rows(
        tmp_path,
        "SELECT count(*) AS n, sum(status = 'completed') AS completed,"
        " sum(abandoned) AS abandoned"
        " FROM judged_request JOIN request ON id = request_id",
    )
    assert judged["abandoned"] > 0
    assert level["good_requests"] == judged["completed"]
    assert level["undecided_requests"] == 0
    assert level["good_ratio"] == judged["completed"] / judged["n"]
    # some had the headers of their reply already: a row of their own
    left = rows(
        tmp_path, "SELECT * FROM outcomes WHERE status = 'abandoned'"
    )
    assert sum(row["requests"] for row in left) == level["abandoned"]
    said = " ".join(out.split())
    assert "who has no first token after 0.25 s leaves" in said
    assert "Take fewer people, or raise --patience" in said
