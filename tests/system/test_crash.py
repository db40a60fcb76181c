"""Nothing that ended is lost to kill -9, and no row breaks a rule."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer
from tests.support.beginnings import QUICK, RUN
from tests.system.programs import (
    assert_sound,
    finish,
    long_dead,
    query,
    start,
    wait_until,
)

LONGEST_LOSS_NS = 10**9  # what ended a second before a kill is there


KILLS, RESUMED = 50, 6
EARLY = 5  # one kill of so many counts from the program's start


@pytest.mark.faults
def test_killed_at_fifty_moments(steady, tmp_path):
    """A request that ended a second before the kill is there; the server's log is the witness."""
    chance = random.Random(7)
    jobs = [(number, chance.uniform(0.0, 3.5)) for number in range(KILLS)]
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                lambda job: kill_one(
                    tmp_path / str(job[0]),
                    steady,
                    job[1],
                    from_start=job[0] % EARLY == 0,
                ),
                jobs,
            )
        )
    # some were killed in the middle of a level
    assert sum(in_flight for in_flight, _ in found) > 0
    # and many had ended long enough before
    assert sum(witnessed for _, witnessed in found) > KILLS


ASKED = ["1,2,4", "--repeat", "3"]


def kill_one(folder, steady, after_s, *, from_start):
    """How many requests were in flight in the file, and how many the server had ended in time.

    The time counts from the program's start, or from the first request's
    end: how long a machine takes to start a program says nothing here.
    """

    def log():
        return [
            entry
            for entry in steady.log()
            if f"of run {folder.name}." in entry["prompt_prefix"]
        ]

    folder.mkdir()
    asked = [
        *ASKED,
        "--prompt",
        f"of run {folder.name}.",
        "--host",
        steady.url,
        *QUICK,
    ]
    process = start(*asked, cwd=folder)
    if not from_start:
        wait_until(log)
    time.sleep(after_s)
    process.kill()
    killed_ns = time.perf_counter_ns()  # the simulator's clock too
    process.communicate()
    time.sleep(0.5)  # for the log to be written
    witnessed = sum(
        entry["outcome"] == "done"
        and entry["end_ns"] < killed_ns - LONGEST_LOSS_NS
        for entry in log()
    )
    path = folder / "results.db"
    if not path.exists():
        assert witnessed == 0
        return 0, 0
    # the file is ours and whole, or opening raises
    database = connect(path)
    database.close()
    long_dead(path)
    assert_sound(path)
    stored = dict(
        query(path, "SELECT status, count(*) FROM request GROUP BY status")
    )
    assert (
        set(stored) <= {"completed", "in_flight"}
        and stored.get("completed", 0) >= witnessed
    )
    replies = query(
        path,
        "SELECT count(*) FROM request "
        "WHERE status = 'completed' AND id NOT IN (SELECT request_id FROM reply)",
    )
    assert replies == [(0,)]  # a request and its text come together
    if int(folder.name) < RESUMED:
        code, out, _ = finish(start(*asked, "--resume", cwd=folder))
        assert code == 0, out
        done = query(
            path,
            "SELECT concurrency, repeat, completed FROM level_summary "
            "WHERE status = 'finished' ORDER BY repeat, concurrency",
        )
        assert done == [
            (level, repeat, level)
            for repeat in (1, 2, 3)
            for level in (1, 2, 4)
        ]
        assert_sound(path)
    return stored.get("in_flight", 0), witnessed


def test_a_row_that_cannot_be_stored_is_no_end_of_the_writer(tmp_path):
    said = []
    with Writer(tmp_path / "results.db", say=said.append) as writer:
        run_id = writer.insert("run", RUN)
        for detail in ("a", "\ud800", 10**30, object(), "b"):
            writer.add(
                "event", {"run_id": run_id, "kind": "x", "detail": detail}
            )
        writer.flush()
    assert query(tmp_path / "results.db", "SELECT detail FROM event") == [
        ("a",),
        ("b",),
    ]
    assert writer.rejected == 3 and all("\n" not in line for line in said)
