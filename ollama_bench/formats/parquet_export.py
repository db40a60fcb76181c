"""Runs as Parquet files for DuckDB, Spark or a warehouse, by DuckDB's Python package.

    DIR/parquet/<table>/run_id=<N>/data.parquet

A folder for each table, and for the views whose figures no warehouse should have to make again.
Generated columns are columns like others. run_id stands in the folder's name, as Hive has it, not
in the file; a run's machine is beside the run, so that a join by run_id finds it.
"""

from __future__ import annotations

import importlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database

from ollama_bench import __version__
from ollama_bench.analysis.study import Study
from ollama_bench.formats.own_files import write_own
from ollama_bench.storage import digest, schema
from ollama_bench.storage.results_file import ResultsError

FOLDER = "parquet"
FILE = "data.parquet"
MARK = "ollama-bench"  # in the footer of each file
VIEWS = ("level_summary", "energy_summary")
KINDS = {"INTEGER": "BIGINT", "REAL": "DOUBLE", "TEXT": "VARCHAR"}
# whole numbers that only a view has
COUNTS = """
abandoned completed errors good_requests hosts in_flight
judged_completed peak_streaming prompts_cut replies_cut
requests superseded uncounted_tokens
undecided_requests
"""
BATCH_ROWS = 10_000
LONGEST_ROW = 1 << 30  # bytes as JSON; a reply may be long
RUNS = "SELECT id FROM run ORDER BY id"
MACHINE = """
SELECT {} FROM machine AS own
WHERE id = (SELECT machine_id FROM run WHERE id = :run)"""
WRITE = """
COPY (SELECT * FROM read_json({source},
  columns = {columns},
  format = 'newline_delimited',
  maximum_object_size = {longest}))
TO {target} (
  FORMAT parquet,
  COMPRESSION zstd,
  KV_METADATA {{written_by: '{mark} {version}'}})"""

Rows = Iterable[Sequence[object]]
Columns = dict[str, str]  # name: type of DuckDB


def write(database: Database, studies: Iterable[Study], top: Path) -> int:
    """Write the runs of some studies and return the number of files.

    Raises ResultsError without DuckDB, OutputError where a file stands that no export wrote, and
    OSError.
    """
    runs = {run["run_id"] for study in studies for run in study.runs}
    return write_runs(database, sorted(runs), top)


def write_every_run(database: Database, top: Path) -> int:
    """Write every run of the file, as write() does."""
    return write_runs(
        database, [run_id for (run_id,) in database.execute(RUNS)], top
    )


def write_runs(
    database: Database, run_ids: Sequence[int], top: Path
) -> int:
    """Write some runs and return the number of files."""
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        writer = ParquetWriter(Path(folder), top)
        for name in VIEWS:
            for run_id, rows in read_view(database, name, set(run_ids)):
                columns = list_view_columns(database, name)
                count += writer.write(name, run_id, columns, rows)
        for run_id in run_ids:
            for name, columns, rows in read_run_rows(database, run_id):
                count += writer.write(name, run_id, columns, rows)
    return count


class ParquetWriter:
    """Writes Parquet files by DuckDB, each by way of lines of JSON in a temporary folder."""

    def __init__(self, folder: Path, top: Path) -> None:
        self._top = top
        self._lines, self._made = folder / "rows.json", folder / FILE
        self._connection = load_duckdb().connect(config={"threads": 1})
        self._encode = msgspec.json.Encoder().encode_lines

    def write(
        self, name: str, run_id: int, columns: Columns, rows: Rows
    ) -> int:
        """Write a run's rows of a table, if there are any; return the number of files."""
        cursor = iter(rows)
        size = 0
        with self._lines.open("wb") as file:
            while batch := list(itertools.islice(cursor, BATCH_ROWS)):
                file.write(
                    self._encode(
                        [
                            dict(zip(columns, row, strict=True))
                            for row in batch
                        ]
                    )
                )
                size += len(batch)
        if not size:
            return 0
        self._connection.execute(
            WRITE.format(
                source=quote(str(self._lines)),
                columns="{"
                + ", ".join(
                    f"{quote(column)}: '{kind}'"
                    for column, kind in columns.items()
                )
                + "}",
                longest=LONGEST_ROW,
                target=quote(str(self._made)),
                mark=MARK,
                version=__version__,
            )
        )
        path = self._top / FOLDER / name / f"run_id={run_id}" / FILE
        write_own(path, self._made.read_bytes(), self._top, MARK)
        return 1


def load_duckdb() -> Any:
    """Return DuckDB's package. Raises ResultsError where it is not installed."""
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise ResultsError(
            "Parquet files need DuckDB's package: python -m pip install duckdb, "
            "or pipx inject ollama-bench duckdb"
        ) from None


def quote(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def read_run_rows(
    database: Database, run_id: int
) -> Iterator[tuple[str, Columns, Rows]]:
    """Yield each table with its columns and a run's rows, in the order of their keys."""
    for name, table in schema.tables().items():
        columns = {
            column: KINDS[declaration.words[0].upper()]
            for column, declaration in table.columns.items()
            if column != "run_id"
        }
        shown = ", ".join(f"own.[{column}]" for column in columns)
        if name == digest.SHARED:
            sql = MACHINE.format(shown)
        else:
            order = ", ".join(
                f"own.[{column}]" for column in digest.list_key(table)
            )
            sql = (
                f"SELECT {shown} FROM [{name}] AS own "
                f"WHERE {digest.of_run(table, 'own.')} ORDER BY {order}"
            )
        yield name, columns, iterate(database, sql, run_id)


def iterate(database: Database, sql: str, run_id: int) -> Rows:
    yield from database.execute(sql, {"run": run_id})


def read_view(
    database: Database, name: str, run_ids: set[int]
) -> Iterator[tuple[int, Rows]]:
    """Yield the rows of a view for each of some runs; it is asked once, since it takes its time."""
    columns = ", ".join(
        f"[{column}]" for column in list_view_columns(database, name)
    )
    cursor = database.execute(
        f"SELECT run_id, {columns} FROM [{name}] ORDER BY run_id, level_id"
    )
    for run_id, rows in itertools.groupby(cursor, lambda row: row[0]):
        if run_id in run_ids:
            yield run_id, [row[1:] for row in rows]


def list_view_columns(database: Database, name: str) -> Columns:
    """Return the columns of a view. Where no table and no count says more, a figure is a DOUBLE."""
    declared = {
        column: KINDS[declaration.words[0].upper()]
        for table in schema.tables().values()
        for column, declaration in table.columns.items()
    }
    rows = database.execute(f"SELECT * FROM [{name}] LIMIT 0").description
    return {
        column: "BIGINT"
        if column in COUNTS.split()
        else declared.get(column, "DOUBLE")
        for column, *_ in rows
        if column != "run_id"
    }
