"""Why a level cannot be fired."""

from __future__ import annotations

import contextlib

# cgroup 2 and 1
PIDS_LIMITS = ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")


class LoadError(Exception):
    """A level cannot be fired; str() is one line for the user."""


def explain_missing_threads(workers: int) -> str:
    """Return one line that says which limit keeps a level from its threads."""
    limits = [*find_process_limit(), *find_container_limit()]
    found = (
        " and ".join(limits) or "no limit is set, so memory may be short"
    )
    return (
        f"level {workers} needs {workers} threads and the system refused to start more: "
        f"{found}; raise the limit or use a lower level"
    )


def find_process_limit() -> list[str]:
    """Return the limit of the user's processes, where one is set."""
    with contextlib.suppress(
        ImportError, OSError, ValueError, AttributeError
    ):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        if soft != resource.RLIM_INFINITY:
            return [f"ulimit -u is {soft}"]
    return []


def find_container_limit() -> list[str]:
    """Return the limit of the container's processes, where one is set."""
    for path in PIDS_LIMITS:
        with (
            contextlib.suppress(OSError),
            open(path, encoding="ascii") as file,
        ):
            limit = file.read().strip()
            if limit != "max":
                return [f"pids.max of the container is {limit}"]
    return []
