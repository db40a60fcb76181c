"""monitor.py as a program."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

import monitor
from ollama_bench.monitor.processes import read_name
from ollama_bench.storage.connection import connect
from tests.monitor.support import (
    ROOT,
    only_row,
    posix,
    run_monitor,
)


def test_alone_it_stores_a_run_without_levels(tmp_path):
    done = run_monitor(
        tmp_path,
        "--pid",
        str(os.getpid()),
        "--interval",
        "0.2",
        "--duration",
        "1",
    )
    assert done.returncode == 0, done.stderr
    assert (
        f"serve {read_name(psutil.Process())} ({os.getpid()})"
        in done.stdout
    )
    run = only_row(tmp_path / "results.db", "run")
    assert (run["source"], run["status"]) == (
        "monitor",
        "finished",
    ) and run["monitor_cpu_s"] > 0
    assert (
        only_row(tmp_path / "results.db", "machine")["id"]
        == run["machine_id"]
    )
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_with_130_and_keep_all(tmp_path, number):
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "monitor.py"),
            "--pid",
            str(os.getpid()),
            "--interval",
            "0.1",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and "stored as run 1" in said
        and "Traceback" not in said
    )
    check_interrupted(tmp_path)


def check_interrupted(folder):
    run = only_row(folder / "results.db", "run")
    assert run["status"] == "interrupted" and run["ended_ns"] > 0
    database = connect(folder / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert database["process_sample"].count > 0


@posix
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    with subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "monitor.py"),
            "--pid",
            str(os.getpid()),
            "--interval",
            "0.1",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.wait(60) == 130
    assert (
        "stored as run 1" in said.splitlines()[-1] and "Error" not in said
    )
    check_interrupted(tmp_path)


@pytest.mark.parametrize("pid", ["99999999", "-1", "1" + "0" * 30])
def test_a_pid_of_nobody_is_one_line_and_no_run(
    tmp_path, monkeypatch, capsys, pid
):
    monkeypatch.chdir(tmp_path)
    assert monitor.main(["--pid", pid, "--duration", "1"]) == 2
    said = f"monitor.py: invalid --pid '{pid}': expected the pid"
    assert capsys.readouterr().err == f"{said} of a running process\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (
            ["--powermetrics-log", "absent"],
            1,
            "monitor.py: absent: No such file or directory",
        ),
        (
            ["--powermetrics-log", "empty"],
            1,
            "monitor.py: empty contains no powermetrics sample",
        ),
        (
            ["--port", "0"],
            2,
            "invalid port '0': expected an integer from 1 to 65535",
        ),
        (["--port", "x"], 2, "invalid port 'x'"),
        (
            ["--interval", "0"],
            2,
            "invalid duration '0': expected seconds, at least 0.05",
        ),
        (["--duration", "x"], 2, "invalid duration 'x'"),
        (["--db", "empty/x.db", "--duration", "1"], 1, "monitor.py: "),
    ],
)
def test_errors_are_one_line(
    tmp_path, monkeypatch, capsys, arguments, code, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("")
    try:
        found = monitor.main(arguments)
    except SystemExit as error:  # of argparse
        found = error.code
    assert found == code
    assert said in capsys.readouterr().err.splitlines()[-1]
