"""Start bench.py from outside, wait for what it says, and look into its results file."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.run.programs import ROOT as ROOT
from tests.run.programs import start as start
from tests.run.programs import wait_for as wait_for
from tests.support.uncontrolled import hide_controls

PATIENCE_S = 20.0  # for something to happen on a loaded machine

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs Linux"
)


as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root"
)


posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def finish(process, timeout=60):
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()  # one that hangs is not left behind
    assert "Traceback" not in err, err
    return process.returncode, out, err


def query(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        hide_controls(connection, sql)
        return connection.execute(sql).fetchall()


def long_dead(path):
    """As if a run that was killed had given its last sign of life a day ago."""
    with contextlib.closing(
        sqlite3.connect(path, timeout=20)
    ) as connection:
        connection.execute(
            "UPDATE run SET seen_unix = seen_unix - 86400 WHERE status = 'running'"
        )
        connection.commit()


def assert_sound(path):
    assert (
        query(path, "PRAGMA integrity_check") == [("ok",)]
        and query(path, "PRAGMA foreign_key_check") == []
    )
    assert (
        query(
            path,
            "SELECT count(*) FROM request GROUP BY level_id, number HAVING count(*) > 1",
        )
        == []
    )


def wait_until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it never was so"
        time.sleep(0.02)


IMPATIENT = """
import sys
sys.path.insert(0, {root!r})
from ollama_bench.storage import connection, writer
writer.WRITE_PATIENCE_S, connection.OPEN_PATIENCE_S = 1.5, 0.5
import bench
{more}
sys.exit(bench.main({arguments!r}))
"""


def start_impatient(*arguments, cwd, more=""):
    """bench.py with a writer that gives up after 1.5 s."""
    code = IMPATIENT.format(
        root=str(ROOT), more=more, arguments=[*map(str, arguments)]
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def assert_one_line(err, *words):
    assert (
        len(err.splitlines()) == 1
        and err.startswith("bench.py: ")
        and all(word in err for word in words)
    ), err


def hold(path):
    """A lock on the file, as another program's that writes."""
    blocker = sqlite3.connect(path, timeout=20, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    return blocker
