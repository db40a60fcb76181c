"""refusals.py - calls psutil where any call may be refused.

psutil raises more than its own errors, on macOS above all: nothing that it raises may end a run.

    name = ask(process.name)                  # None: unknown
    times = ask_living(process.cpu_times)     # the same, but raises where all of it is unknown
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psutil

# Its own errors, those of macOS, and the last two if /proc is not what it expects.
REFUSALS = (
    psutil.Error,
    OSError,
    RuntimeError,
    SystemError,
    ValueError,
    LookupError,
)

Answer = TypeVar("Answer")


def ask(call: Callable[[], Answer]) -> Answer | None:
    """Return what psutil answers, or None where it does not know."""
    try:
        return call()
    except REFUSALS:
        return None


def ask_living(call: Callable[[], Answer]) -> Answer | None:
    """Do the same, but raise NoSuchProcess and AccessDenied.

    After these two no other call for the same process will be answered.
    """
    try:
        return call()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        raise
    except REFUSALS:
        return None
