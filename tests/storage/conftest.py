"""Results files for the tests of storage."""

import sqlite3

import pytest

from ollama_bench.storage.connection import connect


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
