"""What this machine lets the tool see, for whoever helps: sections, each an iterator of lines."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import ssl
import sys
import sysconfig
import time
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import psutil

from ollama_bench.load import load
from ollama_bench.monitor import machine, monitor, server_search
from ollama_bench.monitor.process_tree import Slots
from ollama_bench.monitor.track import Track
from ollama_bench.platforms.conditions import output_of
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege.helper import Helper
from ollama_bench.storage.results_file import TOOL_VERSION
from ollama_bench.transport import capabilities, syscalls

# after the first samples; an M5's CPU counter steps every 2.2 s
WATCH_S = 4.0
FIRST_S = 8.0  # for the first sample of each source
ERROR_LENGTH = 200  # shown of an error
MOST_PROCESSES = 4
PACKAGES = (
    "requests",
    "urllib3",
    "msgspec",
    "psutil",
    "sqlite-utils",
    "datasette",
    "altair",
    "vl-convert-python",
    "rich",
    "nvidia-ml-py",
    "uvicorn",
    "pip",
)
# all calls of psutil that the tool uses
CALLS: dict[str, Callable[[], object]] = {
    "virtual_memory": lambda: psutil.virtual_memory(),
    "swap_memory": lambda: psutil.swap_memory(),
    "cpu_times": lambda: psutil.cpu_times(),
    "pids": lambda: psutil.pids(),
    "pid_exists": lambda: psutil.pid_exists(os.getpid()),
    "net_connections": lambda: psutil.net_connections(kind="tcp"),
    "net_if_addrs": lambda: psutil.net_if_addrs(),
    "sensors_battery": lambda: psutil.sensors_battery(),
}
METHODS = (  # all methods of psutil's Process that the tool uses
    "cmdline",
    "status",
    "cpu_times",
    "memory_info",
    "num_threads",
    "num_fds",
    "num_handles",
    "environ",
    "create_time",
    "name",
    "children",
    "ppid",
    "parents",
    "uids",
    "is_running",
    "net_connections",
)

ClockName = Literal["perf_counter", "monotonic", "time"]
CLOCKS: tuple[ClockName, ...] = ("perf_counter", "monotonic", "time")
Section = Callable[[], Iterable[str]]


@dataclass
class Watched:
    """What was seen while the machine was watched; empty where that failed."""

    # what is read of the power, and why not where it is not
    tracks: list[Track] = field(default_factory=list)
    slots: dict[int, Slots] = field(default_factory=dict)  # by port


def list_sections(
    helper: Helper | None, ports: Sequence[int], watched: Watched
) -> dict[str, Section]:
    """Return the sections by the word that begins their lines.

    ports: those of servers on this machine. The last section fills ``watched``.
    """
    return {
        "tool": lambda: describe_tool(helper),
        "Python": describe_python,
        "packages": list_packages,
        "machine": describe_machine,
        "clocks": describe_clocks,
        "limits": list_limits,
        "psutil": lambda: try_psutil(ports),
        "macmon": find_macmon,
        "watching": lambda: watch(helper, ports, watched),
    }


def describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:ERROR_LENGTH]


def format_columns(row: Mapping[str, Any]) -> str:
    """Return a row as name=value, numbers with six digits."""
    parts = []
    for name, value in row.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        parts.append(f"{name}={text}")
    return ", ".join(parts)


# -- the tool and its Python


def describe_tool(helper: Helper | None) -> Iterator[str]:
    """Describe the versions of the tool and of the system, by each way to ask for it."""
    rights = (
        "as root"
        if is_root()
        else "started with sudo"
        if helper
        else "without root"
    )
    yield f"{TOOL_VERSION}, {rights}"
    yield f"{platform.system()} {platform.release()} {platform.version()} {platform.machine()}"
    if sys.platform == "darwin":
        by_kernel = machine.sysctl("kern.osproductversion")
        is_translated = machine.sysctl("sysctl.proc_translated")
        yield (
            f"macOS {platform.mac_ver()[0]} by Python, {by_kernel} by the kernel;"
            f" translated by Rosetta: {is_translated}"
        )


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def describe_python() -> Iterator[str]:
    is_free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    build = " ".join(platform.python_build())
    yield (
        f"{platform.python_implementation()} {platform.python_version()} {build},"
        f" {platform.python_compiler()}"
    )
    yield (
        f"{platform.architecture()[0]}, free-threaded: {is_free_threaded},"
        f" virtual environment: {sys.prefix != sys.base_prefix},"
        f" SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}"
    )


def list_packages() -> Iterator[str]:
    yield ", ".join(f"{name} {read_version(name)}" for name in PACKAGES)


def read_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


# -- the machine


def describe_machine() -> Iterator[str]:
    described = machine.describe()
    yield format_columns(
        {
            name: value
            for name, value in described.items()
            if name != "fingerprint"
        }
    )


def describe_clocks() -> Iterator[str]:
    yield ", ".join(describe_clock(name) for name in CLOCKS)
    names = ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "CLOCK_UPTIME_RAW")
    present = ", ".join(name for name in names if hasattr(time, name))
    latest_ns = max(measure_late_sleep_ns() for _ in range(10))
    yield f"{present or 'no other'}; sleeps end up to {latest_ns / 1e6:.2f} ms late"
    yield (
        f"receiving: {'together' if capabilities.READS_TOGETHER else 'each thread alone'},"
        f" kernel stamps: {capabilities.KERNEL_STAMPS},"
        f" system calls by ctypes: {syscalls.AVAILABLE}"
    )


def describe_clock(name: ClockName) -> str:
    info = time.get_clock_info(name)
    return f"{name}: {info.implementation.partition('(')[0]} {info.resolution:.3g} s"


def measure_late_sleep_ns() -> float:
    before_ns = time.perf_counter_ns()
    time.sleep(load.HEARTBEAT_S)
    return time.perf_counter_ns() - before_ns - load.HEARTBEAT_S * 1e9


def list_limits() -> Iterator[str]:
    if sys.platform == "win32":
        return
    import resource  # not on Windows

    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = resource.getrlimit(resource.RLIMIT_NPROC)
    yield f"files {files}, processes {processes}"
    if sys.platform == "darwin":
        yield f"threads of a process {machine.sysctl('kern.num_taskthreads')}"


def try_psutil(ports: Sequence[int]) -> Iterator[str]:
    """Try each call of psutil that the tool uses: of the machine, this process, the server's."""
    yield from try_calls("", CALLS)
    yield from try_calls("own ", list_methods(psutil.Process()))
    for root in server_search.find_servers(ports[0], None)[:1]:
        yield from try_calls("server's ", list_methods(root))


def list_methods(
    process: psutil.Process,
) -> dict[str, Callable[[], object]]:
    return {
        name: getattr(process, name)
        for name in METHODS
        if hasattr(process, name)
    }


def try_calls(
    label: str, calls: Mapping[str, Callable[[], object]]
) -> Iterator[str]:
    """Yield what works in one line, and a line for each call that does not."""
    works, failures = [], []
    for name, call in calls.items():
        try:
            call()
            works.append(name)
        except Exception as error:
            failures.append(f"{label}{name}: {describe_error(error)}")
    yield f"{label}ok: {', '.join(works) or 'nothing'}"
    yield from failures


# -- samplers


def find_macmon() -> Iterator[str]:
    path = shutil.which("macmon")
    if path and is_root():  # root runs no program found by PATH
        yield "installed"
    elif path:
        yield (
            output_of(path, "--version").strip()
            or "installed, of unknown version"
        )
    elif sys.platform == "darwin":
        yield "not installed"


class LastRows:
    """The last row of each table, in the place of a results file."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def insert(self, table: str, row: dict[str, Any]) -> int:
        self.rows[table] = row
        return 1

    def add(self, table: str, row: dict[str, Any]) -> None:
        self.rows[table] = row

    def update(
        self, table: str, row_id: int, changes: dict[str, Any]
    ) -> None:
        """Do nothing: no row is changed that is printed here."""


def watch(
    helper: Helper | None, ports: Sequence[int], watched: Watched
) -> Iterator[str]:
    """Watch for a few seconds what a run would store of the machine, its power and the server."""
    if helper is not None and helper.failure:
        yield helper.failure
    store, messages = LastRows(), list[str]()
    watching = monitor.Monitor(
        store,
        1,
        time.perf_counter_ns(),
        sources=find_sources(helper),
        ports=ports,
        say=messages.append,
    )
    try:
        watching.start()
        watching.wait_first_sample(FIRST_S)
        time.sleep(WATCH_S)
        processes = watching.processes
        watched.slots = {port: watching.slots(port) for port in ports}
    finally:
        watching.stop()
    watched.tracks = [*watching.tracks]
    for track in watching.tracks:
        dropped = track.source.dropped
        yield f"{track.name}: {track.samples} samples, {dropped} damaged, {track.status}"
        if track.latest:
            yield f"{track.name}: {format_columns(asdict(track.latest))}"
    yield (
        format_columns(store.rows.get("system_sample", {}))
        or "no sample of the machine"
    )
    for process in processes[:MOST_PROCESSES]:
        latest = (
            format_columns(asdict(process.latest))
            if process.latest
            else "no sample"
        )
        yield f"{process.role} {process.name}: {latest}"
    numbers = ", ".join(map(str, ports))
    yield f"{len(processes)} processes of servers on port {numbers}"
    yield from messages
