"""A results file of another version opens, keeps its rows, and answers every query."""

import asyncio
import contextlib
import sqlite3
import threading
import warnings

import pytest

import analyze
import bench
from ollama_bench.storage import declarations, schema
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.beginnings import QUICK


def rows(path, sql):
    with contextlib.closing(connect(path, readonly=True)) as database:
        return database.execute(sql).fetchall()


def content(path):
    """The bytes of a file and of its log."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return {
        file.name: data
        for file in files
        if file.exists() and (data := file.read_bytes())
    }


def test_a_file_of_the_first_version_is_opened_by_this_one(old):
    before = rows(old, "SELECT count(*), sum(e2e_s) FROM request")
    connect(old).close()
    with contextlib.closing(connect(old)) as database:
        assert schema.is_current(database.conn)
        for table in schema.tables().values():
            assert {
                row[1]
                for row in database.execute(
                    f"PRAGMA table_xinfo({table.name})"
                )
            } == set(table.columns)
        assert [
            row[0] for row in database.execute("PRAGMA integrity_check")
        ] == ["ok"]
    assert rows(old, "SELECT count(*), sum(e2e_s) FROM request") == before


def test_columns_that_came_later_are_added_with_their_rules(old, grown):
    with contextlib.closing(connect(old)) as database:
        assert schema.is_current(database.conn)
        count, least, most, moods = database.execute(
            "SELECT count(*), min(late_s), max(late_ns), count(mood) FROM moods"
        ).fetchone()
        assert count > 100 and (least, most, moods) == (7e-9, 7, 0)
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            database.execute("UPDATE request SET mood = 'so so'")
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_file_that_is_read_gets_nothing_and_answers_all(old, grown):
    before = content(old)
    assert rows(
        old,
        "SELECT count(*) > 100, min(late_s) > 0, count(late_ns), count(mood), count(size),"
        " count(e2e_s) > 100 FROM moods",
    ) == [(1, 1, 0, 0, 0, 1)]
    for name in [
        row[0]
        for row in rows(
            old, "SELECT name FROM sqlite_temp_master WHERE type = 'view'"
        )
    ]:
        rows(old, f"SELECT * FROM {name}")
    assert content(old) == before


def test_columns_of_a_newer_tool_are_left_alone(old, grown, monkeypatch):
    connect(old).close()
    monkeypatch.undo()
    before = content(old)
    assert "mood" not in [
        column[0]
        for column in connect(old, readonly=True)
        .execute("SELECT * FROM request")
        .description
    ]
    assert (
        analyze.main(["--db", str(old), "--charts", "none"]) == 0
        and content(old) == before
    )
    with contextlib.closing(connect(old)) as database:
        assert database.execute(
            "SELECT sum(late_ns) FROM request"
        ).fetchone() == (7 * 14,)
        assert schema.is_current(database.conn)


def test_a_table_that_came_later_is_empty_where_it_is_read(
    old, monkeypatch, tmp_path
):
    later = tmp_path / "later.sql"
    later.write_text(
        schema.SCHEMA.read_text(encoding="utf-8")
        + "\nCREATE TABLE IF NOT EXISTS fan"
        " (id INTEGER, rpm REAL, rps REAL AS (rpm / 60)) STRICT;\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(schema, "SCHEMA", later)
    assert rows(old, "SELECT count(*), sum(rps) FROM fan") == [(0, None)]
    connect(old).close()
    assert rows(old, "SELECT rps FROM fan") == []


@pytest.mark.parametrize("number", range(5))
def test_two_that_open_an_old_file_at_once_add_each_column_once(
    old, grown, number
):
    together, said = threading.Barrier(4), []

    def open_it():
        together.wait(timeout=30)
        try:
            connect(old).close()
        except Exception as error:
            said.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [] and rows(
        old, "SELECT sum(late_ns) FROM request"
    ) == [(7 * 14,)]


@pytest.mark.faults
def test_every_program_works_with_a_file_of_the_first_version(
    old, grown, module_sim, tmp_path, capsys
):
    server = module_sim(
        "--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "20"
    )
    for arguments in (
        ["--charts", "none"],
        ["--compare", "1", "2"],
        ["--charts", "none", "--export", "study", str(tmp_path)],
    ):
        assert analyze.main(["--db", str(old), *arguments]) == 0
    assert (
        bench.main(["1,2", "--host", server.url, "--db", str(old), *QUICK])
        == 0
    )
    assert (
        analyze.main(["--db", str(old), "--run", "3", "--charts", "none"])
        == 0
    )
    assert "Traceback" not in capsys.readouterr().err
    assert rows(
        old,
        "SELECT count(*) FROM request WHERE late_ns = 7 AND mood IS NULL",
    ) == [(14 + 3 + 1,)]  # and a control of one request


@pytest.mark.faults
def test_the_charts_of_a_file_of_the_first_version(old, grown, tmp_path):
    drawn = tmp_path / "data"
    assert analyze.main(["--db", str(old), "--out", str(drawn)]) == 0
    assert len([*drawn.rglob("*.png")]) > 10


def test_datasette_shows_a_file_of_the_first_version(old, grown):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasette.app import Datasette
    connect(old).close()

    async def get(path):
        server = Datasette([str(old)])
        await server.invoke_startup()
        answer = await server.client.get(path)
        for database in server.databases.values():
            database.close()
        return answer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = asyncio.run(get("/results/moods.json"))
    assert answer.status_code == 200 and "late_s" in answer.text


@pytest.mark.parametrize(
    "sql, columns, rules",
    [
        (
            "CREATE TABLE IF NOT EXISTS a (b INTEGER, -- c TEXT,\n"
            " [d e] TEXT /* , f */ CHECK ([d e] IN ('(', ',')), PRIMARY KEY (b)) STRICT;",
            {
                "b": "b INTEGER",
                "d e": "[d e] TEXT /* , f */ CHECK ([d e] IN ('(', ','))",
            },
            (("PRIMARY", "KEY", "(", "b", ")"), ("STRICT",)),
        ),
        (
            'CREATE TABLE "A"(\n"b""c" REAL AS (1 + (2)) STORED)',
            {'b"c': '"b""c" REAL AS (1 + (2)) STORED'},
            ((),),
        ),
    ],
)
def test_a_declaration_is_taken_apart(sql, columns, rules):
    table = declarations.parse_table(sql)
    assert table.name == "a" and table.rules == rules
    assert {
        name: column.text for name, column in table.columns.items()
    } == columns


def test_what_is_no_table_is_none():
    assert (
        declarations.parse_table("CREATE VIEW a AS SELECT 1")
        is declarations.parse_table("CREATE TABLE a AS SELECT 1")
        is declarations.parse_table("")
        is None
    )


def test_views_are_laid_over_those_of_another_version_alone(tmp_path):
    """A run reads its own file several times a level: laying them over takes most of that."""
    path = tmp_path / "results.db"
    laid_over = "SELECT name FROM sqlite_temp_master WHERE type = 'view'"
    made_up_results.write(path, levels=(1,))
    assert rows(path, laid_over) == []
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP VIEW runs")
        database.execute("CREATE VIEW runs AS SELECT 7 AS run_id")
        database.commit()
    assert ("runs",) in rows(path, laid_over)
    assert rows(path, "SELECT run_id FROM runs") == [(1,)]
