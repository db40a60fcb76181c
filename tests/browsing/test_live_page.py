"""The page of a running run and its state, as a program reads them."""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import time

import pytest

from ollama_bench.browsing import answering, live_rows
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.policy import POLICY
from ollama_bench.storage import connection
from ollama_bench.storage.results_file import ResultsError
from tests.support import made_up_results, running_run
from tests.support.datasette_server import load, plugged_in

HOSTILE = "</script><img src=x onerror=alert(1)>:7b"
LINKS = Links("results", "", "/results", "/results/-/query")


@pytest.fixture(scope="module")
def loop():
    with (
        plugged_in(),
        contextlib.closing(asyncio.new_event_loop()) as found,
    ):
        yield found


@pytest.fixture
def file(tmp_path):
    return tmp_path / "results.db"


@pytest.fixture
def ask(loop, file):
    """Ask for an address of a Datasette of results.db."""
    started = []

    def get(address):
        if not started:
            started.append(load().Datasette([str(file)]))
        [server] = started

        async def get_one():
            await server.invoke_startup()
            return await server.client.get(address)

        return loop.run_until_complete(get_one())

    yield get
    for server in started:
        for database in server.databases.values():
            database.close()


def read(file, run_id):
    """Return the state of a run."""
    text = answering.read_file(
        str(file),
        lambda database, links: live_rows.write_state(database, run_id),
        LINKS,
    )
    return json.loads(text)


def test_streams_that_have_not_ended_are_among_the_requests(file):
    state = read(file, running_run.write(file))
    shown = {
        row["number"]: (row["asked_s"], row["first_s"], row["ended_s"])
        for row in state["requests"]
    }
    assert shown == {
        1: (10.0, None, None),
        2: (10.0, 11.0, None),
        3: (10.0, 10.5, 12.5),
        4: (10.0, 11.0, 12.0),
    }
    assert (state["from_s"], state["to_s"]) == (10.0, 13.0)


def test_it_says_what_goes_on_and_how_far_it_is(file):
    state = read(file, running_run.write(file))
    assert state["doing"] == running_run.STATE["doing"] == state["said"]
    assert state["progress"] == 0.5 and state["finished"] == 1
    assert state["counts"] == "2 of 4 ended, 1 streaming, 1 waiting"
    figures = dict(state["figures"])
    assert figures["tokens/s, all"] == "40"
    assert figures["wait, median"] == "1 s"


def test_who_still_waits_counts_in_the_median_wait(file):
    level = running_run.STATE["level"]
    waiting = [[number, 10.0, None, None] for number in (1, 2, 3)]
    state = running_run.STATE | {"level": level | {"streams": waiting}}
    found = read(file, running_run.write(file, state=state))
    assert dict(found["figures"])["wait, median"] == "over 3 s"


def test_between_levels_the_last_one_stays_and_no_second_is_read_aloud(
    file,
):
    state = {"at_s": 20.0, "doing": "cooldown: 7 s left", "level": None}
    run_id = running_run.write(file, state=state)
    found = read(file, run_id)
    assert found["said"] == "cooldown"
    assert found["progress"] is None and found["counts"] == ""
    assert [row["number"] for row in found["requests"]] == [4]
    assert found["to_s"] == 12.0


@pytest.mark.parametrize("state", [None, {"doing": ""}])
def test_a_run_that_tells_nothing_yet_has_a_state(file, state):
    found = read(file, running_run.write(file, state=state))
    assert found["status"] == "running" and found["doing"] == ""


def test_a_level_by_time_is_as_far_as_its_time(file):
    level = running_run.STATE["level"]
    state = running_run.STATE | {
        "level": level | {"planned": None, "until_s": 12.0}
    }
    found = read(file, running_run.write(file, state=state))
    assert found["progress"] == 0.25


def test_the_newest_requests_of_a_long_level_are_told(file, monkeypatch):
    monkeypatch.setattr(live_rows, "MOST_SHOWN", 2)
    level = running_run.STATE["level"]
    state = running_run.STATE | {"level": level | {"streams": []}}
    found = read(file, running_run.write(file, state=state))
    assert found["count"] == 4 and len(found["requests"]) <= 2


def test_a_run_without_a_sign_of_life_is_told_and_then_interrupted(file):
    run_id = running_run.write(file, seen_unix=time.time() - 8)
    assert 7 < read(file, run_id)["silent_s"] < 12
    with contextlib.closing(sqlite3.connect(file)) as opened, opened:
        running_run.tell(opened, run_id, None, time.time() - 20)
    assert read(file, run_id)["status"] == "interrupted"


def test_a_file_of_an_older_version_has_a_state_as_well(file):
    run_id = running_run.write(file)
    with contextlib.closing(sqlite3.connect(file)) as opened:
        for (name,) in opened.execute(
            "SELECT name FROM sqlite_master WHERE type = 'view'"
        ).fetchall():
            opened.execute(f"DROP VIEW [{name}]")
        opened.execute("ALTER TABLE run DROP COLUMN live")
    assert read(file, run_id)["status"] == "running"


def test_nothing_of_a_running_run_becomes_markup(file, ask):
    state = running_run.STATE | {"doing": f"{HOSTILE}: level 1 of 2"}
    run_id = running_run.write(file, model=HOSTILE, state=state)
    page = ask(f"/results/-/run/{run_id}")
    assert page.headers["content-security-policy"] == POLICY
    assert "<img src=x" not in page.text and "live.js" in page.text
    assert "vega.js" not in page.text
    found = ask(f"/results/-/run/{run_id}/live")
    assert found.headers["content-type"] == "application/json"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.json()["doing"].startswith(HOSTILE)
    so_far = ask(f"/results/-/run/{run_id}/so-far")
    assert "tokens/s" in so_far.text and "<img src=x" not in so_far.text


def test_a_run_that_has_ended_has_the_finished_page(file, ask):
    run_id = running_run.write(file)
    running_run.end(file, run_id)
    page = ask(f"/results/-/run/{run_id}")
    assert "live.js" not in page.text and "vega.js" in page.text


def test_the_level_that_runs_is_not_among_those_so_far(file, ask):
    run_id = running_run.write(file)
    so_far = ask(f"/results/-/run/{run_id}/so-far").text
    assert so_far.count("<tr>") == 2


def refused(ask, run_id):
    answer = ask(f"/results/-/run/{run_id}/live")
    assert answer.status_code == 404
    return answer.json()["error"]


@pytest.mark.faults
def test_a_file_that_vanishes_or_is_replaced_is_a_message(file, ask):
    run_id = running_run.write(file)
    assert ask(f"/results/-/run/{run_id}/live").status_code == 200
    os.rename(file, file.with_suffix(".away"))
    assert "is not there" in refused(ask, run_id)
    shutil.copy(__file__, file)
    assert "is not an SQLite file" in refused(ask, run_id)
    os.remove(file)
    made_up_results.write(file, levels=(1,))
    assert "no such page" in refused(ask, run_id + 1)


def test_a_file_that_is_held_is_a_message(file, monkeypatch):
    monkeypatch.setattr(connection, "OPEN_PATIENCE_S", 0.1)
    run_id = running_run.write(file)
    with contextlib.closing(
        sqlite3.connect(file, isolation_level=None)
    ) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ResultsError, match="locked"):
            read(file, run_id)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"at_s": 1e999, "level": null}',
        '{"at_s": "x"}',
        '{"at_s": 1, "level": {"streams": [[1]]}}',
        '{"at_s": 1, "level": {"planned": "x"}}',
        '{"at_s": 1, "doing": 7}',
    ],
)
def test_a_run_that_tells_nonsense_is_a_message(file, text):
    run_id = running_run.write(file)
    with contextlib.closing(sqlite3.connect(file)) as opened, opened:
        opened.execute("UPDATE run SET live = ?", [text])
    with pytest.raises(ResultsError, match="run.live of run 1"):
        read(file, run_id)


def test_damage_that_a_query_meets_is_a_message(file, ask, monkeypatch):
    run_id = running_run.write(file)
    monkeypatch.setattr(live_rows, "RUN", "SELECT 1 FROM absent WHERE ?")
    assert "no such table" in refused(ask, run_id)
