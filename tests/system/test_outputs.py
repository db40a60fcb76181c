"""Outputs that are closed, full or lost, and a terminal that is gone: the rows stay."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.beginnings import QUICK
from tests.system.programs import (
    ROOT,
    assert_one_line,
    finish,
    linux,
    posix,
    query,
    start,
    wait_for,
)

pytestmark = pytest.mark.faults


def shell(script, *arguments):
    """bench.py by way of a shell."""
    return [
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        str(ROOT / "bench.py"),
        *map(str, arguments),
    ]


@posix
@pytest.mark.parametrize(
    "redirection",
    [
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
        pytest.param(">/dev/full", marks=linux),
        pytest.param("2>/dev/full", marks=linux),
    ],
)
def test_a_closed_or_full_output_is_no_end_of_a_run(
    steady, tmp_path, redirection
):
    command = shell(
        f'exec "$@" {redirection}', "1,2", "--host", steady.url, *QUICK
    )
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr
    if redirection == ">/dev/full":
        assert_one_line(
            done.stderr, "No space left on device", "the run continues"
        )
    assert query(
        tmp_path / "results.db",
        "SELECT sum(completed), (SELECT status FROM run) FROM level_summary",
    ) == [(3, "finished")]


@posix
@pytest.mark.parametrize(
    "redirection",
    [
        "<&- >&- 2>&-",
        pytest.param(">/dev/full", marks=linux),
        pytest.param("2>/dev/full", marks=linux),
    ],
)
def test_monitor_without_an_output_stores_its_run(tmp_path, redirection):
    command = [
        "sh",
        "-c",
        f'exec "$@" {redirection}',
        "sh",
        sys.executable,
        str(ROOT / "monitor.py"),
        "--port",
        "9",
        "--interval",
        "0.2",
        "--duration",
        "1",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    full = redirection == ">/dev/full"
    assert (
        done.returncode == (130 if full else 0)
        and "Traceback" not in done.stderr
        and ("No space left" in done.stderr) == full
    )
    assert query(tmp_path / "results.db", "SELECT status FROM run") == [
        ("interrupted" if full else "finished",)
    ]


@posix
def test_analyze_draws_where_standard_error_is_closed(steady, tmp_path):
    assert (
        finish(start("1", "--host", steady.url, *QUICK, cwd=tmp_path))[0]
        == 0
    )
    command = [
        "sh",
        "-c",
        'exec "$@" 2>&-',
        "sh",
        sys.executable,
        str(ROOT / "analyze.py"),
    ]
    assert (
        subprocess.run(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=120
        ).returncode
        == 0
    )
    assert (tmp_path / "data" / "report.html").exists()


@posix
def test_ctrl_c_that_also_ends_who_reads_keeps_what_was_in_flight(
    slow, tmp_path
):
    """As of `bench.py 2>&1 | tee log`."""
    process = start("1,2", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "2 streaming")
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert query(
        tmp_path / "results.db",
        "SELECT concurrency, status, errors FROM level_summary",
    ) == [(1, "finished", 0), (2, "interrupted", 2)]
    assert query(
        tmp_path / "results.db", "SELECT status, ended_ns > 0 FROM run"
    ) == [("interrupted", 1)]


@posix
def test_a_reader_that_leaves_ends_the_run_and_the_level_it_cut_is_no_part_of_the_answer(
    slow, tmp_path
):
    process = start("1,2", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 2")
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read().strip()
    assert (
        process.wait(30) == 130
        and err.startswith("interrupted")
        and len(err.splitlines()) == 1
    )
    code, out, _ = finish(
        start("1,2", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path)
    )
    assert code == 0 and "1 of 2 levels are measured" in out
    assert query(
        tmp_path / "results.db",
        "SELECT concurrency, status, completed FROM level_summary WHERE NOT superseded",
    ) == [(1, "finished", 1), (2, "finished", 2)]


@posix
@pytest.mark.parametrize("shown", [["--plain"], []])
@pytest.mark.parametrize(
    "script, code, status",
    [
        ('exec "$@"', 130, "interrupted"),
        ('trap "" HUP; exec "$@"', 0, "finished"),
    ],
)
def test_a_terminal_that_is_closed_costs_nothing_that_was_seen(
    slow, tmp_path, shown, script, code, status
):
    """The kernel and the shell both say so; after nohup it is no end at all."""
    ours, theirs = os.openpty()
    command = shell(
        script,
        "1,2",
        "--host",
        slow.url,
        *(argument for argument in QUICK if argument != "--plain"),
        *shown,
    )
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    while b"level 2 of 2" not in said:
        said += os.read(ours, 4096)
    time.sleep(0.5)
    os.close(ours)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    assert process.wait(30) == code
    assert query(
        tmp_path / "results.db",
        "SELECT status, (SELECT status FROM level WHERE id = 2) FROM run",
    ) == [(status, status)]
    assert query(
        tmp_path / "results.db",
        "SELECT count(*) FROM request WHERE status = 'in_flight'",
    ) == [(0,)]
