"""Opening a results file: new, foreign, of another version, or only to read."""

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

from ollama_bench.storage import schema
from ollama_bench.storage.connection import DEAD_AFTER_S, connect
from ollama_bench.storage.results_file import VERSION, ResultsError
from ollama_bench.storage.writer import Writer
from tests.storage.rows import count
from tests.support.beginnings import RUN

pytestmark = pytest.mark.usefixtures("closed")


def test_a_new_file_has_every_table_and_view_of_the_schema(tmp_path):
    database = connect(tmp_path / "results.db")
    assert {"run", "level", "request", "chunk", "power_sample"} <= set(
        database.table_names()
    )
    assert {"level_summary", "request_summary", "energy_summary"} <= set(
        database.view_names()
    )
    assert (
        database.conn.execute("PRAGMA user_version").fetchone()[0]
        == VERSION
    )
    assert (
        database.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    )
    assert database.conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_opening_reads_no_module_any_more(tmp_path):
    """Root's Python may be out of reach of the user that root has become by then."""
    code = (
        "import sys\n"
        "from ollama_bench.storage.connection import connect\n"
        "sys.path[:] = []\n"
        "connect(sys.argv[1]).close()\n"
        "connect(sys.argv[1], readonly=True).close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "results.db"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_opening_again_changes_nothing(tmp_path):
    path = tmp_path / "results.db"
    connect(path).conn.close()
    before = (
        sqlite3.connect(path).execute("PRAGMA schema_version").fetchone()
    )
    connect(path).conn.close()
    assert (
        sqlite3.connect(path).execute("PRAGMA schema_version").fetchone()
        == before
    )


def test_a_table_with_other_comments_is_the_same_table(tmp_path):
    """Or each opening of an older file would make its views anew and want the write lock for it."""
    database = connect(tmp_path / "results.db")
    database.execute("PRAGMA writable_schema = ON")
    database.execute(
        "UPDATE sqlite_master SET sql = replace(sql, 'one piece of streamed text', 'other words')"
        " WHERE name = 'chunk'"
    )
    database.close()
    again = connect(tmp_path / "results.db")
    assert "other words" in again["chunk"].schema and schema.is_current(
        again.conn
    )
    again.execute("DROP VIEW outcomes")
    assert not schema.is_current(again.conn)


def test_views_of_another_version_are_renewed(tmp_path):
    path = tmp_path / "results.db"
    database = connect(path)
    database.conn.executescript(
        "DROP VIEW outcomes; CREATE VIEW outcomes AS SELECT 1 AS old"
    )
    database.conn.close()
    assert "status" in [c.name for c in connect(path)["outcomes"].columns]


def test_reading_lays_its_own_views_over_and_writes_nothing(tmp_path):
    path = tmp_path / "results.db"
    database = connect(path)
    database.conn.executescript(
        "DROP VIEW outcomes; CREATE VIEW outcomes AS SELECT 1 AS old"
    )
    database.conn.close()
    reader = connect(path, readonly=True)
    names = [
        row[0]
        for row in reader.conn.execute(
            "SELECT * FROM outcomes"
        ).description
    ]
    assert "status" in names
    with pytest.raises(sqlite3.OperationalError):
        reader.conn.execute("DELETE FROM run")


def bad_files(tmp_path):
    text = tmp_path / "text.db"
    text.write_text("hello, this is no database at all " * 40)
    foreign = tmp_path / "foreign.db"
    sqlite3.connect(foreign).executescript("CREATE TABLE cats (name)")
    newer = tmp_path / "newer.db"
    connect(newer).conn.execute("PRAGMA user_version = 99")
    return {
        text: "not an SQLite file",
        foreign: "not a results file",
        newer: "version 99",
        tmp_path: "is a folder",
        tmp_path / "no" / "x.db": "does not exist",
    }


def test_files_that_cannot_be_used_are_named_in_one_line(tmp_path):
    for path, words in bad_files(tmp_path).items():
        with pytest.raises(ResultsError, match=words) as caught:
            connect(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ResultsError, match="not there"):
        connect(tmp_path / "absent.db", readonly=True)
    assert not (tmp_path / "absent.db").exists()


def test_rows_of_a_killed_run_are_not_left_out_in_a_read_only_folder(
    tmp_path, monkeypatch
):
    """Where the write-ahead log can't be read: SQLite would show the file as it was before."""
    path, really = tmp_path / "results.db", sqlite3.connect
    writer = Writer(path)
    writer.insert("run", RUN)

    def refuse(*_):
        raise sqlite3.OperationalError("unable to open database file")

    def refused(name, *arguments, **options):
        if str(name).endswith("mode=ro"):
            return types.SimpleNamespace(
                execute=refuse,
                close=lambda: None,
                allow_interrupts=lambda: None,
                checking=contextlib.nullcontext,
            )
        return really(name, *arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", refused)
    monkeypatch.setattr(os, "access", lambda *_: False)  # of its folder
    with pytest.raises(
        ResultsError, match="results.db-wal that a read-only folder hides"
    ):
        connect(path, readonly=True)
    writer.close()  # which folds it in
    assert connect(path, readonly=True)["run"].count == 1


@pytest.mark.faults
def test_a_new_file_is_opened_by_several_at_once(tmp_path):
    """SQLite does not wait where two turn a new file to WAL: it happens twice in 40 openings."""

    def open_together(round_number):
        together, path = (
            threading.Barrier(4),
            tmp_path / f"{round_number}.db",
        )

        def open_one(_):
            together.wait(timeout=30)
            return (
                connect(path)
                .conn.execute("SELECT count(*) FROM run")
                .fetchone()[0]
            )

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(open_one, range(4)))

    assert [open_together(number) for number in range(40)] == [
        [0] * 4
    ] * 40


def test_a_run_that_died_is_interrupted(tmp_path):
    path = tmp_path / "results.db"
    now = time.time()
    with Writer(path) as writer:
        dead = writer.insert(
            "run", RUN | {"seen_unix": now - DEAD_AFTER_S - 60}
        )
        alive = writer.insert("run", RUN | {"seen_unix": now})
        writer.insert(
            "level",
            {
                "run_id": dead,
                "model": "m",
                "concurrency": 1,
                "status": "running",
            },
        )
    reader = connect(path, readonly=True)
    shown = dict(
        reader.conn.execute("SELECT run_id, status FROM runs").fetchall()
    )
    assert shown == {dead: "interrupted", alive: "running"}
    database = connect(path)
    assert [r["status"] for r in database["run"].rows] == [
        "interrupted",
        "running",
    ]
    assert [r["status"] for r in database["level"].rows] == ["interrupted"]


@pytest.mark.parametrize(
    "path",
    [":memory:", "", "file:a.db", "file::memory:?cache=shared", "a\0b"],
)
@pytest.mark.parametrize("readonly", [False, True])
def test_what_names_no_file_is_refused_in_one_line(
    tmp_path, monkeypatch, path, readonly
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ResultsError, match="invalid --db .*: expected the name of a file"
    ) as caught:
        connect(path, readonly=readonly)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_reading_a_closed_file_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "results.db"
    with Writer(path) as writer:
        writer.insert("run", RUN)
    before = path.read_bytes()
    for _ in range(2):
        reader = connect(path, readonly=True)
        assert reader["run"].count == 1
        reader.close()
    assert [file.name for file in tmp_path.iterdir()] == [
        "results.db"
    ] and path.read_bytes() == before
    with connect(path).conn as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    # also where it is refused
    with pytest.raises(ResultsError, match="version 99"):
        connect(path, readonly=True)
    assert [file.name for file in tmp_path.iterdir()] == ["results.db"]


def test_another_reader_may_take_the_log_away_at_any_moment(
    tmp_path, monkeypatch
):
    path = tmp_path / "results.db"
    connect(path).close()
    log, getsize = tmp_path / "results.db-wal", os.path.getsize

    def take_away(asked):
        """As one that closes the file between two looks at the log."""
        log.unlink(missing_ok=True)
        return getsize(asked)

    for moment in ("opening", "closing"):
        log.touch()
        with monkeypatch.context() as patch:
            if moment == "opening":
                patch.setattr(os.path, "getsize", take_away)
            database = connect(path, readonly=True)
            assert database["run"].count == 0
            patch.setattr(os.path, "getsize", take_away)
            database.close()
        assert not log.exists()


def test_reading_takes_no_log_away_that_is_in_use(tmp_path):
    """Neither that of a run which began meanwhile, nor that of one which was killed."""
    path = tmp_path / "results.db"
    connect(path).close()
    reader = connect(path, readonly=True)
    with Writer(path) as writer:
        writer.insert("run", RUN)
        reader.close()
        assert os.path.getsize(f"{path}-wal") > 0
        writer.insert("run", RUN)
        copy = tmp_path / "killed.db"
        for ending in ("", "-wal"):
            (tmp_path / f"killed.db{ending}").write_bytes(
                Path(f"{path}{ending}").read_bytes()
            )
    log = (tmp_path / "killed.db-wal").read_bytes()
    reader = connect(copy, readonly=True)
    assert reader["run"].count == count(path, "run") == 2
    reader.close()
    assert (tmp_path / "killed.db-wal").read_bytes() == log
