"""Limits of the system: a connection needs a descriptor, a request in flight a thread."""

from __future__ import annotations

import sys

from ollama_bench.inputs.settings import Settings
from ollama_bench.load import load
from ollama_bench.monitor import machine
from ollama_bench.run.error import RunError

SPARE_FILES = 128  # open files beside the connections


def most_connections(settings: Settings) -> int:
    """One for each request in flight on each host, and one for each that is ready to follow."""
    each = 1 if settings.load.kind == "burst" else 2
    return (
        max(settings.load.levels)
        * max(1, len(settings.request.servers))
        * each
    )


def raise_file_limit(connections: int) -> None:
    """Raise the soft limit to what is needed. Raises RunError if the hard limit is lower."""
    if sys.platform == "win32":  # it has no such limit
        return
    import resource

    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise RunError(
            f"these levels need {needed} open files but the limit is {soft}: "
            f"run ulimit -n {needed} first"
        ) from None


def refuse_too_many_threads(level: int) -> None:
    """Raise RunError if macOS gives a process too few threads for a level."""
    most = (
        machine.sysctl("kern.num_taskthreads")
        if sys.platform == "darwin"
        else None
    )
    if not most or not (most.isascii() and most.isdigit()):
        return
    highest = int(most) - load.SPARE_THREADS
    if level > highest:
        raise RunError(
            f"level {level} needs {level} threads but macOS gives a process {most} "
            f"(kern.num_taskthreads): use at most {max(1, highest)}"
        )
