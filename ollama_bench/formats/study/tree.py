"""Find the folders and files of a tree, and read their lines."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar, cast

from ollama_bench.formats.study import columns
from ollama_bench.formats.study.columns import (
    GpuLine,
    LevelLine,
    ProcessLine,
    RequestLine,
)

LEVEL_PREFIX = "test_results_"
LEVEL_FOLDER = re.compile(LEVEL_PREFIX + "[1-9][0-9]{0,5}")

LineValues = TypeVar("LineValues")


class ImportTreeError(Exception):
    """The tree cannot be imported; str() is one line for the user."""


@dataclass(frozen=True)
class Line(Generic[LineValues]):
    """A line that fits its columns, and where it is."""

    where: str
    values: LineValues


@dataclass
class Notes:
    """What was read and what was left out: how often, and where first."""

    read: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def leave_out(self, reason: str, where: str) -> None:
        self.left_out[reason] += 1
        self.examples.setdefault(reason, where)

    def lines(self) -> list[str]:
        """Return a line per reason, "2 x line cut in half (1/process_7_metrics.csv:15 ...)"."""
        found = []
        for reason, count in self.left_out.items():
            more = " ..." if count > 1 else ""
            found.append(
                f"{count:,} x {reason} ({self.examples[reason]}{more})"
            )
        return found


def find_models(top: Path) -> dict[str, list[Path]]:
    """Return the level folders of each model at or below a folder. Raises ImportTreeError."""
    if not top.is_dir():
        expected = (
            "expected the one that holds <model>/test_results_<level>/"
        )
        raise ImportTreeError(f"{top} is not a folder: {expected}")
    models: dict[str, list[Path]] = {}
    for depth in ("", "*/", "*/*/"):
        for folder in sorted(
            top.resolve().glob(f"{depth}{LEVEL_PREFIX}*")
        ):
            if folder.is_dir() and LEVEL_FOLDER.fullmatch(folder.name):
                models.setdefault(
                    make_visible(folder.parent.name), []
                ).append(folder)
    if not models:
        sought = "<model>/test_results_<level>/"
        raise ImportTreeError(
            f"no {sought} in {top} or in the folders below it"
        )
    return models


def split_copies(
    models: dict[str, list[Path]],
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the models without level folders that copy another one, and those copies."""
    seen: set[str] = set()
    kept: dict[str, list[Path]] = {}
    copies: list[Path] = []
    for model, folders in models.items():
        for folder in folders:
            digest = hash_files(folder)
            if digest in seen:
                copies.append(folder)
                continue
            if digest is not None:
                seen.add(digest)
            kept.setdefault(model, []).append(folder)
    return kept, copies


def hash_files(folder: Path) -> str | None:
    """Return the same text for folders whose CSV files are the same; None without any."""
    digests = [
        [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in sorted(folder.glob("*.csv"))
        if path.is_file()
    ]
    return repr(digests) if digests else None


def read_level_lines(folder: Path, notes: Notes) -> list[Line[LevelLine]]:
    lines = read_lines(
        folder / columns.DURATION_METRICS, columns.DURATION_METRICS, notes
    )
    return cast("list[Line[LevelLine]]", lines)


def read_request_lines(
    folder: Path, notes: Notes
) -> list[Line[RequestLine]]:
    lines = read_lines(
        folder / columns.REQUEST_SUMMARY, columns.REQUEST_SUMMARY, notes
    )
    return cast("list[Line[RequestLine]]", lines)


def read_gpu_lines(folder: Path, notes: Notes) -> list[Line[GpuLine]]:
    lines = read_lines(
        folder / columns.GPU_METRICS, columns.GPU_METRICS, notes
    )
    return cast("list[Line[GpuLine]]", lines)


def read_process_lines(
    folder: Path, notes: Notes
) -> Iterator[list[Line[ProcessLine]]]:
    """Yield the lines of each process file of a folder."""
    for path in sorted(folder.glob("process_*_metrics.csv")):
        lines = read_lines(path, columns.PROCESS, notes)
        yield cast("list[Line[ProcessLine]]", lines)


def read_lines(
    path: Path, kind: str, notes: Notes
) -> list[Line[dict[str, columns.Value]]]:
    """Read the lines of a file that fit its columns; note the others."""
    if not path.is_file():
        notes.leave_out("file absent", shorten(path))
        return []
    header, *lines = (
        path.read_bytes().decode("utf-8", "replace").split("\n")
    )
    if header.rstrip("\r").lstrip("\ufeff") != ",".join(
        columns.COLUMNS[kind]
    ):
        notes.leave_out("file without the expected header", shorten(path))
        return []
    if lines and lines.pop():  # what follows the last line's end
        where = f"{shorten(path)}:{len(lines) + 2}"
        notes.leave_out("last line without an end, perhaps cut", where)
    good = []
    for number, text in enumerate(lines, 2):
        where = f"{shorten(path)}:{number}"
        notes.read[re.sub(r"\d+", "PID", path.name)] += 1
        values = columns.parse_line(kind, text)
        if values is None:
            notes.leave_out("line cut in half", where)
        else:
            good.append(Line(where, values))
    return good


def shorten(path: Path) -> str:
    return f"{path.parent.name.replace(LEVEL_PREFIX, '')}/{path.name}"


def make_visible(text: str) -> str:
    """Return the name of a folder or file, safe for a terminal and for SQLite."""
    return "".join(
        letter if letter.isprintable() else "·" for letter in text
    )
