"""Command lines: values that cannot be used, and paths in commands to type."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess


def refuse_nul(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Exit with 2 and one line when a value of the command line holds a NUL character."""
    for name, value in vars(arguments).items():
        values = value if isinstance(value, list) else [value]
        if any("\0" in str(one) for one in values):
            option = f"--{name.replace('_', '-')}"
            parser.error(f"invalid {option} {str(value)!r}: expected text without a NUL character")


def quote_path(path: str) -> str:
    """Return a path as it is typed in a shell, in quotes where it needs them."""
    return subprocess.list2cmdline([path]) if os.name == "nt" else shlex.quote(path)
