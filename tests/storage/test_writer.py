"""The writer: what it promises when the file is shared, locked, full or killed."""

import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ollama_bench.run.record import RunRecord
from ollama_bench.storage import connection
from ollama_bench.storage import writer as writer_module
from ollama_bench.storage.results_file import (
    ResultsError,
    is_results_file,
)
from ollama_bench.storage.writer import Writer
from tests.storage.rows import count
from tests.support.beginnings import RUN

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("closed")


def test_a_locked_file_says_so_and_rows_wait_for_the_lock(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(connection, "OPEN_PATIENCE_S", 0.2)
    path = tmp_path / "results.db"
    said = []
    with Writer(path, say=said.append) as writer:
        other = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        # breaks a rule; must not stop the rest
        writer.add("event", {"run_id": None, "kind": "x"})
        threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
        run_id = writer.insert("run", RUN)
        assert run_id == 1 and any("locked" in line for line in said)
    assert writer.rejected == 1 and count(path, "run") == 1


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "OPEN_PATIENCE_S", 0.1)
    monkeypatch.setattr(writer_module, "WRITE_PATIENCE_S", 0.3)
    monkeypatch.setattr(writer_module, "READER_PATIENCE_MS", 100)


def locked(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def soon(true, patience_s=20):
    until = time.monotonic() + patience_s
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    assert true()


@pytest.mark.faults
def test_patience_ends_and_says_what_to_do(tmp_path, impatient):
    path = tmp_path / "results.db"
    writer = Writer(path, say=lambda text: None)
    other = locked(path)
    for attempt in (
        lambda: writer.insert("run", RUN),
        lambda: writer.insert("run", RUN),
        writer.flush,
    ):
        with pytest.raises(
            ResultsError, match="locked.*end the program"
        ) as caught:
            attempt()
        assert caught.value is writer.failure and "\n" not in str(
            caught.value
        )
    other.execute("ROLLBACK")
    with pytest.raises(ResultsError):  # having given up is for good
        writer.insert("run", RUN)
    writer.close()
    with pytest.raises(
        ResultsError, match="locked"
    ):  # and nobody waits for ever for a thread that has gone
        writer.flush()


def test_what_waited_in_vain_is_written_when_the_lock_goes(
    tmp_path, impatient, monkeypatch
):
    monkeypatch.setattr(writer_module, "ALIVE_EVERY_S", 0.2)
    path = tmp_path / "results.db"
    writer = Writer(path, say=lambda text: None)
    writer.run_id = writer.insert("run", RUN)
    other = locked(path)
    writer.add("event", {"run_id": 1, "kind": "before it gave up"})
    soon(lambda: writer.failure)
    writer.add("event", {"run_id": 1, "kind": "after"})
    writer.update("run", 1, {"status": "interrupted"})
    other.execute("ROLLBACK")
    soon(lambda: count(path, "event") == 2)
    soon(lambda: count(path, "run WHERE status = 'interrupted'") == 1)
    writer.add("event", {"run_id": 1, "kind": "last"})
    writer.close()
    assert count(path, "event") == 3


def test_what_could_not_be_written_even_at_the_end_is_counted(
    tmp_path, impatient, monkeypatch
):
    monkeypatch.setattr(writer_module, "KEPT_ENTRIES", 5)
    path = tmp_path / "results.db"
    writer = Writer(path, say=lambda text: None)
    run_id = writer.insert("run", RUN)
    other = locked(path)
    for _ in range(9):  # of which memory has room for five
        writer.add("event", {"run_id": run_id, "kind": "x"})
    soon(lambda: writer.failure)
    with pytest.raises(
        ResultsError, match="locked.*; 9 entries could not be written$"
    ):
        writer.close()
    other.execute("ROLLBACK")
    assert count(path, "event") == 0


def test_a_change_of_a_row_that_is_not_there_is_rejected_and_nothing_else(
    tmp_path,
):
    path, said = tmp_path / "results.db", []
    with Writer(path, say=said.append) as writer:
        run_id = writer.insert("run", RUN)
        for row_id in (run_id, 77, 78):
            writer.update("run", row_id, {"status": "finished"})
        writer.add("event", {"run_id": run_id, "kind": "x"})
        writer.flush()
        assert (
            writer.rejected == 2
            and any("a row of run" in line for line in said)
            and len(said) == 1
        )
    assert (
        count(path, "run WHERE status = 'finished'")
        == count(path, "event")
        == 1
    )


def test_whatever_a_row_does_the_thread_lives(tmp_path, monkeypatch):
    def die(*_):
        raise StopIteration

    said = []
    with Writer(tmp_path / "results.db", say=said.append) as writer:
        monkeypatch.setattr(writer, "_insert_one", die)
        for _ in range(2):
            with pytest.raises(ResultsError, match="rejected"):
                writer.insert("run", RUN)
        writer.add("run", RUN)
        writer.flush()
        assert writer.rejected == 2
    assert count(tmp_path / "results.db", "run") == 1


def test_what_breaks_a_rule_is_told_as_a_results_error(tmp_path):
    level = {
        "run_id": 9,
        "model": "m",
        "concurrency": 1,
        "status": "running",
    }
    with (
        Writer(tmp_path / "results.db", say=lambda text: None) as writer,
        pytest.raises(ResultsError, match="FOREIGN KEY"),
    ):
        writer.insert("level", level)


def test_rows_are_there_within_a_second_without_a_flush(tmp_path):
    path = tmp_path / "results.db"
    with Writer(path) as writer:
        writer.add("run", RUN)
        writer.add_many("run", tuple(RUN), [tuple(RUN.values())] * 3)
        time.sleep(1.2)
        assert count(path, "run") == 4
        writer.update("run", 2, {"status": "finished"})
        writer.flush()
        assert count(path, "run WHERE status = 'finished'") == 1
    assert (
        not os.path.exists(f"{path}-wal")
        or os.path.getsize(f"{path}-wal") == 0
    )


def test_two_writers_share_a_file(tmp_path):
    path = tmp_path / "results.db"
    with Writer(path) as one, Writer(path) as two:
        ids = [writer.insert("run", RUN) for writer in (one, two) * 20]
    assert sorted(ids) == list(range(1, 41))


KILLED = """
import sys, time
from ollama_bench.storage.writer import Writer
writer = Writer(sys.argv[1])
for i in range(1000):
    row = {"source": "bench", "status": "running", "started_unix": i, "arguments": "{}"}
    writer.add("run", {**row, "tool_version": "0"})
    print(i, flush=True)
    time.sleep(0.01)
"""


def test_kill_9_costs_at_most_the_last_second(tmp_path):
    path = tmp_path / "results.db"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    seen = []
    while len(seen) < 200:
        seen.append((time.monotonic(), int(child.stdout.readline())))
    child.kill()
    killed_at = time.monotonic()
    child.wait()
    child.stdout.close()
    connection = sqlite3.connect(path)
    stored = {
        int(row[0])
        for row in connection.execute("SELECT started_unix FROM run")
    }
    assert (
        connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    )
    assert {i for at, i in seen if at < killed_at - 1.0} <= stored


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0,
    reason="needs root to mount a small disk",
)
def test_a_full_disk_is_one_line_and_loses_nothing_committed(
    tmp_path, monkeypatch
):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk],
        capture_output=True,
    ).returncode:
        pytest.skip("this machine does not let us mount")
    monkeypatch.setattr(writer_module, "WRITE_PATIENCE_S", 0.5)
    said = []
    try:
        writer = Writer(disk / "results.db", say=said.append)
        first = writer.insert("run", RUN)
        with pytest.raises(ResultsError, match="full"):
            for _ in range(100):
                writer.insert("run", RUN | {"arguments": "x" * 20_000})
        # of which only the small ones may have room
        for number in range(40):
            writer.add(
                "event",
                {
                    "run_id": first,
                    "kind": "x",
                    "detail": "y" * (100_000 if number % 2 else 1),
                },
            )
        with pytest.raises(
            ResultsError,
            match=r"full.*make room on its disk; \d\d entries could not be written$",
        ):
            writer.close()
        assert len(said) == 1 and "full" in said[0]
        connection = sqlite3.connect(disk / "results.db")
        assert (
            connection.execute("PRAGMA integrity_check").fetchone()[0]
            == "ok"
        )
        assert (
            connection.execute(
                "SELECT count(*) FROM run WHERE id = ?", (first,)
            ).fetchone()[0]
            == 1
        )
        connection.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def read_live(path):
    with contextlib.closing(sqlite3.connect(path)) as reader:
        return reader.execute("SELECT live FROM run").fetchone()[0]


def test_what_goes_on_is_stored_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "COMMIT_EVERY_S", 0.05)
    monkeypatch.setattr(writer_module, "LIVE_EVERY_S", 0.05)
    path, told = tmp_path / "results.db", itertools.count()
    with Writer(path) as writer:
        writer.run_id = writer.insert("run", RUN)
        began = time.monotonic()
        writer.describe_now = lambda: str(next(told))
        for _ in range(100):  # not with every flush
            writer.flush()
        soon(lambda: int(read_live(path) or 0) >= 4)
        assert time.monotonic() - began >= 0.2


def test_an_error_in_what_is_told_stops_no_row(tmp_path):
    path, asked = tmp_path / "results.db", threading.Event()

    def fail():
        asked.set()
        raise RuntimeError

    with Writer(path) as writer:
        writer.run_id = writer.insert("run", RUN)
        writer.describe_now = fail
        assert asked.wait(20)
        writer.insert("run", RUN)
    assert count(path, "run") == 2 and writer.rejected == 0


def test_a_run_that_has_ended_tells_nothing(tmp_path):
    path = tmp_path / "results.db"
    with Writer(path) as writer:
        run_id = writer.run_id = writer.insert("run", RUN)
        writer.describe_now = lambda: "now"
        soon(lambda: read_live(path) == "now")
        RunRecord(run_id, writer, str(path), 0, 0.0).close("finished")
        assert read_live(path) is None
    assert read_live(path) is None


def test_a_new_file_is_known_by_its_first_bytes_while_it_is_written(
    tmp_path,
):
    with Writer(tmp_path / "results.db") as writer:
        assert is_results_file(writer.path)
