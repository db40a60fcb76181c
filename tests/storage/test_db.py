"""db.py: what a results file promises when it is opened, shared, full, foreign or killed."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ollama_bench.storage import db
from ollama_bench.storage import schema

RUN = {
    "source": "bench",
    "status": "running",
    "started_unix": 1e9,
    "arguments": "{}",
    "tool_version": "0",
}


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """Closes every connection that a test opened."""
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda *arguments, **options: opened.append(connect(*arguments, **options)) or opened[-1],
    )
    yield
    for connection in opened:
        connection.close()


def count(path, table):
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return found


def test_a_new_file_has_every_table_and_view_of_the_schema(tmp_path):
    database = db.connect(tmp_path / "results.db")
    assert {"run", "level", "request", "chunk", "power_sample"} <= set(database.table_names())
    assert {"level_summary", "request_summary", "energy_summary"} <= set(database.view_names())
    assert database.conn.execute("PRAGMA user_version").fetchone()[0] == db.VERSION
    assert database.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert database.conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_opening_again_changes_nothing(tmp_path):
    path = tmp_path / "results.db"
    db.connect(path).conn.close()
    before = sqlite3.connect(path).execute("PRAGMA schema_version").fetchone()
    db.connect(path).conn.close()
    assert sqlite3.connect(path).execute("PRAGMA schema_version").fetchone() == before


def test_a_table_with_other_comments_is_the_same_table(tmp_path):
    """Or each opening of an older file would make its views anew and want the write lock for it."""
    database = db.connect(tmp_path / "results.db")
    database.execute("PRAGMA writable_schema = ON")
    database.execute(
        "UPDATE sqlite_master SET sql = replace(sql, 'one piece of streamed text', 'other words') WHERE name = 'chunk'"
    )
    database.close()
    again = db.connect(tmp_path / "results.db")
    assert "other words" in again["chunk"].schema and schema.is_current(again.conn)
    again.execute("DROP VIEW outcomes")
    assert not schema.is_current(again.conn)


def test_views_of_another_version_are_renewed(tmp_path):
    path = tmp_path / "results.db"
    database = db.connect(path)
    database.conn.executescript("DROP VIEW outcomes; CREATE VIEW outcomes AS SELECT 1 AS old")
    database.conn.close()
    assert "status" in [c.name for c in db.connect(path)["outcomes"].columns]


def test_reading_lays_its_own_views_over_and_writes_nothing(tmp_path):
    path = tmp_path / "results.db"
    database = db.connect(path)
    database.conn.executescript("DROP VIEW outcomes; CREATE VIEW outcomes AS SELECT 1 AS old")
    database.conn.close()
    reader = db.connect(path, readonly=True)
    names = [row[0] for row in reader.conn.execute("SELECT * FROM outcomes").description]
    assert "status" in names
    with pytest.raises(sqlite3.OperationalError):
        reader.conn.execute("DELETE FROM run")


def bad_files(tmp_path):
    text = tmp_path / "text.db"
    text.write_text("hello, this is no database at all " * 40)
    foreign = tmp_path / "foreign.db"
    sqlite3.connect(foreign).executescript("CREATE TABLE cats (name)")
    newer = tmp_path / "newer.db"
    db.connect(newer).conn.execute("PRAGMA user_version = 99")
    return {
        text: "not an SQLite file",
        foreign: "not a results file",
        newer: "version 99",
        tmp_path: "is a folder",
        tmp_path / "no" / "x.db": "there is no folder",
    }


def test_files_that_cannot_be_used_are_named_in_one_line(tmp_path):
    for path, words in bad_files(tmp_path).items():
        with pytest.raises(db.ResultsError, match=words) as caught:
            db.connect(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(db.ResultsError, match="not there"):
        db.connect(tmp_path / "absent.db", readonly=True)
    assert not (tmp_path / "absent.db").exists()


def test_rows_of_a_killed_run_are_not_left_out_in_a_read_only_folder(tmp_path, monkeypatch):
    """Where the write-ahead log can't be read: SQLite would show the file as it was before."""
    path, connect = tmp_path / "results.db", sqlite3.connect
    writer = db.Writer(path)
    writer.insert("run", RUN)

    def refuse(*_):
        raise sqlite3.OperationalError("unable to open database file")

    def refused(name, *arguments, **options):
        if str(name).endswith("mode=ro"):
            return types.SimpleNamespace(
                execute=refuse,
                close=lambda: None,
                heed=lambda: None,
                checked=contextlib.nullcontext,
            )
        return connect(name, *arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", refused)
    monkeypatch.setattr(os, "access", lambda *_: False)  # of its folder
    with pytest.raises(db.ResultsError, match="results.db-wal that a read-only folder hides"):
        db.connect(path, readonly=True)
    writer.close()  # which folds it in
    assert db.connect(path, readonly=True)["run"].count == 1


def test_a_locked_file_says_so_and_rows_wait_for_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(db, "OPEN_PATIENCE_S", 0.2)
    path = tmp_path / "results.db"
    said = []
    with db.Writer(path, say=said.append) as writer:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        writer.add("event", {"run_id": None, "kind": "x"})  # breaks a rule; must not stop the rest
        threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
        run_id = writer.insert("run", RUN)
        assert run_id == 1 and any("locked" in line for line in said)
    assert writer.rejected == 1 and count(path, "run") == 1


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(db, "OPEN_PATIENCE_S", 0.1)
    monkeypatch.setattr(db, "WRITE_PATIENCE_S", 0.3)
    monkeypatch.setattr(db, "READER_PATIENCE_MS", 100)


def locked(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def soon(true, patience_s=20):
    until = time.monotonic() + patience_s
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    assert true()


def test_patience_ends_and_says_what_to_do(tmp_path, impatient):
    path = tmp_path / "results.db"
    writer = db.Writer(path, say=lambda text: None)
    other = locked(path)
    for attempt in (
        lambda: writer.insert("run", RUN),
        lambda: writer.insert("run", RUN),
        writer.flush,
    ):
        with pytest.raises(db.ResultsError, match="locked.*end the program") as caught:
            attempt()
        assert caught.value is writer.failure and "\n" not in str(caught.value)
    other.execute("ROLLBACK")
    with pytest.raises(db.ResultsError):  # having given up is for good
        writer.insert("run", RUN)
    writer.close()
    with pytest.raises(
        db.ResultsError, match="locked"
    ):  # and nobody waits for ever for a thread that has gone
        writer.flush()


def test_what_waited_in_vain_is_written_when_the_lock_goes(tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(db, "ALIVE_EVERY_S", 0.2)
    path = tmp_path / "results.db"
    writer = db.Writer(path, say=lambda text: None)
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


def test_what_could_not_be_written_even_at_the_end_is_counted(tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(db, "KEPT_ENTRIES", 5)
    path = tmp_path / "results.db"
    writer = db.Writer(path, say=lambda text: None)
    run_id = writer.insert("run", RUN)
    other = locked(path)
    for _ in range(9):  # of which memory has room for five
        writer.add("event", {"run_id": run_id, "kind": "x"})
    soon(lambda: writer.failure)
    with pytest.raises(db.ResultsError, match="locked.*; 9 entries could not be written$"):
        writer.close()
    other.execute("ROLLBACK")
    assert count(path, "event") == 0


def test_a_change_of_a_row_that_is_not_there_is_rejected_and_nothing_else(tmp_path):
    path, said = tmp_path / "results.db", []
    with db.Writer(path, say=said.append) as writer:
        run_id = writer.insert("run", RUN)
        for row_id in (run_id, 77, 78):
            writer.update("run", row_id, {"status": "finished"})
        writer.add("event", {"run_id": run_id, "kind": "x"})
        writer.flush()
        assert (
            writer.rejected == 2 and any("a row of run" in line for line in said) and len(said) == 1
        )
    assert count(path, "run WHERE status = 'finished'") == count(path, "event") == 1


def test_whatever_a_row_does_the_thread_lives(tmp_path, monkeypatch):
    def die(*_):
        raise StopIteration

    said = []
    with db.Writer(tmp_path / "results.db", say=said.append) as writer:
        monkeypatch.setattr(writer, "_insert_one", die)
        for _ in range(2):
            with pytest.raises(db.ResultsError, match="rejected"):
                writer.insert("run", RUN)
        writer.add("run", RUN)
        writer.flush()
        assert writer.rejected == 2
    assert count(tmp_path / "results.db", "run") == 1


def test_what_breaks_a_rule_is_told_as_a_results_error(tmp_path):
    with db.Writer(tmp_path / "results.db", say=lambda text: None) as writer:
        with pytest.raises(db.ResultsError, match="FOREIGN KEY"):
            writer.insert(
                "level", {"run_id": 9, "model": "m", "concurrency": 1, "status": "running"}
            )


def test_rows_are_there_within_a_second_without_a_flush(tmp_path):
    path = tmp_path / "results.db"
    with db.Writer(path) as writer:
        writer.add("run", RUN)
        writer.add_many("run", tuple(RUN), [tuple(RUN.values())] * 3)
        time.sleep(1.2)
        assert count(path, "run") == 4
        writer.update("run", 2, {"status": "finished"})
        writer.flush()
        assert count(path, "run WHERE status = 'finished'") == 1
    assert not os.path.exists(f"{path}-wal") or os.path.getsize(f"{path}-wal") == 0


def test_two_writers_share_a_file(tmp_path):
    path = tmp_path / "results.db"
    with db.Writer(path) as one, db.Writer(path) as two:
        ids = [writer.insert("run", RUN) for writer in (one, two) * 20]
    assert sorted(ids) == list(range(1, 41))


def test_a_new_file_is_opened_by_several_at_once(tmp_path):
    """Turning a new file to WAL is where SQLite does not wait by itself: of 40 such openings two or three met it."""

    def open_together(round_number):
        together, path = threading.Barrier(4), tmp_path / f"{round_number}.db"

        def open_one(_):
            together.wait(timeout=30)
            return db.connect(path).conn.execute("SELECT count(*) FROM run").fetchone()[0]

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(open_one, range(4)))

    assert [open_together(number) for number in range(40)] == [[0] * 4] * 40


def test_a_run_that_died_is_interrupted(tmp_path):
    path = tmp_path / "results.db"
    now = time.time()
    with db.Writer(path) as writer:
        dead = writer.insert("run", RUN | {"seen_unix": now - db.DEAD_AFTER_S - 60})
        alive = writer.insert("run", RUN | {"seen_unix": now})
        writer.insert(
            "level", {"run_id": dead, "model": "m", "concurrency": 1, "status": "running"}
        )
    reader = db.connect(path, readonly=True)
    shown = dict(reader.conn.execute("SELECT run_id, status FROM runs").fetchall())
    assert shown == {dead: "interrupted", alive: "running"}
    database = db.connect(path)
    assert [r["status"] for r in database["run"].rows] == ["interrupted", "running"]
    assert [r["status"] for r in database["level"].rows] == ["interrupted"]


KILLED = """
import sys, time
from ollama_bench.storage import db
writer = db.Writer(sys.argv[1])
for i in range(1000):
    writer.add("run", {"source": "bench", "status": "running", "started_unix": i, "arguments": "{}", "tool_version": "0"})
    print(i, flush=True)
    time.sleep(0.01)
"""


def test_kill_9_costs_at_most_the_last_second(tmp_path):
    path = tmp_path / "results.db"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(db.__file__),
    )
    seen = []
    while len(seen) < 200:
        seen.append((time.monotonic(), int(child.stdout.readline())))
    child.kill()
    killed_at = time.monotonic()
    child.wait()
    child.stdout.close()
    connection = sqlite3.connect(path)
    stored = {int(row[0]) for row in connection.execute("SELECT started_unix FROM run")}
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert {i for at, i in seen if at < killed_at - 1.0} <= stored


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root to mount a small disk"
)
def test_a_full_disk_is_one_line_and_loses_nothing_committed(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let us mount")
    monkeypatch.setattr(db, "WRITE_PATIENCE_S", 0.5)
    said = []
    try:
        writer = db.Writer(disk / "results.db", say=said.append)
        first = writer.insert("run", RUN)
        with pytest.raises(db.ResultsError, match="full"):
            for _ in range(100):
                writer.insert("run", RUN | {"arguments": "x" * 20_000})
        for number in range(40):  # of which only the small ones may have room
            writer.add(
                "event",
                {"run_id": first, "kind": "x", "detail": "y" * (100_000 if number % 2 else 1)},
            )
        with pytest.raises(
            db.ResultsError,
            match=r"full.*make room on its disk; \d\d entries could not be written$",
        ):
            writer.close()
        assert len(said) == 1 and "full" in said[0]
        connection = sqlite3.connect(disk / "results.db")
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert (
            connection.execute("SELECT count(*) FROM run WHERE id = ?", (first,)).fetchone()[0] == 1
        )
        connection.close()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "path", [":memory:", "", "file:a.db", "file::memory:?cache=shared", "a\0b"]
)
@pytest.mark.parametrize("readonly", [False, True])
def test_what_names_no_file_is_refused_in_one_line(tmp_path, monkeypatch, path, readonly):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        db.ResultsError, match="invalid --db .*: expected the name of a file"
    ) as caught:
        db.connect(path, readonly=readonly)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_reading_a_closed_file_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "results.db"
    with db.Writer(path) as writer:
        writer.insert("run", RUN)
    before = path.read_bytes()
    for _ in range(2):
        reader = db.connect(path, readonly=True)
        assert reader["run"].count == 1
        reader.close()
    assert [file.name for file in tmp_path.iterdir()] == [
        "results.db"
    ] and path.read_bytes() == before
    with db.connect(path).conn as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(db.ResultsError, match="version 99"):  # also where it is refused
        db.connect(path, readonly=True)
    assert [file.name for file in tmp_path.iterdir()] == ["results.db"]


def test_reading_takes_no_log_away_that_is_in_use(tmp_path):
    """Neither that of a run which began meanwhile, nor that of one which was killed."""
    path = tmp_path / "results.db"
    db.connect(path).close()
    reader = db.connect(path, readonly=True)
    with db.Writer(path) as writer:
        writer.insert("run", RUN)
        reader.close()
        assert os.path.getsize(f"{path}-wal") > 0
        writer.insert("run", RUN)
        copy = tmp_path / "killed.db"
        for ending in ("", "-wal"):
            (tmp_path / f"killed.db{ending}").write_bytes(Path(f"{path}{ending}").read_bytes())
    log = (tmp_path / "killed.db-wal").read_bytes()
    reader = db.connect(copy, readonly=True)
    assert reader["run"].count == count(path, "run") == 2
    reader.close()
    assert (tmp_path / "killed.db-wal").read_bytes() == log
