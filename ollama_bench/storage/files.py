"""Write an output file whole or not at all, and follow no link below its folder.

    files.write(Path("data/qwen3-8b/timeline.png"), data, top=Path("data"))

Somebody else may own the folder and change it at any moment. So each folder on the way is opened
itself, not by its path, and the file is created under a temporary name and then renamed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

# Whether folders can be held open and used as such; not on Windows.
CAN_HOLD_FOLDERS = {
    os.open,
    os.mkdir,
    os.rename,
    os.unlink,
} <= os.supports_dir_fd
FOLDER_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
NEW_FILE_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)


class OutputError(OSError):
    """A file cannot be written where it should be; str() is one line for the user."""


def write(path: Path, data: str | bytes, top: Path) -> None:
    """Write a file at or below the folder top, which is created if necessary.

    A link in the place of the file is replaced. The folder top itself may be a link of the user's.
    Raises OutputError where a folder on the way is a link or none, and OSError.
    """
    data = data.encode() if isinstance(data, str) else data
    folders = path.parent.relative_to(top).parts
    with contextlib.ExitStack() as held:
        folder = open_top(top, held)
        for depth, name in enumerate(folders, 1):
            folder = open_below(
                folder, name, top.joinpath(*folders[:depth]), held
            )
        replace(folder, path.name, data)


def make_folder(top: Path) -> None:
    """Create a folder for output if necessary. Raises OutputError and OSError."""
    with contextlib.ExitStack() as held:
        open_top(top, held)


def open_top(top: Path, held: contextlib.ExitStack) -> int | Path:
    """Return the folder, opened; its path where the system cannot hold it open."""
    try:
        top.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(
            f"{top} is not a folder: choose another"
        ) from None
    if not CAN_HOLD_FOLDERS:
        return top
    try:
        folder = os.open(top, FOLDER_FLAGS)
    except OSError:
        if not top.is_symlink():
            raise
        folder = os.open(
            follow_own_link(top), os.O_RDONLY | os.O_DIRECTORY
        )
    held.callback(os.close, folder)
    return folder


def follow_own_link(link: Path) -> Path:
    """Return where a link of this user leads. Raises OutputError where it is of another."""
    before = os.lstat(link)
    target = os.readlink(link)
    if before.st_uid != os.geteuid() or not is_unchanged(
        before, os.lstat(link)
    ):
        raise OutputError(
            f"{link} is a symbolic link of another user: choose another folder"
        )
    return link.parent / target


def is_unchanged(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether nothing has happened to a link between two looks."""
    return (
        os.path.samestat(one, other)
        and one.st_ctime_ns == other.st_ctime_ns
    )


def open_below(
    folder: int | Path, name: str, shown: Path, held: contextlib.ExitStack
) -> int | Path:
    """Return a folder within another, opened; create it if necessary."""
    if isinstance(folder, Path):
        (folder / name).mkdir(exist_ok=True)
        meant = os.path.join(os.path.realpath(folder), name)
        # junctions are links, too
        if os.path.normcase(os.path.realpath(meant)) != os.path.normcase(
            meant
        ):
            raise report_link(shown)
        return folder / name
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    try:
        found = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    except OSError:
        if shown.is_symlink():
            raise report_link(shown) from None
        raise
    held.callback(os.close, found)
    return found


def report_link(shown: Path) -> OutputError:
    return OutputError(
        f"{shown} is a symbolic link: remove it, or choose another folder"
    )


def replace(folder: int | Path, name: str, data: bytes) -> None:
    """Give the file this content at once: until then readers see the old one."""
    temporary = f".{name[:100]}.{secrets.token_hex(8)}"
    held = None if isinstance(folder, Path) else folder
    where = folder if isinstance(folder, Path) else Path()
    file = os.open(where / temporary, NEW_FILE_FLAGS, 0o666, dir_fd=held)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
        os.replace(
            where / temporary,
            where / name,
            src_dir_fd=held,
            dst_dir_fd=held,
        )
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(where / temporary, dir_fd=held)
        raise
