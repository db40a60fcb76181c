"""standard.py - standard output and error that are closed, full or read by nobody: no reason to lose a run.

    standard.fill()                  # the first thing in main
    standard.silence(sys.stdout)     # it has failed once: nothing more is written there
"""
from __future__ import annotations

import contextlib
import os
import sys


def fill() -> None:
    """Where a program was started without standard input, output or error (`>&-`), it gets os.devnull.

    Else the next file or socket that is opened has the free number, and takes what is meant for a terminal.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def silence(stream) -> None:
    """What is still in its buffer, and all that comes, is lost without a word."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
