"""Results files for the tests of storage."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from ollama_bench.storage import schema
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import APPLICATION_ID
from tests.support import made_up_results

HERE = Path(__file__).resolve().parents[1]
OLD = (HERE / "fixtures" / "schema-1.0.0.sql").read_text(encoding="utf-8")
ADDED = """  mood TEXT CHECK (mood IN ('good', 'bad')),  -- it came later, with ( a bracket
  late_s REAL AS (coalesce(late_ns,
    first_text_ns) / 1e9),           -- made of one that came later
  late_ns INTEGER NOT NULL DEFAULT 7 CHECK (late_ns >= 0),
  UNIQUE (level_id, number)
"""


@pytest.fixture
def closed(monkeypatch):
    """Close every connection that a test opened."""
    opened, connect = [], sqlite3.connect

    def open_one(*arguments, **options):
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", open_one)
    yield
    for connection in opened:
        connection.close()


@pytest.fixture
def database(tmp_path):
    database = connect(tmp_path / "results.db")
    database["machine"].insert(
        {"id": 1, "fingerprint": "x", "chip": "Apple M2 Pro"}
    )
    database["run"].insert(
        {
            "id": 1,
            "source": "bench",
            "status": "finished",
            "started_unix": 1_000_000_000.0,
            "arguments": "{}",
            "tool_version": "1",
            "machine_id": 1,
            "simulated": 1,
        }
    )
    database["target"].insert(
        {
            "id": 1,
            "run_id": 1,
            "host": "http://h",
            "api": "ollama",
            "model": "m",
        }
    )
    yield database
    database.conn.close()


@pytest.fixture
def old(tmp_path):
    """A file that version 1.0.0 made, with two runs."""
    path, source = tmp_path / "results.db", tmp_path / "source.db"
    made_up_results.write(source, levels=(1, 2, 4), runs=2)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"{OLD}; PRAGMA application_id = {APPLICATION_ID};"
            "PRAGMA user_version = 1; PRAGMA journal_mode = WAL"
        )
        connection.execute("ATTACH ? AS source", [str(source)])
        for (name,) in connection.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table'"
        ).fetchall():
            columns = ", ".join(
                row[1]
                for row in connection.execute(
                    f"PRAGMA main.table_xinfo({name})"
                )
                if row[6] == 0
            )
            connection.execute(
                f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM source.{name}"
            )
        connection.commit()
    return path


@pytest.fixture
def grown(monkeypatch, tmp_path):
    """A later version's schema: columns more, and a view that needs them."""
    text = schema.SCHEMA.read_text(encoding="utf-8")
    text = text.replace("  UNIQUE (level_id, number)\n", ADDED).replace(
        "  is_reasoning INTEGER NOT NULL,",
        "  size INTEGER,\n  is_reasoning INTEGER NOT NULL,",
    )
    text += "\nDROP VIEW IF EXISTS moods;\nCREATE VIEW moods AS"
    text += " SELECT mood, late_s, late_ns, size, e2e_s"
    text += " FROM request JOIN chunk ON request_id = id;\n"
    (tmp_path / "later.sql").write_text(text, encoding="utf-8")
    monkeypatch.setattr(schema, "SCHEMA", tmp_path / "later.sql")
