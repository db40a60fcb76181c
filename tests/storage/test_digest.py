"""The digest of a run's rows: the same wherever they lie, another where one differs."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3

import pytest

from ollama_bench.storage import digest, schema
from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import change

SMALL = {"levels": (1, 2), "tokens": 3}
OF_RUN = sorted(schema.tables().keys() - {"machine"})


CHANGED = {
    "chunk": "at_ns = at_ns + 1 WHERE number = 0 AND request_id = 1",
    "event": "kind = 'other'",
    "level": "concurrency = 3 WHERE concurrency = 2",
    "level_worker": "requests = 4",
    "objective": "bound = bound + 1",
    "power_sample": "energy_j = energy_j + 1",
    "power_source": "device = 'other'",
    "process": "pid = pid + 1",
    "process_sample": "threads = 99",
    "reply": "answer = 'space'",
    "request": "output_tokens = 1 WHERE id = 1",
    "run": "label = 'other'",
    "system_sample": "cpu_ratio = 0.123",
    "target": "quantization = 'other'",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("digest") / "results.db"
    made_up_results.write(path, **SMALL)
    change(
        path,
        "INSERT INTO objective (run_id, metric, bound) VALUES (1, 'ttft_s', 10)",
        "INSERT INTO event (run_id, kind) VALUES (1, 'thermal')",
        "INSERT INTO level_worker (level_id, worker, requests) VALUES (1, 'one', 3)",
    )
    return path


def digest_file(path, *run_ids):
    database = connect(path, readonly=True)
    try:
        return digest.digest_runs(database, run_ids or [1])
    finally:
        database.close()


def test_it_is_sha_256_of_the_rows_of_each_table(results):
    database = connect(results, readonly=True)
    texts = {
        name: "".join(
            digest.write_rows(database, schema.tables()[name], 1)
        )
        for name in OF_RUN
    }
    database.close()
    assert all(texts.values()), "a table without rows proves nothing"
    name, columns, *rows = json.loads(texts["chunk"])
    assert name == "chunk" and rows[0][columns.index("request_id")] == 0
    assert columns == [
        "at_ns",
        "characters",
        "is_reasoning",
        "number",
        "request_id",
    ]
    assert len(digest_file(results)) == 64


def test_it_is_the_same_in_another_layout(results, tmp_path):
    copy = shutil.copy(results, tmp_path / "results.db")
    change(copy, "VACUUM")
    assert digest_file(copy) == digest_file(results)


def test_it_is_the_same_beside_other_runs(tmp_path):
    made_up_results.write(tmp_path / "alone.db", **SMALL)
    both = tmp_path / "both.db"
    made_up_results.write(both, model="other", seed=3, levels=(4,))
    assert made_up_results.write(both, **SMALL) == [2]
    assert digest_file(both, 2) == digest_file(tmp_path / "alone.db")
    assert digest_file(both, 1) != digest_file(both, 2)


def test_it_is_the_same_in_a_file_of_an_older_version(results, tmp_path):
    copy = shutil.copy(results, tmp_path / "results.db")
    with contextlib.closing(sqlite3.connect(copy)) as old:
        views = old.execute(
            "SELECT name FROM sqlite_master WHERE type = 'view'"
        ).fetchall()
        for (view,) in views:
            old.execute(f"DROP VIEW [{view}]")
        for column in ("is_control", "on_battery", "ramp_s"):
            old.execute(f"ALTER TABLE level DROP COLUMN {column}")
    assert digest_file(copy) == digest_file(results)


@pytest.mark.parametrize("table", OF_RUN)
def test_it_is_another_where_a_row_differs(results, tmp_path, table):
    copy = shutil.copy(results, tmp_path / "results.db")
    change(
        copy,
        f"UPDATE {table} SET {CHANGED[table]}",
    )
    assert digest_file(copy) != digest_file(results)


def test_several_runs_have_one_digest_in_whatever_order(tmp_path):
    path = tmp_path / "results.db"
    made_up_results.write(path, runs=2, **SMALL)
    together = digest_file(path, 1, 2)
    assert together == digest_file(path, 2, 1)
    assert together not in (digest_file(path, 1), digest_file(path, 2))
