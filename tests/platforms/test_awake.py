"""The machine stays awake while a run goes on; nothing started for it outlives the run."""

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import psutil
import pytest

from ollama_bench.platforms import awake

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
posix = pytest.mark.skipif(
    os.name != "posix", reason="stand-ins are shell scripts"
)

# In the manner of systemd-inhibit: it takes the lock, then runs the command as its child and waits.
INHIBITOR = """#!/bin/sh
case "$1" in --no-ask-password) shift ;; esac
echo "$@" > "$LOG.arguments"
while case "$1" in --*) true ;; *) false ;; esac; do shift; done
echo $$ > "$LOG"
"$@"
echo ended >> "$LOG"
"""
OLD_INHIBITOR = INHIBITOR.replace(
    "shift ;; esac",
    "echo \"$0: unrecognized option '$1'\" >&2; exit 1 ;; esac",
    1,
)
REFUSING = (
    "#!/bin/sh\necho 'Failed to inhibit: Access denied' >&2\nexit 1\n"
)
SILENT = "#!/bin/sh\nexec sleep 60\n"
# In the manner of caffeinate -i -m -w PID: it ends when that process has.
CAFFEINATE = """#!/bin/sh
echo "$@" > "$LOG.arguments"
echo $$ > "$LOG"
while kill -0 "$4" 2>/dev/null; do sleep 0.05; done
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """tool(name, script) puts a script first in PATH; return the file that gets its pid."""

    def make(name, script):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv(
            "PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}"
        )
        monkeypatch.setenv("LOG", str(tmp_path / "log"))
        return tmp_path / "log"

    return make


def until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.02)
    assert condition()


def pid_in(log):
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    return int(log.read_text().split()[0])


def lived(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def held(monkeypatch, platform):
    """What was said while it was held."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(awake, "may_sleep", lambda: True)
    said = []
    with awake.kept(said.append):
        pass
    return said


# -- staying awake ----------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "script", [INHIBITOR, OLD_INHIBITOR], ids=["new", "old"]
)
def test_linux_holds_a_lock_of_systemds_for_the_run(
    tool, monkeypatch, script
):
    log = tool("systemd-inhibit", script)
    monkeypatch.setattr(sys, "platform", "linux")
    said = []
    with awake.kept(said.append):
        pid = pid_in(log)
        assert lived(pid)
        assert log.with_name("log.arguments").read_text().split("--why")[
            0
        ].split() == [
            "--what=idle:sleep",
            "--mode=block",
            "--who=ollama-bench",
        ]
    assert (
        not lived(pid)
        and log.read_text().endswith("ended\n")
        and said == []
    )


@posix
def test_a_mac_is_caffeinated_for_the_run(tool, monkeypatch):
    log = tool("caffeinate", CAFFEINATE)
    monkeypatch.setattr(
        awake, "CAFFEINATE", str(log.parent / "bin" / "caffeinate")
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    said = []
    with awake.kept(said.append):
        pid = pid_in(log)
        assert (
            lived(pid)
            and log.with_name("log.arguments").read_text()
            == f"-i -m -w {os.getpid()}\n"
        )
    assert not lived(pid) and said == []


def test_windows_is_told_and_told_again(monkeypatch):
    flags = []

    def call(flag):
        flags.append(flag)
        return 0x80000000

    monkeypatch.setattr(
        ctypes,
        "windll",
        types.SimpleNamespace(
            kernel32=types.SimpleNamespace(SetThreadExecutionState=call)
        ),
        raising=False,
    )
    assert held(monkeypatch, "win32") == [] and flags == [
        0x80000001,
        0x80000000,
    ]


@posix
@pytest.mark.parametrize(
    "script, why",
    [
        (REFUSING, "Failed to inhibit: Access denied"),
        (SILENT, "no answer"),
        (None, "No such file or directory"),
    ],
)
def test_what_cannot_be_held_is_one_line_and_no_error(
    tool, monkeypatch, script, why
):
    log = tool(
        "systemd-inhibit" if script else "other", script or REFUSING
    )
    monkeypatch.setattr(
        awake, "HOLD_PATIENCE_S", 2.0 if script == REFUSING else 0.2
    )
    monkeypatch.setattr(awake, "END_PATIENCE_S", 0.2)
    if script is None:
        monkeypatch.setenv("PATH", str(log.parent / "bin"))
    children = psutil.Process().children()
    (line,) = held(monkeypatch, "linux")
    assert (
        why in line and "it may fall asleep" in line and "\n" not in line
    )
    assert psutil.Process().children() == children


def test_a_mac_or_windows_without_its_way_is_one_line(monkeypatch):
    monkeypatch.setattr(awake, "CAFFEINATE", "/nonexistent/caffeinate")
    monkeypatch.delattr(ctypes, "windll", raising=False)
    for platform in ("darwin", "win32"):
        (line,) = held(monkeypatch, platform)
        assert "cannot keep this machine awake" in line
    # it knows no way and nobody expects one
    assert held(monkeypatch, "freebsd14") == []


@posix
def test_a_server_that_never_sleeps_says_nothing(tool, monkeypatch):
    tool("systemd-inhibit", REFUSING)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(awake.glob, "glob", lambda pattern: [])
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    said = []
    with awake.kept(said.append):
        pass
    assert said == []


@pytest.mark.parametrize(
    "kind, scope, display, sleeps",
    [
        ("Battery", "System", "", True),
        ("Battery", "", "", True),
        ("Battery", "Device", "", False),
        ("Mains", "", "", False),
        ("Mains", "", ":0", True),
        ("Mains", "", "localhost:10.0", False),
    ],
)
def test_who_may_fall_asleep(
    tmp_path, monkeypatch, kind, scope, display, sleeps
):
    (tmp_path / "type").write_text(kind + "\n")
    if scope:
        (tmp_path / "scope").write_text(scope + "\n")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        awake.glob, "glob", lambda pattern: [str(tmp_path)]
    )
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    assert awake.may_sleep() is sleeps


RUNS = {
    "bench.py": ["1", "--host", "{url}", "--idle", "0", "--plain"],
    "monitor.py": ["--port", "1"],
}


@posix
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="systemd's stand-in"
)
@pytest.mark.parametrize("program", RUNS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_is_killed_leaves_nobody_behind(
    tool, sim, tmp_path, program, number
):
    log = tool("systemd-inhibit", INHIBITOR)
    url = sim("--profile", "exact", "--tokens", "100000").url
    words = [word.format(url=url) for word in RUNS[program]]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / program), *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pid = pid_in(log)
        until(lambda: psutil.Process(pid).children())
        (cat,) = psutil.Process(pid).children()
        until(lambda: (tmp_path / "results.db").exists())
        process.send_signal(number)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    until(lambda: not lived(pid) and not lived(cat.pid))
