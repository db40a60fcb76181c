"""Read a file of JSON lines, or one JSON array, entry by entry: only one is in memory."""

from __future__ import annotations

import codecs
import io
import json
import os
import stat
from collections.abc import Iterator

FILE_BYTES = 4 << 30  # ShareGPT's own file has 0.7 GB
ENTRY_BYTES = 64 << 20  # bounds the memory
PIECE_BYTES = 1 << 20
BLANK = " \t\r\n"  # of JSON
DECODER = json.JSONDecoder()


def identify(path: str) -> tuple[int, ...]:
    """Return what tells whether a file has changed, and who reads it. Raises ValueError."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: {getattr(error, 'strerror', error)}"
        ) from None
    # what root has read is not for the user it becomes
    reader = getattr(os, "geteuid", int)()
    version: tuple[int, ...] = ()
    if stat.S_ISREG(found.st_mode):
        version = (found.st_mtime_ns, found.st_size)
    return reader, found.st_ino, *version


def read_entries(
    file: io.BufferedReader, path: str
) -> Iterator[tuple[object, str]]:
    """Yield each entry and where it stands. Raises ValueError, UnicodeDecodeError, OSError."""
    start = (
        file.peek(PIECE_BYTES)
        .removeprefix(codecs.BOM_UTF8)
        .lstrip(BLANK.encode())
    )
    if start.startswith(b"["):
        return read_array(file, path)
    return read_lines(file, path)


def read_lines(
    file: io.BufferedReader, path: str
) -> Iterator[tuple[object, str]]:
    number, size = 0, 0
    while line := file.readline(ENTRY_BYTES + 1):
        number, size = number + 1, size + len(line)
        refuse_too_large(path, len(line), size)
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if text.strip():
            where = f"{path}, line {number}"
            yield decode_json(text, where), where


def decode_json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is not JSON") from None


def read_array(
    file: io.BufferedReader, path: str
) -> Iterator[tuple[object, str]]:
    text = JsonText(file, path)
    text.skip("[")
    number = 1
    while text.next_character() != "]":
        if number > 1:
            text.skip(",")
        yield text.read_value(), f"{path}, entry {number}"
        number += 1
    text.skip("]")
    if text.next_character():
        raise ValueError(f"{path} is not JSON")


class JsonText:
    """A JSON text that is read as it is needed. Raises ValueError if it is not JSON."""

    def __init__(self, file: io.BufferedReader, path: str) -> None:
        self._file, self._path = file, path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._size = "", 0, 0

    def next_character(self) -> str:
        """Return the next character that is not blank; "" at the end of the file."""
        while True:
            while (
                self._at < len(self._text)
                and self._text[self._at] in BLANK
            ):
                self._at += 1
            if self._at < len(self._text) or not self._read_on(
                PIECE_BYTES
            ):
                return self._text[self._at : self._at + 1]

    def skip(self, character: str) -> None:
        if self.next_character() != character:
            raise ValueError(f"{self._path} is not JSON")
        self._at += 1

    def read_value(self) -> object:
        """Return the next value."""
        self.next_character()
        while True:
            try:
                found, end = DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError(f"{self._path} is not JSON") from None
            except ValueError:
                # an entry is cut off, or wrong: more of the file will tell
                if not self._read_on(
                    max(PIECE_BYTES, len(self._text) - self._at)
                ):
                    raise ValueError(f"{self._path} is not JSON") from None
            else:
                self._at = end
                return found

    def _read_on(self, count: int) -> bool:
        """Forget what was used and read so many bytes; False at the end of the file."""
        data = self._file.read(count)
        self._size += len(data)
        decoded = self._decoder.decode(data, not data)
        self._text, self._at = self._text[self._at :] + decoded, 0
        refuse_too_large(self._path, len(self._text), self._size)
        return bool(data)


def refuse_too_large(path: str, entry_bytes: int, file_bytes: int) -> None:
    """Raise ValueError for an entry or a file over its limit."""
    if entry_bytes > ENTRY_BYTES:
        limit = ENTRY_BYTES >> 20
        raise ValueError(
            f"{path}: an entry is larger than {limit} MiB, too large for a prompt"
        )
    if file_bytes > FILE_BYTES:
        raise ValueError(f"{path} is larger than {FILE_BYTES >> 20} MiB")
