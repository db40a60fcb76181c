"""Read JSON that others wrote: bounded memory, one line for whatever is wrong with it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 128 << 20
# lists and objects of a file, which take more memory than their two brackets
MOST_BRACKETS = 4_000_000
LARGEST = 1e10  # of a number: seconds since 1970 have ten digits
MOST_COUNT = 10**9  # tokens, requests at once
LONGEST_NAME = 200
Record = dict[str, Any]


class ImportFileError(Exception):
    """A file cannot be imported; str() is one line for the user."""


def read_records(path: Path) -> list[tuple[Record, str]]:
    """Return the objects of a file, one or one a line, each with a digest of its text.

    Raises ImportFileError, OSError.
    """
    data = read_bytes(path)
    if data.count(b"[") + data.count(b"{") > MOST_BRACKETS:
        raise ImportFileError(
            f"{path} has more than {MOST_BRACKETS:,} lists: split it"
        )
    try:
        return [parse(path, data)]
    except json.JSONDecodeError as error:
        if "Extra data" not in error.msg:
            refuse(path, error)
    try:
        lines = [line for line in data.splitlines() if line.strip()]
        return [parse(path, line) for line in lines]
    except json.JSONDecodeError as error:
        refuse(path, error)


def parse(path: Path, text: bytes) -> tuple[Record, str]:
    """Return an object with its digest. Raises ImportFileError and json.JSONDecodeError."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        refuse(path, error)
    if not isinstance(record, dict):
        raise ImportFileError(f"{path} is not a JSON object")
    return record, hashlib.sha256(text.strip()).hexdigest()[:32]


def refuse(path: Path, error: Exception) -> NoReturn:
    said = (
        "nested too deeply" if isinstance(error, RecursionError) else error
    )
    raise ImportFileError(f"{path} is not JSON: {said}") from None


def read_bytes(path: Path) -> bytes:
    """Return a regular file's content. Raises ImportFileError where it is none, or too large."""
    file = os.open(
        path,
        os.O_RDONLY
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_BINARY", 0),
    )
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ImportFileError(f"{path} is not a file")
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ImportFileError(
            f"{path} is larger than {MOST_BYTES >> 20} MiB: split it"
        )
    return data


class Fields:
    """An object of a file, whose members are read as what they must be."""

    def __init__(self, values: object, name: str) -> None:
        """Raises ImportFileError where it is no object."""
        if not isinstance(values, Mapping):
            raise expected(name, values, "an object")
        self._values: Mapping[str, Any] = values
        self.name = name

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def get(self, key: str) -> object:
        """Return a member as it stands; None where it is null or absent."""
        return self._values.get(key)

    def fields(self, key: str) -> Fields:
        """Return an object; an empty one where it is null or absent."""
        return Fields(self._values.get(key) or {}, self.path(key))

    def fields_of(self, key: str) -> list[Fields]:
        """Return a list of objects; none where it is null or absent."""
        return [
            Fields(value, f"{self.path(key)}[{place}]")
            for place, value in enumerate(self.list(key))
        ]

    def list(self, key: str) -> list[Any]:
        """Return a list; an empty one where it is null or absent."""
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise expected(self.path(key), value, "a list")
        return value

    def number(self, key: str) -> float | None:
        """Return a finite number of 0 or more; None where it is null or absent."""
        return as_finite(self._values.get(key), self.path(key))

    def needed(self, key: str) -> float:
        """Return a number that must be there."""
        value = self.number(key)
        if value is None:
            raise expected(self.path(key), value, "a number")
        return value

    def count(self, key: str) -> int | None:
        """Return a whole number of 0 or more; None where it is null or absent."""
        return as_count(self._values.get(key), self.path(key))

    def text(self, key: str) -> str | None:
        """Return a text; None where it is null, empty or absent."""
        return as_text(self._values.get(key), self.path(key))

    def short_text(self, key: str) -> str | None:
        """Return a name, safe for a terminal; None where it is null, empty or absent."""
        text = self.text(key)
        return make_visible(text) if text else None

    def path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def expected(name: str, value: object, what: str) -> ImportFileError:
    shown = json.dumps(value, default=str)[:40]
    return ImportFileError(f"invalid {name} {shown}: expected {what}")


def as_finite(value: object, name: str) -> float | None:
    """Return a finite number of 0 or more. Raises ImportFileError."""
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(
        value, bool
    )
    if not is_number or not 0 <= value <= LARGEST:  # type: ignore[operator]
        raise expected(name, value, "a number of 0 or more")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise expected(name, value, "a number of 0 or more")
    return number


def as_count(value: object, name: str) -> int | None:
    """Return a whole number of 0 or more. Raises ImportFileError."""
    number = as_finite(value, name)
    if number is None:
        return None
    if number != int(number) or number > MOST_COUNT:
        raise expected(name, value, "a whole number")
    return int(number)


def as_text(value: object, name: str) -> str | None:
    """Return a text that SQLite stores; None where it is null or empty. Raises ImportFileError."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise expected(name, value, "a text")
    # halves of surrogate pairs, which UTF-8 does not have
    return value.encode("utf-8", "replace").decode()


def make_visible(text: str) -> str:
    """Return the start of a name, safe for a terminal and for SQLite."""
    return "".join(
        letter if letter.isprintable() else "·"
        for letter in text[:LONGEST_NAME]
    )
