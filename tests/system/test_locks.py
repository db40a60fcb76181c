"""Locks, other programs, two runs at once; whatever ends a run, its row is closed."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.support.beginnings import QUICK
from tests.system.programs import (
    IMPATIENT,
    ROOT,
    assert_one_line,
    assert_sound,
    finish,
    hold,
    long_dead,
    posix,
    query,
    start,
    start_impatient,
    wait_for,
    wait_until,
)

pytestmark = pytest.mark.faults


def test_a_lock_longer_than_the_patience_ends_the_run_and_loses_what_it_must(
    slow, tmp_path
):
    process = start_impatient(
        "1,2", "--repeat", "4", "--host", slow.url, *QUICK, cwd=tmp_path
    )
    wait_for(process, "level 2 of 8")
    blocker = hold(tmp_path / "results.db")
    code, _, err = finish(process, 30)  # it ends while the lock is held
    blocker.close()
    assert code == 1
    assert_one_line(
        err,
        "database is locked",
        "end the program that holds it",
        "entries could not be written",
    )
    assert query(
        tmp_path / "results.db", "SELECT status FROM level WHERE id = 1"
    ) == [("finished",)]
    assert_sound(tmp_path / "results.db")
    long_dead(tmp_path / "results.db")
    code, out, _ = finish(
        start(
            "1,2",
            "--repeat",
            "4",
            "--resume",
            "--host",
            slow.url,
            *QUICK,
            cwd=tmp_path,
        )
    )
    assert code == 0 and "of 8 levels are measured" in out
    assert query(
        tmp_path / "results.db",
        "SELECT sum(completed) FROM level_summary WHERE status = 'finished'",
    ) == [(12,)]


def test_a_lock_that_goes_while_the_run_ends_costs_nothing(slow, tmp_path):
    """The writer has given up, and what it kept is written when it closes."""
    late = (
        "close = bench.Writer.close\n"
        "bench.Writer.close = lambda self: (sys.stdin.readline(), close(self))"
    )
    code = IMPATIENT.format(
        root=str(ROOT),
        more=late,
        arguments=["1,3", "--host", slow.url, *QUICK],
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(process, "3 streaming")
    blocker = hold(tmp_path / "results.db")
    time.sleep(5)
    blocker.execute("ROLLBACK")
    blocker.close()
    out, err = process.communicate("go on\n", timeout=30)
    assert process.returncode == 1 and "Traceback" not in err
    assert_one_line(err, "database is locked")
    assert "could not be written" not in err
    assert query(
        tmp_path / "results.db",
        "SELECT count(*), min(status), max(status) FROM request",
    ) == [(4, "completed", "completed")]
    assert query(tmp_path / "results.db", "SELECT status FROM run") == [
        ("interrupted",)
    ]


def test_a_run_that_another_program_deletes_ends_in_one_line(
    slow, tmp_path
):
    process = start_impatient(
        "1,2,3", "--host", slow.url, *QUICK, cwd=tmp_path
    )
    wait_for(process, "2 streaming")
    with contextlib.closing(
        sqlite3.connect(
            tmp_path / "results.db", timeout=20, isolation_level=None
        )
    ) as other:
        other.execute("DELETE FROM run")
    code, _, err = finish(process, 30)
    assert code == 1
    assert_one_line(err, "another program has deleted it")


@posix
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_moved_or_replaced_ends_the_run_in_one_line_and_keeps_all_of_it(
    slower, tmp_path, is_replaced
):
    path = tmp_path / "results.db"
    process = start("1,2,3", "--host", slower.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 3")
    wait_until(
        lambda: (
            query(path, "SELECT count(*) FROM request WHERE level_id = 2")
            == [(2,)]
        )
    )
    path.rename(tmp_path / "moved.db")
    if is_replaced:
        path.write_text("something else")
    code, _, err = finish(process, 30)
    assert code == 1
    assert_one_line(err, "results.db", "deleted, moved or replaced")
    assert query(
        tmp_path / "moved.db", "SELECT concurrency, status FROM level"
    ) == [
        (1, "finished"),
        (2, "interrupted"),
    ]
    assert query(
        tmp_path / "moved.db",
        "SELECT count(*), sum(status = 'in_flight'), (SELECT status FROM run) FROM request",
    ) == [(3, 0, "interrupted")]
    assert path.exists() == is_replaced and (
        not is_replaced or path.read_text() == "something else"
    )


def test_requests_that_another_program_deletes_are_told_of(slow, tmp_path):
    process = start_impatient(
        "2", "--host", slow.url, *QUICK, cwd=tmp_path
    )
    wait_for(process, "2 streaming")
    with contextlib.closing(
        sqlite3.connect(
            tmp_path / "results.db", timeout=20, isolation_level=None
        )
    ) as other:
        other.execute("DELETE FROM request")
    code, out, err = finish(process, 30)
    assert err == "" and "rows that were rejected" in out and code == 0


@pytest.mark.parametrize(
    "where",
    [
        "bench_run.machine.remember",
        "bench_run.Monitor.__init__",
        "bench_run.Targets.__init__",
    ],
)
def test_an_error_before_the_first_level_closes_the_run(
    steady, tmp_path, where
):
    broken = (
        "from ollama_bench.run import bench_run\n"
        "def broken(*_, **__): raise bench.RunError('no such luck')\n"
        f"{where} = broken"
    )
    arguments = [
        argument for argument in QUICK if argument != "--no-monitor"
    ]
    code, _, err = finish(
        start_impatient(
            "1",
            "--host",
            steady.url,
            *arguments,
            cwd=tmp_path,
            more=broken,
        )
    )
    assert (code, err) == (1, "bench.py: no such luck\n")
    assert query(
        tmp_path / "results.db", "SELECT status, ended_ns > 0 FROM run"
    ) == [("failed", 1)]


# LOCKED_S=30: by hand
@pytest.mark.parametrize(
    "locked_s", [float(os.environ.get("LOCKED_S", 3))]
)
def test_a_locked_file_is_waited_for_and_nothing_is_lost(
    slow, tmp_path, locked_s
):
    process = start(
        "1,2", "--repeat", "2", "--host", slow.url, *QUICK, cwd=tmp_path
    )
    wait_for(process, "level 2 of 4")
    blocker = hold(tmp_path / "results.db")
    time.sleep(locked_s)
    blocker.execute("COMMIT")
    blocker.close()
    code, out, err = finish(process, 60 + locked_s)
    assert code == 0 and len(err.splitlines()) <= 1
    assert query(
        tmp_path / "results.db",
        "SELECT count(*), min(status), max(status) FROM request",
    ) == [(6, "completed", "completed")]
    assert_sound(tmp_path / "results.db")


def test_two_runs_and_two_readers_at_once(slow, tmp_path):
    processes = [
        start(
            "1,2,3",
            "--label",
            label,
            "--host",
            slow.url,
            *QUICK,
            cwd=tmp_path,
        )
        for label in "ab"
    ]
    for process in processes:
        wait_for(process, "level 1 of 3")
    analyze = [
        subprocess.run(
            [sys.executable, str(ROOT / "analyze.py"), "--charts", "none"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for _ in range(2)
    ]
    reader = sqlite3.connect(
        f"file:{tmp_path / 'results.db'}?mode=ro", uri=True
    )
    reader.execute("BEGIN")
    # as Datasette does, and holds it
    reader.execute("SELECT count(*) FROM request").fetchone()
    for process in processes:
        code, _, err = finish(process)
        assert (code, err) == (0, "")
    reader.close()
    assert all("Traceback" not in done.stderr for done in analyze)
    assert query(
        tmp_path / "results.db",
        "SELECT label, sum(completed) "
        "FROM level_summary JOIN run ON run.id = run_id GROUP BY label",
    ) == [("a", 6), ("b", 6)]
    assert_sound(tmp_path / "results.db")
