"""Run bench.py, here or from outside, and look into its results file."""

import contextlib
import io
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest import mock

import bench
from tests.support.uncontrolled import hide_controls

ROOT = Path(__file__).resolve().parents[2]


QUICK = ["--cooldown", "0", "--idle", "0", "--plain"]


def clean_environment(more):
    """What a program sees of our environment, and more."""
    hidden = ("OLLAMA_HOST", "SUDO_UID", "HTTP_PROXY")
    kept = {k: v for k, v in os.environ.items() if k not in hidden}
    return kept | (more or {})


def start(*arguments, cwd, env=None, **options):
    """Start bench.py as a process, for what happens to processes."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "bench.py"), *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(env),
        **options,
    )


def run(*arguments, cwd, env=None):
    """Run bench.py in this process; return its exit code and what it printed."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd)
    try:
        with (
            mock.patch.dict(
                os.environ, clean_environment(env), clear=True
            ),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = bench.main([*map(str, arguments)])
    except SystemExit as error:  # of argparse
        code = error.code
    finally:
        os.chdir(before)
    return code, out.getvalue(), err.getvalue()


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
