"""Parquet: DuckDB reads back every row, type and figure."""

import contextlib
import sys

import pytest

import analyze
from ollama_bench.formats import export_command, parquet_export
from ollama_bench.storage import schema
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import change

duckdb = pytest.importorskip("duckdb")
STRANGE = (
    "a 'quote', a \"quote\", a\nline, \\N, NULL, \u00e9\U0001f600 and \x01"
)
KINDS = {"INTEGER": "BIGINT", "REAL": "DOUBLE", "TEXT": "VARCHAR"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of three runs, one without levels, and all of it as Parquet."""
    folder = tmp_path_factory.mktemp("parquet")
    path = folder / "results.db"
    made_up_results.write(path, levels=(1, 25), tokens=3, runs=2)
    change(
        path,
        "INSERT INTO run (source, status, started_unix, arguments, tool_version) "
        "VALUES ('monitor', 'finished', 1.5, '{}', '1.1.0')",
        "INSERT INTO system_sample (run_id, at_ns, cpu_ratio) VALUES (3, 5, 0.1)",
        "INSERT INTO objective (run_id, metric, bound) VALUES (1, 'ttft_s', 10.5)",
        "INSERT INTO event (run_id, kind) VALUES (2, 'thermal')",
        "INSERT INTO level_worker (level_id, worker, requests, cpu_s) "
        "VALUES (1, 'a', 3, 0.5)",
        "UPDATE request SET prompt_tokens = NULL, cached_tokens = 0 WHERE number = 1",
    )
    with contextlib.closing(connect(path)) as database:
        database.execute(
            "UPDATE reply SET answer = ?, reasoning = '' WHERE request_id = 1",
            [STRANGE],
        )
    assert (
        export_command.main(["parquet", str(folder), "--db", str(path)])
        == 0
    )
    return folder


def read_back(folder, name, columns="*"):
    files = folder / "parquet" / name / "*" / "*.parquet"
    return duckdb.sql(
        f"SELECT {columns} FROM read_parquet('{files}', hive_partitioning = true)"
    )


def read_sqlite(folder, sql):
    with contextlib.closing(
        connect(folder / "results.db", readonly=True)
    ) as database:
        return database.execute(sql).fetchall()


def in_numbers(row):
    """What rows are sorted by: a DOUBLE may hold a whole number."""
    return repr(
        [
            value if isinstance(value, str | None) else float(value)
            for value in row
        ]
    )


@pytest.mark.parametrize(
    "name", [*schema.tables().keys(), *parquet_export.VIEWS]
)
def test_every_row_is_read_back(folder, name):
    with contextlib.closing(
        connect(folder / "results.db", readonly=True)
    ) as database:
        columns = [
            column
            for column, *_ in database.execute(
                f"SELECT * FROM [{name}] LIMIT 0"
            ).description
            if column != "run_id"
        ]
    shown = ", ".join(f'"{column}"' for column in columns)
    stored = read_sqlite(folder, f"SELECT {shown} FROM [{name}]")
    found = read_back(folder, name, shown).fetchall()
    assert stored
    assert sorted(found, key=in_numbers) == sorted(stored, key=in_numbers)


@pytest.mark.parametrize("name", schema.tables().keys())
def test_a_column_has_the_type_of_its_table(folder, name):
    found = read_back(folder, name)
    kinds = dict(zip(found.columns, map(str, found.types)))
    expected = {
        column: KINDS[declared.words[0]]
        for column, declared in schema.tables()[name].columns.items()
    }
    assert kinds == {**expected, "run_id": "BIGINT"}


@pytest.mark.parametrize("name", parquet_export.VIEWS)
def test_a_figure_of_a_view_has_the_type_that_its_values_have(
    folder, name
):
    """A DOUBLE may hold whole numbers, a BIGINT no fractions, whatever run it is of."""
    found = read_back(folder, name)
    kinds = dict(zip(found.columns, map(str, found.types)))
    with contextlib.closing(
        connect(folder / "results.db", readonly=True)
    ) as database:
        for row in database.query(f"SELECT * FROM [{name}]"):
            for column, value in row.items():
                wanted = {int: ("BIGINT", "DOUBLE"), float: ("DOUBLE",)}
                assert value is None or kinds[column] in wanted.get(
                    type(value), ("VARCHAR",)
                ), column
    for column in parquet_export.COUNTS.split():
        assert kinds.get(column, "BIGINT") == "BIGINT"


def test_a_warehouse_finds_the_figures_by_sql_alone(folder):
    figures = "run_id, concurrency, ttft_mean_s, output_tokens_per_s, joules_per_output_token"
    level = folder / "parquet" / "level_summary" / "*" / "*.parquet"
    energy = folder / "parquet" / "energy_summary" / "*" / "*.parquet"
    found = duckdb.sql(
        f"SELECT {figures} FROM '{level}' AS level LEFT JOIN (SELECT run_id, level_id, "
        f"joules_per_output_token FROM '{energy}') USING (run_id, level_id) ORDER BY ALL"
    ).fetchall()
    assert (
        found
        == read_sqlite(
            folder,
            f"SELECT {figures} FROM level_summary LEFT JOIN (SELECT level_id, "
            "joules_per_output_token FROM energy_summary) USING (level_id) ORDER BY 1, 2",
        )
        != []
    )


def test_a_run_that_is_named_comes_alone(folder, tmp_path):
    arguments = ["--db", str(folder / "results.db"), "--charts", "none"]
    arguments += ["--run", "2", "--export", "parquet", str(tmp_path)]
    assert analyze.main(arguments) == 0
    top = tmp_path / "parquet"
    assert {path.parent.name for path in top.rglob("*.parquet")} == {
        "run_id=2"
    }
    for path in top.rglob("*.parquet"):
        twin = folder / path.relative_to(tmp_path)
        assert path.read_bytes() == twin.read_bytes()


def test_without_duckdb_it_is_one_line(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    arguments = ["parquet", str(tmp_path), "--db"]
    assert (
        export_command.main([*arguments, str(folder / "results.db")]) == 1
    )
    said = capsys.readouterr().err
    assert said == (
        "ollama-bench export: Parquet files need DuckDB's package: "
        "python -m pip install duckdb, or pipx inject ollama-bench duckdb\n"
    )
    assert not list(tmp_path.iterdir())


def test_what_a_view_counts_is_whole_and_every_such_column_is_there(
    folder,
):
    counted = set()
    with contextlib.closing(
        connect(folder / "results.db", readonly=True)
    ) as database:
        for view in parquet_export.VIEWS:
            kinds = parquet_export.list_view_columns(database, view)
            rows = list(database.query(f"SELECT * FROM {view}"))
            whole = {
                column
                for column in kinds
                if any(isinstance(row[column], int) for row in rows)
            }
            assert {kinds[column] for column in whole} == {"BIGINT"}
            counted |= kinds.keys()
    assert set(parquet_export.COUNTS.split()) <= counted
