"""Write files of an export, and no file over one that no export wrote."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ollama_bench.storage import files

LONGEST_HEAD = (
    1 << 16
)  # bytes at either end in which a file says what wrote it
# a named pipe must not be waited for
HEAD_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def write_own(path: Path, data: str | bytes, top: Path, mark: str) -> None:
    """Write a file at or below top; `mark` is what such a file says near its start or end.

    Raises OutputError where a file without the mark stands there, and as files.write does.
    """
    if not is_free(path, mark):
        raise files.OutputError(
            f"{path} was not written by this export: move it, or choose another folder"
        )
    files.write(path, data, top)


def is_free(path: Path, mark: str) -> bool:
    """Return whether nothing that must be kept stands there; a link is replaced, not followed."""
    try:
        found = os.lstat(path)
    except OSError:
        return True  # nothing there, or files.write says what is wrong
    if stat.S_ISLNK(found.st_mode):
        return True
    if not stat.S_ISREG(found.st_mode):
        return False
    with os.fdopen(os.open(path, HEAD_FLAGS), "rb") as file:
        head = file.read(LONGEST_HEAD)
        file.seek(-min(LONGEST_HEAD, found.st_size), os.SEEK_END)
        return mark.encode() in head or mark.encode() in file.read()
