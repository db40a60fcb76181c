"""Faults of a server through bench.py: its exit code and its rows."""

import os
import sqlite3
import subprocess
import sys

import pytest

from tests.system.faults import (
    ROOT,
    asked,
    raw_server,
)

pytestmark = pytest.mark.faults


def bench(cwd, url, *arguments, env=None):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "bench.py"),
            *arguments,
            "--host",
            url,
            "--cooldown",
            "0",
            "--idle",
            "0",
            "--plain",
            "--no-monitor",
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **(env or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    "fault, code, statuses",
    [
        ("created_at_backwards", 0, {"completed"}),
        ("garbage", 1, {"stream_error"}),
        ("reset_mid_line", 1, {"reset"}),
        ("503", 1, {"http_error"}),
        ("accept_silence", 1, {"stalled"}),
        ("error_first", 1, {"stream_error"}),
        ("no_text", 1, {"empty"}),
        ("escape_codes:error", 1, {"stream_error"}),
    ],
)
def test_the_exit_code_tells_whether_any_level_got_no_reply(
    sim, tmp_path, fault, code, statuses
):
    server = sim(
        "--profile",
        "exact",
        "--ttft",
        "5",
        "--itl",
        "1",
        "--tokens",
        "10",
        "--fault",
        fault,
    )
    done = bench(
        tmp_path, server.url, "1,8", "--warmup", "0", "--stall", "1"
    )
    assert done.returncode == code, done.stdout + done.stderr
    connection = sqlite3.connect(tmp_path / "results.db")
    found = connection.execute(
        "SELECT level_id, count(*), group_concat(DISTINCT status) FROM request "
        "WHERE level_id IN (SELECT id FROM level WHERE is_control IS NOT 1) GROUP BY level_id"
    ).fetchall()
    assert [row[1] for row in found] == [1, 8] and {
        row[2] for row in found
    } <= statuses  # the run went on to the second level
    assert connection.execute("SELECT status FROM run").fetchone() == (
        "finished",
    )
    connection.close()


def test_words_that_the_console_cannot_write_are_no_end_of_the_run(
    sim, tmp_path
):
    def answer(connection):
        models = b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"data": [{"id": "x"}]}'
        connection.sendall(
            "HTTP/1.1 500 x\r\nConnection: close\r\n\r\n時間 \U0001f600".encode()
            if asked(connection)
            else models
        )

    with raw_server(answer) as url:
        done = bench(
            tmp_path,
            url,
            "2",
            "--api",
            "openai",
            "--warmup",
            "0",
            env={"PYTHONIOENCODING": "ascii"},
        )
    assert (
        done.returncode == 1
        and "500" in done.stdout
        and len(done.stderr.splitlines()) <= 1
    )


def test_a_run_that_fails_stores_why(sim, tmp_path):
    server = sim("--profile", "exact", "--fault", "500")
    done = bench(tmp_path, server.url, "1")
    (told,) = done.stderr.splitlines()
    connection = sqlite3.connect(tmp_path / "results.db")
    found = connection.execute(
        "SELECT status, kind, detail FROM run JOIN event ON run_id = run.id"
    ).fetchall()
    connection.close()
    assert done.returncode == 1
    assert found == [
        ("failed", "run_failed", told.removeprefix("bench.py: "))
    ]
