"""standard.py - standard output and error that are closed, full, read by nobody or short of letters: no reason to lose a run.

    standard.prepare()               # the first thing in main
    standard.silence(sys.stdout)     # it has failed once: nothing more is written there
"""
from __future__ import annotations

import contextlib
import os
import sys


def prepare() -> None:
    """Where a program was started without standard input, output or error (`>&-`), it gets os.devnull.

    Else the next file or socket that is opened has the free number, and takes what is meant for a terminal.
    A letter that the output's alphabet lacks, as in a pipe on Windows, becomes a question mark.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def silence(stream) -> None:
    """What is still in its buffer, and all that comes, is lost without a word."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
