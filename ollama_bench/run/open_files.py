"""The limit of open files: every connection needs a descriptor."""

from __future__ import annotations

import sys

from ollama_bench.inputs.settings import Settings
from ollama_bench.run.error import RunError

SPARE_FILES = 128  # open files beside the connections


def most_connections(settings: Settings) -> int:
    """One for each request in flight on each host, and one for each that is ready to follow."""
    each = 1 if settings.load.kind == "burst" else 2
    return max(settings.load.levels) * max(1, len(settings.request.servers)) * each


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
