"""psutil raises more than its own errors: no call may end a run or hide a server."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
import types
from pathlib import Path

import psutil
import pytest

import monitor
from ollama_bench.monitor import live_view
from ollama_bench.monitor.process_tree import ProcessTree, Slots
from ollama_bench.monitor.processes import find_descendants
from ollama_bench.platforms import darwin
from ollama_bench.power.sampler import Child
from ollama_bench.storage.connection import connect

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_CALLS = {  # of the module: and the column that is not known then
    "virtual_memory": ("system_sample", "memory_used_bytes"),
    "swap_memory": ("system_sample", "swap_used_bytes"),
    "cpu_times": ("system_sample", "cpu_ratio"),
    "pids": None,
    "pid_exists": None,
    "net_connections": None,
    "Process": None,
    "sensors_battery": None,
    "net_if_addrs": None,
}
PROCESS_CALLS = {
    "cmdline": None,
    "net_connections": None,
    "environ": None,
    "is_running": None,
    "children": None,
    "ppid": None,
    "status": None,
    "name": ("process", "name"),
    "create_time": ("process", "created_unix"),
    "oneshot": ("process_sample", "cpu_s"),
    "cpu_times": ("process_sample", "cpu_s"),
    "memory_info": ("process_sample", "rss_bytes"),
    "num_threads": ("process_sample", "threads"),
    "num_fds": ("process_sample", "fds"),
}
BLIND = {"pids", "Process"}  # without them there is no process to be seen
ERRORS = [
    OSError(102, "Operation not supported on socket"),
    *(
        pytest.param(error, marks=pytest.mark.faults)
        for error in (
            RuntimeError("proc_pidinfo: 0 bytes"),
            psutil.Error("refused"),
        )
    ),
]
LISTENER = (
    "import socket, sys; server = socket.create_server(('127.0.0.1', 0));"
    "print(server.getsockname()[1], flush=True); sys.stdin.read()"
)


@pytest.fixture(scope="module")
def server():
    """A process that listens: its pid and port."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield types.SimpleNamespace(
            pid=process.pid, port=int(process.stdout.readline())
        )
        process.communicate()


def refusing(error):
    def call(*_, **__):
        raise error

    # as the calls have whose answers oneshot() keeps
    call.cache_activate = call.cache_deactivate = lambda *_: None
    return call


def rows(path, table):
    database = connect(path, readonly=True)
    with contextlib.closing(database.conn):
        return list(database[table].rows)


@pytest.fixture
def watch(tmp_path, monkeypatch, server):
    """watch() -> what the monitor stored in a run by itself, of one look at least."""
    path = tmp_path / "results.db"

    def show(watched, duration_s, interrupt):
        assert watched.wait_first_sample() and live_view.lines(watched)

    monkeypatch.setattr(monitor, "show", show)
    return lambda: look(path, server)


def look(path, server):
    assert (
        monitor.main(["--port", str(server.port), "--db", str(path)]) == 0
    )
    (run,) = rows(path, "run")
    assert run["status"] == "finished" and run["ended_ns"] > 0
    return {
        table: rows(path, table)
        for table in (
            "machine",
            "system_sample",
            "process",
            "process_sample",
        )
    }


def check(stored, server, name, column):
    assert stored["system_sample"]
    if name not in BLIND:
        assert (
            server.pid in [row["pid"] for row in stored["process"]]
            and stored["process_sample"]
        )
    if column:
        table, column = column
        assert stored[table] and {
            row[column] for row in stored[table]
        } == {None}


def test_what_is_unknown_below_is_known_where_nothing_refuses(watch):
    stored = watch()
    known = set(
        filter(None, [*SYSTEM_CALLS.values(), *PROCESS_CALLS.values()])
    )
    # it may be too soon for a tick of the clock
    known.remove(SYSTEM_CALLS["cpu_times"])
    for table, column in known:
        if column != "fds" or hasattr(psutil.Process, "num_fds"):
            assert None not in {row[column] for row in stored[table]}, (
                column
            )


@pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_the_system_is_asked_in_vain(
    watch, monkeypatch, capsys, server, name, error
):
    monkeypatch.setattr(darwin, "find_libc", lambda: None)
    monkeypatch.setattr(psutil, name, refusing(error))
    check(watch(), server, name, SYSTEM_CALLS[name])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize(
    "name",
    [name for name in PROCESS_CALLS if hasattr(psutil.Process, name)],
)
def test_a_process_is_asked_in_vain(
    watch, monkeypatch, capsys, server, name, error
):
    monkeypatch.setattr(psutil.Process, name, refusing(error))
    if name == "ppid":
        monkeypatch.setattr(psutil.Process, "children", refusing(error))
    check(watch(), server, name, PROCESS_CALLS[name])
    said = capsys.readouterr().err
    assert (
        "Traceback" not in said
        and "failed" not in said
        and "monitor: " not in said
    )


def test_every_call_of_the_module_is_in_the_list():
    """No other may come without being tried here."""
    called = set()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("ollama_bench/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "psutil"
            ):
                called.add(node.attr)
    constants = {name for name in called if name.isupper()} | {
        "Error",
        "NoSuchProcess",
        "AccessDenied",
    }
    assert called - constants == set(SYSTEM_CALLS)


def test_a_machine_whose_memory_is_not_told_is_a_row_without_it(
    watch, monkeypatch
):
    monkeypatch.setattr(darwin, "find_libc", lambda: None)
    monkeypatch.setattr(psutil, "virtual_memory", refusing(ERRORS[0]))
    stored = watch()
    assert [row["memory_bytes"] for row in stored["machine"]] == [None]
    assert (
        {row["memory_ratio"] for row in stored["process_sample"]}
        == {None}
        != {row["rss_bytes"] for row in stored["process_sample"]}
    )


@pytest.mark.parametrize(
    "name", ["__init__", "cmdline", "net_connections"]
)
def test_one_process_that_refuses_hides_no_other(
    monkeypatch, server, name
):
    """psutil#2116: one of another kind on the same Mac ended every search."""
    asked = getattr(psutil.Process, name)

    def call(process, *arguments, **options):
        if (
            arguments[0] if name == "__init__" else process.pid
        ) == os.getppid():
            raise RuntimeError("proc_pidinfo: 0 bytes")
        return asked(process, *arguments, **options)

    monkeypatch.setattr(psutil.Process, name, call)
    monkeypatch.setattr(
        psutil, "net_connections", refusing(psutil.AccessDenied())
    )
    tree = ProcessTree([server.port], None)
    appeared = tree.rescan(0.0).appeared
    assert server.pid in [member.process.pid for member in appeared]


def test_a_child_that_refuses_hides_no_other_child(monkeypatch, server):
    us = psutil.Process()
    monkeypatch.setattr(
        psutil.Process,
        "children",
        refusing(RuntimeError("proc_pidinfo: 0 bytes")),
    )
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys;"
            "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0);"
            "print(child.pid, flush=True); child.wait()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        grandchild = int(process.stdout.readline())
        assert {server.pid, process.pid, grandchild} <= {
            found.pid for found in find_descendants(us)
        }
        process.communicate(b"\n")


@pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: type(error).__name__
)
def test_slots_are_unknown_where_the_processes_refuse(
    monkeypatch, server, error
):
    tree = ProcessTree([server.port], None)
    tree.rescan(0.0)
    for name in ("cmdline", "environ", "children", "create_time"):
        monkeypatch.setattr(psutil.Process, name, refusing(error))
    assert tree.find_slots(server.port) == Slots()


@pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: type(error).__name__
)
def test_a_sampler_ends_where_its_cpu_time_is_refused(monkeypatch, error):
    child = Child([[sys.executable, "-c", "input()"]])
    output = child.start()
    with output:
        monkeypatch.setattr(psutil, "Process", refusing(error))
        child.kill()
    assert child.cpu_s == 0
    child.stop()


SITE = """
import psutil

def refused(*_):
    raise RuntimeError("host_statistics64(HOST_VM_INFO64) syscall failed")

psutil.virtual_memory = psutil.swap_memory = refused
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "bench.py",
            "1",
            "--demo",
            "--cooldown",
            "0",
            "--idle",
            "0",
            "--plain",
        ],
        [
            "bench.py",
            "1",
            "--demo",
            "--cooldown",
            "0",
            "--idle",
            "0",
            "--plain",
            "--no-monitor",
        ],
        ["monitor.py", "--interval", "0.1", "--duration", "0.3"],
    ],
)
@pytest.mark.faults
def test_a_run_on_macos_27_ends_well(tmp_path, arguments):
    (tmp_path / "sitecustomize.py").write_text(SITE)
    done = subprocess.run(
        [sys.executable, ROOT / arguments[0], *arguments[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (
        done.returncode == 0
        and "RuntimeError" not in done.stderr
        and "Traceback" not in done.stderr
    ), done.stderr
    path = tmp_path / "results.db"
    assert [row["status"] for row in rows(path, "run")] == ["finished"]
    if arguments[0] == "bench.py":
        assert [row["status"] for row in rows(path, "level")] == [
            "finished"
        ]
        assert {row["status"] for row in rows(path, "request")} == {
            "completed"
        }
    samples = rows(path, "system_sample")
    assert bool(samples) == ("--no-monitor" not in arguments)
    if sys.platform != "darwin":
        assert {row["memory_used_bytes"] for row in samples} | {
            row["swap_used_bytes"] for row in samples
        } <= {None}
        assert [row["memory_bytes"] for row in rows(path, "machine")] == [
            None
        ]
