"""files.py - writes an output file whole or not at all, and follows no link below its folder.

    files.write(Path("data/qwen3-8b/timeline.png"), data, top=Path("data"))

Somebody else may own the folder and change it at any moment. So each folder on the way is opened as
itself, not by its path, and the file is made new under a name of its own and then renamed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

IS_HELD = {os.open, os.mkdir, os.rename, os.unlink} <= os.supports_dir_fd  # not on Windows
AS_ITSELF = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
NEW = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


class OutputError(OSError):
    """A file cannot be written where it was meant to be; str() is one line for the user."""


def write(path: Path, data: str | bytes, top: Path) -> None:
    """Write a file at or below the folder top, which is made where it is not there.

    A link in the place of the file is replaced. Top itself may be a link that the user made.
    Raises OutputError where a folder is a link, and OSError.
    """
    data = data.encode() if isinstance(data, str) else data
    folders = path.parent.relative_to(top).parts
    with contextlib.ExitStack() as held:
        folder = open_top(top, held)
        for depth, name in enumerate(folders, 1):
            folder = open_below(folder, name, top.joinpath(*folders[:depth]), held)
        replace(folder, path.name, data)


def open_top(top: Path, held: contextlib.ExitStack) -> int | Path:
    """The folder, opened; its path where a system opens none."""
    top.mkdir(parents=True, exist_ok=True)
    if not IS_HELD:
        return top
    try:
        folder = os.open(top, AS_ITSELF)
    except OSError:
        if not top.is_symlink():
            raise
        folder = os.open(users_link(top), os.O_RDONLY | os.O_DIRECTORY)
    held.callback(os.close, folder)
    return folder


def users_link(link: Path) -> Path:
    """Where a link leads that the user has made. Raises OutputError where it is somebody else's."""
    before = os.lstat(link)
    target = os.readlink(link)
    if before.st_uid != os.geteuid() or not is_same(before, os.lstat(link)):
        raise OutputError(f"{link} is a symbolic link of another user: name another folder")
    return link.parent / target


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Has nothing happened to a link between two looks?"""
    return os.path.samestat(one, other) and one.st_ctime_ns == other.st_ctime_ns


def open_below(
    folder: int | Path, name: str, shown: Path, held: contextlib.ExitStack
) -> int | Path:
    """A folder in another, made where it is not there."""
    if isinstance(folder, Path):
        (folder / name).mkdir(exist_ok=True)
        meant = os.path.join(os.path.realpath(folder), name)
        if os.path.normcase(os.path.realpath(meant)) != os.path.normcase(meant):  # junctions too
            raise linked(shown)
        return folder / name
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    try:
        found = os.open(name, AS_ITSELF, dir_fd=folder)
    except OSError:
        if shown.is_symlink():
            raise linked(shown) from None
        raise
    held.callback(os.close, found)
    return found


def linked(shown: Path) -> OutputError:
    return OutputError(f"{shown} is a symbolic link: remove it, or name another folder")


def replace(folder: int | Path, name: str, data: bytes) -> None:
    """The file with this content, whole: who reads it meanwhile reads the old one."""
    new = f".{name[:100]}.{secrets.token_hex(8)}"
    where = {} if isinstance(folder, Path) else {"dir_fd": folder}
    here = folder if isinstance(folder, Path) else Path()
    file = os.open(here / new, NEW, 0o666, **where)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
        if where:
            os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.replace(here / new, here / name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(here / new, **where)
        raise
