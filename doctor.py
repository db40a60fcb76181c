"""doctor.py - says in one page what this machine lets the tool see, for whoever is to help from afar.

    python doctor.py          or: make doctor
    sudo python doctor.py     with the power that only root may read

Nothing is stored and no request is sent to a model. Names of users, computers and home folders are
masked; each line stands for itself, so that what fails here is a line too.
"""
from __future__ import annotations

import sys

try:
    import standard  # first: it says so where Python is too old or lacks the packages
except ModuleNotFoundError as error:
    sys.exit(f"{error}: start it without PYTHONSAFEPATH, -P and -I, which hide this tool's own files")

import argparse
import getpass
import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import ssl
import sysconfig
import textwrap
import time
from pathlib import Path
from typing import Callable, Iterable, Iterator

import psutil

import api
import db
import load
import machine
import monitor
import power
import privilege
import server
import syscalls
import wire

WATCH_S = 4.0  # after the first samples; an M5's CPU counter steps every 2.2 s
FIRST_S = 8.0  # for the first sample of each source
ANSWER_S = 2.0
MOST_LINES, COLUMNS = 59, 100
PORTS = {monitor.PORT: "ollama", 8080: "openai", 8000: "openai", 1234: "openai"}  # of README's servers
PACKAGES = ("requests", "urllib3", "msgspec", "psutil", "sqlite-utils", "datasette", "altair",
            "vl-convert-python", "rich", "nvidia-ml-py", "uvicorn", "pip")
CALLS: dict[str, Callable[[], object]] = {  # of psutil, all that the tool uses
    "virtual_memory": lambda: psutil.virtual_memory(),
    "swap_memory": lambda: psutil.swap_memory(),
    "cpu_times": lambda: psutil.cpu_times(),
    "pids": lambda: psutil.pids(),
    "net_connections": lambda: psutil.net_connections(kind="tcp"),
    "sensors_battery": lambda: psutil.sensors_battery(),
}
METHODS = ("cmdline", "status", "cpu_times", "memory_info", "num_threads", "num_fds", "num_handles",
           "environ", "create_time", "name", "children", "ppid", "is_running", "net_connections")
HOMES = re.compile(r"(?:/Users|/home|[A-Za-z]:\\+Users)[/\\]+[^/\\\s:'\"]+")


def main() -> int:
    standard.prepare()
    argparse.ArgumentParser(prog="doctor.py", description="says in one page, without names, what this "
                            "machine lets the tool see: paste it where you ask for help.").parse_args()
    helper = None
    try:
        helper = privilege.split_off()  # before anything is opened
        show(report(helper))
    except KeyboardInterrupt:
        return 130
    except (privilege.PrivilegeError, OSError) as error:
        standard.silence(sys.stdout)
        print(f"doctor.py: {standard.clean_line(str(error))}", file=sys.stderr)
        return 1
    finally:
        if helper:
            helper.stop()
    return 0


def report(helper: privilege.Helper | None) -> Iterator[str]:
    """All lines, as they are found; one that can't be had names its error instead."""
    sections: dict[str, Callable[[], Iterable[str]]] = {
        "tool": lambda: tool(helper), "Python": python, "packages": packages, "machine": described, "clocks": clocks,
        "limits": limits, "psutil": calls, "ports": ports, "macmon": macmon,
        "watching": lambda: watched(helper)}
    for name, section in sections.items():
        try:
            for line in section():
                yield f"{name}: {line}"
        except Exception as error:  # whatever a strange machine answers
            yield f"{name}: {said(error)}"


def show(lines: Iterable[str]) -> None:
    """Print them, masked, and no more than one page."""
    names, printed = known_names(), 0
    for line in lines:
        line = standard.clean_line(mask(line, names))
        for part in textwrap.wrap(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False):
            printed += 1
            if printed < MOST_LINES:
                print(part, flush=True)
    if printed >= MOST_LINES:
        print(f"and {printed - MOST_LINES + 1} lines more")


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


# -- names ------------------------------------------------------------------------------

def known_names() -> dict[str, str]:
    """What must not be shown, and what stands for it."""
    names = {str(Path.home()): "~"} if len(str(Path.home())) > 1 else {}
    host = platform.node()
    for name in (host, host.partition(".")[0]):
        names.setdefault(name, "<host>")
    users = [os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")]
    try:
        users.append(getpass.getuser())
    except Exception:  # no such user: KeyError, ImportError or OSError, by version and system
        pass
    for user in users:
        names.setdefault(user, "<user>")
    return {name: word for name, word in names.items() if name and name not in ("root", "localhost")}


def mask(text: str, names: dict[str, str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", names[name], text, flags=re.IGNORECASE)
    return HOMES.sub("~", text)


# -- sections ---------------------------------------------------------------------------

def tool(helper: privilege.Helper | None) -> Iterator[str]:
    """Version of the tool and of the system, by each of the ways to ask for it."""
    rights = "as root" if is_root() else "started with sudo" if helper else "without root"
    yield f"{db.TOOL_VERSION}, {rights}"
    yield f"{platform.system()} {platform.release()} {platform.version()} {platform.machine()}"
    if sys.platform == "darwin":
        yield (f"macOS {platform.mac_ver()[0]} by Python, {machine.sysctl('kern.osproductversion')}"
               f" by the kernel; translated by Rosetta: {machine.sysctl('sysctl.proc_translated')}")


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def python() -> Iterator[str]:
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    yield (f"{platform.python_implementation()} {platform.python_version()}"
           f" {' '.join(platform.python_build())}, {platform.python_compiler()}")
    yield (f"{platform.architecture()[0]}, free-threaded: {free}, environment of its own:"
           f" {sys.prefix != sys.base_prefix}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}")


def packages() -> Iterator[str]:
    yield ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)


def version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def described() -> Iterator[str]:
    yield columns({name: value for name, value in machine.describe().items() if name != "fingerprint"})


def columns(row: dict) -> str:
    """A row as name=value, numbers with six digits."""
    return ", ".join(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in row.items())


def clocks() -> Iterator[str]:
    infos = {name: time.get_clock_info(name) for name in ("perf_counter", "monotonic", "time")}
    yield ", ".join(f"{name}: {info.implementation.partition('(')[0]} {info.resolution:.3g} s"
                    for name, info in infos.items())
    late_ns = []
    for _ in range(10):
        before = time.perf_counter_ns()
        time.sleep(load.HEARTBEAT_S)
        late_ns.append(time.perf_counter_ns() - before - load.HEARTBEAT_S * 1e9)
    has = [name for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "CLOCK_UPTIME_RAW") if hasattr(time, name)]
    yield f"{', '.join(has) or 'no other'}; sleeps end up to {max(late_ns) / 1e6:.2f} ms late"
    yield (f"receiving: {'together' if wire.READS_TOGETHER else 'each thread alone'}, kernel stamps:"
           f" {wire.KERNEL_STAMPS}, system calls by ctypes: {syscalls.Receiver is not None}")


def limits() -> Iterator[str]:
    try:
        import resource
    except ImportError:  # Windows
        return
    yield ", ".join(f"{word} {resource.getrlimit(getattr(resource, name))}" for word, name in (
        ("files", "RLIMIT_NOFILE"), ("processes", "RLIMIT_NPROC")))
    if sys.platform == "darwin":
        yield f"threads of a process {machine.sysctl('kern.num_taskthreads')}"


def calls() -> Iterator[str]:
    """Each call of psutil that the tool makes: of the machine, of this process, of the server's."""
    yield from outcomes("", CALLS)
    yield from outcomes("own ", methods(psutil.Process()))
    for root in monitor.find_roots(monitor.PORT, None)[:1]:
        yield from outcomes("server's ", methods(root))


def methods(process: psutil.Process) -> dict[str, Callable[[], object]]:
    return {name: getattr(process, name) for name in METHODS if hasattr(process, name)}


def outcomes(word: str, asked: dict[str, Callable[[], object]]) -> Iterator[str]:
    """What works in one line, and a line for each that does not."""
    works, failed = [], []
    for name, call in asked.items():
        try:
            call()
            works.append(name)
        except Exception as error:
            failed.append(f"{word}{name}: {said(error)}")
    yield f"{word}ok: {', '.join(works) or 'nothing'}"
    yield from failed


def ports() -> Iterator[str]:
    yield f"OLLAMA_HOST is {'set' if os.environ.get('OLLAMA_HOST') else 'not set'}"
    yield ", ".join(f"{port} {answer(port, protocol)}" for port, protocol in PORTS.items())


def answer(port: int, protocol: str) -> str:
    """What a server on this machine says of itself."""
    path = "/api/version" if protocol == "ollama" else "/v1/models"
    try:
        with server.Server(f"http://127.0.0.1:{port}", api.SERVERS[protocol], None) as asked:
            status, words = asked.get(path, within_s=ANSWER_S)
    except server.ServerError:
        return "nobody"
    version = words.get("version") if isinstance(words, dict) else None
    return f"answers {status}" + (f" version {str(version)[:40]}" if version else "")


def macmon() -> Iterator[str]:
    found = shutil.which("macmon")
    if found and is_root():  # nothing out of PATH as root
        yield "installed"
    elif found:
        yield machine.output_of(found, "--version").strip() or "installed, and does not say its version"
    elif sys.platform == "darwin":
        yield "not installed"


class Notebook:
    """What a run would store, as the monitor knows it: the last row of each table."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}

    def insert(self, table: str, row: dict) -> int:
        self.rows[table] = row
        return 1

    def add(self, table: str, row: dict) -> None:
        self.rows[table] = row

    def update(self, table: str, number: int, row: dict) -> None:
        pass


def watched(helper: privilege.Helper | None) -> Iterator[str]:
    """A few seconds of what a run would store of the machine, its power and the server."""
    book, told = Notebook(), []
    if helper is not None and helper.failure:
        yield helper.failure
    watching = monitor.Monitor(book, 1, time.perf_counter_ns(), sources=power.sources(helper),
                               ports=[monitor.PORT], say=told.append)
    try:
        watching.start()
        watching.wait_first_sample(FIRST_S)
        time.sleep(WATCH_S)
        members = list(watching.tree.members.values()) if watching.tree else []
        slots = watching.slots(monitor.PORT)
    finally:
        watching.stop()
    for track in watching.tracks:
        yield f"{track.name}: {track.samples} samples, {track.source.dropped} damaged, {track.source.status}"
        if track.latest:
            yield f"{track.name}: {columns(track.latest)}"
    yield columns(book.rows.get("system_sample", {})) or "no row of the machine"
    for member in members[:4]:
        yield f"{member.role} {member.name}: {columns(member.latest)}"
    yield f"{len(members)} processes of a server on port {monitor.PORT}, slots {slots[0]} ({slots[1]})"
    yield from told


if __name__ == "__main__":
    sys.exit(main())
