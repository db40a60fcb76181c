"""Several results files in one: every run once, whole, and nothing of the inputs changed."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_bench.storage import merge_output, schema
from ollama_bench.storage.connection import connect
from ollama_bench.storage.digest import digest_run
from ollama_bench.storage.merge import merge
from ollama_bench.storage.request_ids import REQUEST_IDS, make_request_id
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from tests.support import made_up_results
from tests.support.studies import change

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"levels": (1, 2), "tokens": 3}
NOT_IN_MADE_UP = (
    "INSERT INTO objective (run_id, metric, bound) VALUES (1, 'ttft_s', 10), (2, 'ttft_s', 3)",
    "INSERT INTO event (run_id, kind) VALUES (2, 'thermal'), (1, 'paused')",
    "INSERT INTO machine (fingerprint, chip) VALUES ('of a worker', 'M9')",
    "INSERT INTO level_worker (level_id, worker, requests, machine_id) "
    "SELECT 1, 'far', 3, id FROM machine WHERE chip = 'M9'",
)
KILLED = """
import os, signal, sys
from pathlib import Path
from ollama_bench.storage import merge
copy = merge.copy_table
def copy_and_die(connection, table):
    copy(connection, table)
    if table.name == "chunk":
        os.kill(os.getpid(), signal.{signal})
merge.copy_table = copy_and_die
from ollama_bench.formats.merge_command import main
main([*sys.argv[1:-1], "-o", sys.argv[-1]])
"""


def make(path, **options):
    made_up_results.write(path, **{**SMALL, **options})
    return str(path)


@pytest.fixture
def files(tmp_path):
    """Two files with rows in every table: two runs and one, each with ids from 1 on."""
    one = make(tmp_path / "a.db", runs=2, label="one")
    other = make(
        tmp_path / "b.db", model="big:70b", started_unix=1.77e9, seed=5
    )
    change(one, *NOT_IN_MADE_UP)
    return [one, other]


def query(path, sql):
    with contextlib.closing(connect(path, readonly=True)) as database:
        return database.execute(sql).fetchall()


def digests(path):
    with contextlib.closing(connect(path, readonly=True)) as database:
        ids = database.execute("SELECT id FROM run ORDER BY id").fetchall()
        return [digest_run(database, run_id) for (run_id,) in ids]


def content(folder):
    """The bytes of the files; SQLite's own beside them hold none as long as nobody writes."""
    return {
        path.name: data
        for path in folder.iterdir()
        if not path.name.endswith("-shm") and (data := path.read_bytes())
    }


def merged(paths, name="all.db"):
    output = Path(paths[0]).with_name(name)
    return output, merge([str(path) for path in paths], output)


def test_every_row_of_every_table_is_there_and_belongs_to_its_run(files):
    counts = [
        [
            query(path, f"SELECT count(*) FROM {table}")[0][0]
            for table in schema.tables()
        ]
        for path in files
    ]
    assert all(counts[0]), "a table without rows proves nothing"
    output, planned = merged(files)
    assert digests(output) == [*digests(files[0]), *digests(files[1])]
    assert [run.number for run in planned] == [1, 2, 3]
    assert [
        query(output, f"SELECT count(*) FROM {table}")[0][0]
        for table in schema.tables()
    ] == [sum(pair) for pair in zip(*counts)]
    assert query(output, "PRAGMA integrity_check") == [("ok",)]
    assert query(output, "PRAGMA foreign_key_check") == []


def test_what_the_views_say_of_a_run_is_what_they_said(files):
    output, _ = merged(files)
    sql = "SELECT * FROM level_summary WHERE run_id = {}"

    def figures(path, run_id):
        ids = ("run_id", "level_id")
        with contextlib.closing(connect(path, readonly=True)) as database:
            return [
                {name: row[name] for name in row if name not in ids}
                for row in database.query(sql.format(run_id))
            ]

    assert figures(output, 3) == figures(files[1], 1) != []


def test_an_input_is_not_written(files, tmp_path):
    before = content(tmp_path)
    output, _ = merged(files)
    after = content(tmp_path)
    assert after.pop(output.name) and after == before


def test_a_run_that_is_under_way_comes_as_it_is_now(files, tmp_path):
    with Writer(files[1]) as writer:
        writer.update("run", 1, {"label": "only in the log"})
        writer.flush()
        before = content(tmp_path)
        assert before["b.db-wal"]
        output, _ = merged(files)
        after = content(tmp_path)
        assert after.pop(output.name) and after == before
    labels = [("one",), ("one",), ("only in the log",)]
    assert query(output, "SELECT label FROM run ORDER BY id") == labels


@pytest.mark.parametrize("again", [(0, 1, 0), (1, 0, 1, 1)])
def test_what_comes_twice_is_there_once(files, tmp_path, again):
    paths = [
        shutil.copy(files[place], tmp_path / f"copy{number}.db")
        for number, place in enumerate(again)
    ]
    output, planned = merged(paths)
    assert sorted(digests(output)) == sorted(
        [*digests(files[0]), *digests(files[1])]
    )
    assert not any(run.other for run in planned)
    again, planned = merged([output, *files], "again.db")
    assert digests(again) == digests(output)
    assert all(len(run.same) == 1 for run in planned)


def test_two_alike_runs_of_one_file_stay_two(tmp_path):
    path = make(tmp_path / "a.db")
    made_up_results.write(path, **SMALL | {"label": "other"})
    output, _ = merged([path])
    assert digests(output) == digests(path)


@pytest.mark.parametrize("is_later_first", [False, True])
def test_a_run_that_went_on_is_taken_as_it_was_last(
    tmp_path, is_later_first
):
    early = make(tmp_path / "early.db", runs=2)
    change(
        early, "UPDATE run SET status = 'interrupted', seen_unix = 1.761e9"
    )
    later = shutil.copy(early, tmp_path / "later.db")
    change(
        later,
        "UPDATE run SET status = 'finished', seen_unix = 1.762e9 WHERE id = 2",
        "INSERT INTO level (run_id, model, concurrency, status) VALUES (2, 'm', 64, 'finished')",
    )
    paths = [later, early] if is_later_first else [early, later]
    output, planned = merged(paths)
    assert digests(output) == digests(later)
    assert [len(run.other) for run in planned] == [0, 1]
    statuses = [("interrupted",), ("finished",)]
    assert query(output, "SELECT status FROM run ORDER BY id") == statuses


def test_an_import_is_known_by_what_was_read(tmp_path):
    paths = [make(tmp_path / f"{name}.db", label=name) for name in "ab"]
    for path in paths:
        change(path, "UPDATE run SET source = 'import', import_key = 'k'")
    output, _ = merged(paths)
    assert query(output, "SELECT label FROM run") == [("a",)]


def test_a_machine_of_two_files_is_one_row(tmp_path):
    paths = [
        make(tmp_path / "a.db"),
        make(tmp_path / "b.db", started_unix=1.77e9),
    ]
    for path in paths:
        change(path, "UPDATE machine SET fingerprint = 'same'")
    change(paths[1], "UPDATE machine SET virtual = 1")
    output, _ = merged(paths)
    assert query(output, "SELECT fingerprint, virtual FROM machine") == [
        ("same", 1)
    ]
    assert query(output, "SELECT machine_id FROM run") == [(1,), (1,)]


@pytest.mark.parametrize("table", ["target", "process", "power_source"])
def test_a_machine_that_a_fleet_watched_comes_along(files, table):
    change(
        files[0],
        "INSERT INTO machine (fingerprint, chip) VALUES ('far', 'M8')",
        f"UPDATE {table} SET watcher = 'far', machine_id = "
        "(SELECT id FROM machine WHERE chip = 'M8')",
    )
    output, _ = merged(files[::-1])
    assert query(
        output,
        f"SELECT DISTINCT chip FROM {table} "
        "JOIN machine ON machine.id = machine_id WHERE watcher = 'far'",
    ) == [("M8",)]


def test_a_request_has_the_id_that_bench_would_give_it(files):
    change(
        files[0],
        f"INSERT INTO request (id, level_id, number) VALUES (77, 2, {REQUEST_IDS})",
    )
    output, _ = merged(files)
    rows = query(output, "SELECT id, level_id, number FROM request")
    assert max(number for _, _, number in rows) == REQUEST_IDS
    assert all(
        found == make_request_id(level_id, number)
        for found, level_id, number in rows
    )


def test_a_file_of_the_first_version_is_joined(old, files):
    output, _ = merged([old, *files])
    assert digests(
        output
    ) == [  # version 1.0.0 stored the columns that it had
        *digests(old),
        *digests(files[0]),
        *digests(files[1]),
    ]
    assert query(output, "SELECT DISTINCT turn FROM request") == [(1,)]


def test_columns_of_a_later_version_come_along(tmp_path, files, request):
    request.getfixturevalue("grown")
    later = make(tmp_path / "later.db", started_unix=1.78e9)
    change(
        later, "UPDATE request SET mood = 'good', late_ns = 8 WHERE id = 1"
    )
    request.getfixturevalue("monkeypatch").undo()
    output, _ = merged([files[0], later])
    with contextlib.closing(sqlite3.connect(output)) as plain:
        assert plain.execute(
            "SELECT mood, late_ns, late_s IS NOT NULL, count(*) FROM request GROUP BY 1, 2"
        ).fetchall() == [(None, 7, 1, 8), ("good", 8, 1, 1)]


def test_a_column_that_calls_a_function_is_refused(files, tmp_path):
    change(
        files[1],
        "ALTER TABLE event ADD COLUMN slow TEXT AS (hex(zeroblob(9)))",
    )
    with pytest.raises(
        ResultsError, match="b.db cannot be used: .*'slow'"
    ):
        merged(files)
    assert list_names(tmp_path) == ["a.db", "b.db"]


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- the output is whole, or not there


def test_a_file_that_is_there_is_not_replaced(files, tmp_path):
    before = content(tmp_path)
    with pytest.raises(ResultsError, match="b.db exists"):
        merge(files[:1], Path(files[1]))
    assert content(tmp_path) == before


def test_an_output_that_is_an_input_grows(files):
    before = digests(files[0]) + digests(files[1])
    merge(files, Path(files[0]))
    assert digests(files[0]) == before


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE notes (x)", "CREATE VIEW mine AS SELECT 1"]
)
def test_an_output_with_tables_of_its_users_is_not_replaced(
    files, tmp_path, sql
):
    change(files[0], sql)
    before = content(tmp_path)
    with pytest.raises(ResultsError, match="(notes|mine)"):
        merge(files, Path(files[0]))
    assert content(tmp_path) == before
    merge(files, tmp_path / "all.db")


def test_an_output_that_another_program_uses_is_not_replaced(
    files, tmp_path
):
    with Writer(files[0]) as writer:
        writer.flush()
        with pytest.raises(ResultsError, match="a.db is used by another"):
            merge(files, Path(files[0]))
    assert len(digests(files[0])) == 2
    assert list_names(tmp_path) == ["a.db", "b.db"]


def test_the_log_of_another_file_is_not_read_as_the_outputs(
    files, tmp_path
):
    (tmp_path / "all.db-wal").write_bytes(b"of another file")
    with pytest.raises(
        ResultsError, match="all.db-wal belongs to another"
    ):
        merged(files)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_merge_that_is_killed_leaves_what_the_next_removes(
    files, tmp_path
):
    before = content(tmp_path)
    kill(files, "SIGKILL")
    [left] = content(tmp_path).keys() - before.keys()
    assert left.startswith(".all.db.")
    output, _ = merged(files)
    assert list_names(tmp_path) == ["a.db", "all.db", "b.db"]
    assert content(tmp_path) == {**before, "all.db": output.read_bytes()}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_merge_that_is_ended_leaves_nothing(files, tmp_path, name):
    before = content(tmp_path)
    kill(files, name)
    assert content(tmp_path) == before


def kill(files, name):
    output = Path(files[0]).with_name("all.db")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED.replace("{signal}", name),
            *files,
            output,
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    if name == "SIGKILL":
        assert done.returncode == -signal.SIGKILL


def test_what_another_merge_is_making_is_left_alone(files, tmp_path):
    part = tmp_path / f"{merge_output.hide('all.db')}x.part"
    with contextlib.closing(
        sqlite3.connect(part, isolation_level=None)
    ) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN EXCLUSIVE")
        merged(files)
        assert part.exists()


def test_a_file_whose_rows_are_gone_is_refused(files, tmp_path):
    """SQLite reads on over a page whose count of cells is damaged."""
    with contextlib.closing(sqlite3.connect(files[1])) as database:
        page_bytes = database.execute("PRAGMA page_size").fetchone()[0]
        page = database.execute(
            "SELECT max(pageno) FROM dbstat WHERE name = 'chunk' AND pagetype = 'leaf'"
        ).fetchone()[0]
    with open(files[1], "r+b") as file:
        file.seek((page - 1) * page_bytes + 3)
        file.write((1).to_bytes(2, "big"))  # cells of the page
    with pytest.raises(ResultsError, match="damaged"):
        merged(files)
    assert list_names(tmp_path) == ["a.db", "b.db"]


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_file_is_one_line(files, tmp_path, damage):
    path = Path(files[1])
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        data[:middle] + (b"" if damage == "cut" else b"\x55" * 9000)
    )
    with pytest.raises(ResultsError) as caught:
        merged(files)
    text = str(caught.value)
    assert text.startswith(f"{path}") and "\n" not in text
    assert list_names(tmp_path) == ["a.db", "b.db"]
