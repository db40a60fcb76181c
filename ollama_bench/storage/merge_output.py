"""The file that a merge makes: under its name it is whole, or as it was before.

It is made beside it under a hidden name, which a merge that was killed leaves behind and the next
one removes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from ollama_bench.storage.connection import connect
from ollama_bench.storage.foreign import list_kept
from ollama_bench.storage.results_file import ResultsError

# what SQLite keeps beside a file; it would belong to whatever has the name
LOGS = ("-wal", "-journal")
MOST_NAMED = 3  # of a user's tables


@contextlib.contextmanager
def replacing(output: Path, inputs: Sequence[str]) -> Iterator[Path]:
    """Yield an empty results file that takes the place of the output if nothing is raised.

    Raises ResultsError where the output may not be replaced, and OSError.
    """
    is_input = refuse_output(output, inputs)
    remove_leftovers(output)
    part = output.with_name(
        f"{hide(output.name)}{secrets.token_hex(8)}.part"
    )
    try:
        with naming(output, part):
            connect(part).close()
        yield part
        flush(part)
        if is_input:
            detach_readers(output)
        refuse_logs(output)
        os.replace(part, output)
        flush(output.parent)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{part}{suffix}")


@contextlib.contextmanager
def naming(output: Path, part: Path) -> Iterator[None]:
    """Have an error name the output, not what is made in its place."""
    try:
        yield
    except ResultsError as error:
        text = str(error).replace(str(part), str(output))
        raise ResultsError(text) from error


def hide(name: str) -> str:
    return f".{name[:100]}."


def refuse_output(output: Path, inputs: Sequence[str]) -> bool:
    """Return whether the output is one of the inputs. Raises ResultsError where it is none."""
    if not output.parent.is_dir():
        raise ResultsError(f"folder {output.parent} does not exist")
    if not os.access(output.parent, os.W_OK):
        raise ResultsError(f"{output.parent} is not writable")
    if not os.path.lexists(output):
        refuse_logs(output)
        return False
    if output.exists() and any(
        os.path.samefile(output, path) for path in inputs
    ):
        refuse_kept(output)
        return True
    raise ResultsError(
        f"{output} exists: choose another name, or name it as an input, too, to add to it"
    )


def refuse_kept(output: Path) -> None:
    """Raise ResultsError where a file that is to be replaced has what a merge does not copy."""
    with contextlib.closing(connect(output, readonly=True)) as database:
        kept = list_kept(database.conn)
    if kept:
        more = ", ..." if len(kept) > MOST_NAMED else ""
        raise ResultsError(
            f"{output} has tables of your own ({', '.join(kept[:MOST_NAMED])}{more}), "
            "which a merge does not copy: choose another name"
        )


def refuse_logs(output: Path) -> None:
    """Raise ResultsError where rows of another file would be read as the output's."""
    for suffix in LOGS:
        if os.path.lexists(f"{output}{suffix}"):
            raise ResultsError(
                f"{output}{suffix} belongs to another file of this name: move it"
            )


def detach_readers(output: Path) -> None:
    """Fold the log of an output that is an input into it, and prove that nobody has it open."""
    connection = sqlite3.connect(output, timeout=0, isolation_level=None)
    with contextlib.closing(connection):
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError:
            raise ResultsError(
                f"{output} is used by another program: end it, or choose another name"
            ) from None


def remove_leftovers(output: Path) -> None:
    """Remove what a merge into the same name left when it was killed; not what one is making."""
    for path in output.parent.iterdir():
        if path.name.startswith(hide(output.name)) and path.name.endswith(
            ".part"
        ):
            with contextlib.suppress(sqlite3.Error, OSError):
                refuse_lock(path)
                path.unlink()


def refuse_lock(path: Path) -> None:
    """Raise sqlite3.OperationalError where another program writes the file."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("BEGIN EXCLUSIVE")


def flush(path: Path) -> None:
    """Have the disk keep a file, or the names of a folder where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    file = os.open(path, flags | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(file)
    finally:
        os.close(file)
