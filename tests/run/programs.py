"""Start bench.py from outside, and look into its results file."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.support.uncontrolled import hide_controls

ROOT = Path(__file__).resolve().parents[2]


QUICK = ["--cooldown", "0", "--idle", "0", "--plain"]


def start(*arguments, cwd, env=None, **options):
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in ("OLLAMA_HOST", "SUDO_UID", "HTTP_PROXY")
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "bench.py"), *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean | (env or {}),
        **options,
    )


def run(*arguments, cwd, env=None):
    process = start(*arguments, cwd=cwd, env=env)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def rows(folder, sql):
    connection = sqlite3.connect(folder / "results.db")
    connection.row_factory = sqlite3.Row
    try:
        hide_controls(connection, sql)
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(
        f"{words!r} was never said: {process.stderr.read()}"
    )
