"""processes.py - asks the system about single processes; None is what it refuses to tell."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from ollama_bench.monitor.refusals import REFUSALS, ask


def find_process(pid: int) -> psutil.Process | None:
    return ask(lambda: psutil.Process(pid)) if pid >= 0 else None


def exists(pid: int) -> bool:
    """Return whether a process has this pid; True where the system does not tell."""
    try:
        return psutil.pid_exists(pid)
    except OverflowError:
        return False
    except REFUSALS:
        return True


def iterate_processes() -> Iterator[psutil.Process]:
    """Yield every process; one that the system refuses to describe hides no other."""
    for pid in ask(psutil.pids) or []:
        if process := find_process(pid):
            yield process


def read_command_line(process: psutil.Process) -> list[str]:
    """Return the command line, empty where it cannot be read or the process has ended."""
    return ask(process.cmdline) or []


def read_environment(process: psutil.Process) -> dict[str, str]:
    """Return the environment, empty where it cannot be read."""
    return ask(process.environ) or {}


def read_start_time(process: psutil.Process) -> float | None:
    """Return when the process started, in seconds since 1970."""
    return ask(process.create_time)


def read_name(process: psutil.Process) -> str | None:
    return ask(process.name)


def is_alive(process: psutil.Process) -> bool:
    """Return whether the process has not ended; one that refuses to tell has not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except REFUSALS:
        return True


def is_still_running(process: psutil.Process) -> bool:
    """Return whether the process is alive and its pid was not reused."""
    return ask(process.is_running) is not False and is_alive(process)


def find_descendants(root: psutil.Process) -> list[psutil.Process]:
    """Return all descendants of a process.

    Where psutil gives up because one of them refuses, the parents of all processes are compared.
    """
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    except REFUSALS:
        return find_descendants_by_parent(root)


def find_descendants_by_parent(
    root: psutil.Process,
) -> list[psutil.Process]:
    parents = [
        (ask(process.ppid), process) for process in iterate_processes()
    ]
    family = {root.pid}
    found: list[psutil.Process] = []
    while True:
        children = [
            process
            for parent, process in parents
            if parent in family and process.pid not in family
        ]
        if not children:
            return found
        found += children
        family |= {process.pid for process in children}
