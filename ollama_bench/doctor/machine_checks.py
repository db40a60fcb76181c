"""Checks of this machine: Python, packages, clock, files, disk and what tells the power."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ollama_bench.doctor.details import Watched, measure_late_sleep_ns
from ollama_bench.doctor.finding import Finding, Mark
from ollama_bench.platforms import sleep_clock
from ollama_bench.power.source import Absent
from ollama_bench.privilege.helper import Helper
from ollama_bench.run.system_limits import SPARE_FILES
from ollama_bench.terminal.command_line import COMMAND, name_command

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
LOCKED = re.compile(r"^([\w.-]+)==([\w.]+)(?: ; ([^\\]*))?", re.MULTILINE)
OLDEST_PYTHON = re.compile(r"python_full_version (<|>=) '(\d+)\.(\d+)'\s*")
# a request in flight needs one; with --requests or --duration two
FEW_REQUESTS, MANY_REQUESTS = 64, 256
CLOCK_STEP_S = 1e-6
LATE_SLEEP_S = 0.02
LEAST_DISK_BYTES = 1 << 30  # a long run stores hundreds of megabytes
SLEEPS = 10


def check_python() -> Iterator[Finding]:
    yield Finding("ok", "Python", platform.python_version())


def check_packages() -> Iterator[Finding]:
    """Compare what is installed with the lock of a clone, else with what the package requires."""
    wanted = read_lock() if LOCK.exists() else read_requirements()
    missing, older = [], {}
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if is_older(found, version):
            older[name] = f"{name} {found} is older than {version}"
    if not (missing or older):
        yield Finding("ok", "packages", f"{len(wanted)} as they should be")
        return
    faults = [*(f"{name} is missing" for name in missing), *older.values()]
    what = " ".join(["--upgrade", *missing, *older])
    if LOCK.exists():
        what = f"-r {LOCK}"
    mark: Mark = "wrong" if missing else "note"
    mend = f"{sys.executable} -m pip install {what}"
    yield Finding(mark, "packages", ", ".join(faults), mend)


def read_lock() -> dict[str, str]:
    """Return the version of each package that the lock names for this Python and system."""
    found = {}
    for name, version, condition in LOCKED.findall(
        LOCK.read_text("utf-8")
    ):
        if applies(condition.strip()):
            found[name] = version
    return found


def applies(condition: str) -> bool:
    """Tell whether a condition of the lock is surely met; one of another kind is not looked at."""
    if not condition:
        return True
    asked = OLDEST_PYTHON.fullmatch(f"{condition} ")
    if asked is None:
        return False
    is_newer = sys.version_info[:2] >= (int(asked[2]), int(asked[3]))
    return is_newer == (asked[1] == ">=")


def read_requirements() -> dict[str, str]:
    """Return the oldest version of each package that the installed tool requires."""
    found = {}
    for text in importlib.metadata.requires(COMMAND) or []:
        requirement, _, condition = text.partition(";")
        parts = re.match(r"([\w.-]+).*?>=([\w.]+)", requirement)
        if parts and not condition.strip():
            found[parts[1]] = parts[2]
    return found


def is_older(found: str, wanted: str) -> bool:
    return read_numbers(found) < read_numbers(wanted)


def read_numbers(version: str) -> list[int]:
    """Return the numbers of a version without trailing zeros: 2.10.0rc1 is 2.10."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = (
        [int(part) for part in release[0].split(".")] if release else []
    )
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def check_clock() -> Iterator[Finding]:
    """Check how exactly instants can be read and how late a thread wakes."""
    clock = time.get_clock_info("perf_counter")
    late_s = max(measure_late_sleep_ns() for _ in range(SLEEPS)) / 1e9
    text = (
        f"steps of {clock.resolution * 1e9:.3g} ns,"
        f" a thread wakes up to {late_s * 1e3:.1f} ms late"
    )
    if not clock.monotonic or clock.resolution > CLOCK_STEP_S:
        yield Finding("wrong", "clock", f"{text}: too coarse to measure")
    elif late_s > LATE_SLEEP_S:
        yield Finding(
            "note", "clock", f"{text}: end what else keeps it busy"
        )
    else:
        yield Finding("ok", "clock", text)
    if sleep_clock.slept_ns() is None:
        text = (
            "this system does not tell whether the machine slept in a run"
        )
        yield Finding("note", "clock", text)


def check_files() -> Iterator[Finding]:
    """Check how many requests at once the limit of open files allows; bench raises it that far."""
    if sys.platform == "win32":  # it has no such limit
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = (
        math.inf if hard == resource.RLIM_INFINITY else hard - SPARE_FILES
    )
    if most == math.inf:
        yield Finding("ok", "open files", "without a limit")
        return
    text = f"at most {hard:,}: enough for {max(0, hard - SPARE_FILES):,} requests at once"
    if most >= MANY_REQUESTS:
        yield Finding("ok", "open files", text)
        return
    mend = f"ulimit -n {MANY_REQUESTS * 2 + SPARE_FILES} (root may)"
    mark: Mark = "note" if most >= FEW_REQUESTS else "wrong"
    yield Finding(mark, "open files", text, mend)


def check_disk() -> Iterator[Finding]:
    """Check the room where results.db would be written, and whether it may be."""
    free = shutil.disk_usage(".").free
    text = f"{free / 1e9:,.1f} GB are free in this folder"
    if not os.access(".", os.W_OK):
        text = "this folder cannot be written to"
        yield Finding("wrong", "disk", text, "cd to a folder of yours")
    elif free < LEAST_DISK_BYTES:
        yield Finding(
            "wrong",
            "disk",
            f"only {text}",
            f"df -h {os.path.abspath('.')}",
        )
    else:
        yield Finding("ok", "disk", text)


def check_power(
    watched: Watched, helper: Helper | None
) -> Iterator[Finding]:
    """Say what is read of the power, and what each source that is not read would need."""
    if helper is not None and helper.warning:
        yield Finding("note", "root", helper.warning)
    elif helper is not None and helper.failure:
        yield Finding("wrong", "root", helper.failure)
    elif helper is not None:
        yield Finding("ok", "root", "root only reads the power")
    if not watched.tracks:
        text = "no source on this machine: a run has no watts and joules"
        yield Finding("note", "power", text)
    for track in watched.tracks:
        if track.samples:
            yield Finding("ok", "power", f"{track.name} is read")
            continue
        status = track.status
        if track.live:
            status = "no sample came"
        mend = ""
        if isinstance(track.source, Absent) and "sudo" in status:
            status = status.replace("; run with sudo", "")
            mend = f"sudo {name_command('bench')}"
        yield Finding("note", "power", f"{track.name}: {status}", mend)
