"""Limits of threads and of open files are named before or instead of a traceback."""

import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ollama_bench.load.errors import LoadError
from tests.load.levels import fire
from tests.load.played_server import Played

ROOT = Path(__file__).resolve().parents[2]


def test_a_level_without_threads_ends_in_one_line(monkeypatch):
    real, started = threading.Thread.start, itertools.count(1)

    def start(thread):
        if (
            thread._target is not None
            and "worker" in getattr(thread._target, "__name__", "")
            and next(started) > 5
        ):
            raise RuntimeError("can't start new thread")
        real(thread)

    with Played([30.0]) as server:
        monkeypatch.setattr(threading.Thread, "start", start)
        began = time.perf_counter()
        with pytest.raises(LoadError, match="level 12 needs 12 threads"):
            fire(server.url, 12)
        assert time.perf_counter() - began < 1.0
    assert not [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("stream", "reader", "heart"))
    ]


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="becomes another user to have a limit of threads",
)
@pytest.mark.faults
def test_the_limit_of_threads_is_named_and_rows_are_kept(
    module_sim, tmp_path
):
    sim = module_sim(
        "--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "5"
    )
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    script = (
        f"import os, resource, sys; sys.path.insert(0, {str(ROOT)!r}); "
        "import bench, encodings.idna, sqlite_utils.db, psutil, scipy.special; "
        "resource.setrlimit(resource.RLIMIT_NPROC, (40, 40)); "
        "os.setgid(65534); os.setuid(65534); sys.exit(bench.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "2,64",
            "--host",
            sim.url,
            "--no-monitor",
            "--cooldown",
            "0",
            "--db",
            str(tmp_path / "results.db"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert (
        done.returncode == 1
        and "level 64 needs 64 threads" in done.stderr
        and "ulimit -u is 40" in done.stderr
    ), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db")
    ) as database:
        assert database.execute(
            "SELECT concurrency, status FROM level"
        ).fetchall() == [
            (2, "finished"),
            (64, "interrupted"),
        ]
        assert database.execute("SELECT status FROM run").fetchone() == (
            "interrupted",
        )


@pytest.mark.faults
@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such limit"
)
@pytest.mark.parametrize(
    "words, needed",
    [
        (["60"], 188),
        (["60", "--requests", "60"], 248),
        (["60", "--requests", "60", "--host", "127.0.0.1:2"], 368),
    ],
)
def test_descriptors_are_counted_before_anything_is_fired(
    words, needed, tmp_path
):
    """A connection for each host, each request in flight and each that is ready."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150)); "
        f"sys.path.insert(0, {str(ROOT)!r}); import bench; sys.exit(bench.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--host", "127.0.0.1:1", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert (
        f"need {needed} open files but the limit is 150: run ulimit -n {needed} first"
        in done.stderr
    )
    assert not list(tmp_path.iterdir())
