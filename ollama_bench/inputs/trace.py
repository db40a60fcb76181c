"""Traces of other servers: when requests came, and how long their prompts and replies were.

    trace = read("BurstGPT_1.csv", speed=2.0, until_s=600.0)
    trace.kind, trace.lines[0].due_s

The form is told by the first line:

    Timestamp,Model,Request tokens,Response tokens,...       BurstGPT: seconds; CSV
    TIMESTAMP,ContextTokens,GeneratedTokens                  Azure LLM inference, 2023 and 2024; CSV
    {"timestamp": 0, "input_length": 900, "output_length": 5, "hash_ids": [0, 7]}     Mooncake: ms

No more of a file is read than the time asks for: the largest have a gigabyte.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from ollama_bench.inputs.prompt_file import identify, read_lines
from ollama_bench.inputs.settings import Settings

MOONCAKE = "Mooncake"  # whose prompts share blocks
MOST_LINES = 999_999  # as many requests as a level may have
LINE_BYTES = 1 << 20
BLOCK_TOKENS = 512  # of Mooncake's blocks
DIGITS = 9  # of a number of tokens
TOKENS = f"an integer from 0 to {10**DIGITS - 1:,}"
MOST_TIME = 1e15
# a trace's own seconds that a line may be before the one above it
MOST_DISORDER_S = 1.0
INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:?00)?"
)


class TraceLine(NamedTuple):
    """A request of a trace."""

    number: int  # of its line in the file, from 1, without the heading
    due_s: float  # since the first request, at the speed of the replay
    prompt_tokens: int
    reply_tokens: int
    # blocks of the prompt: the same number is the same text
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """The part of a trace that is replayed."""

    kind: str  # BurstGPT, Azure or Mooncake
    name: str  # of the file
    speed: float
    lines: tuple[TraceLine, ...]
    failed: int  # lines without a prompt or a reply, which are left out


class FileLine(NamedTuple):
    """A line as it stands in the file; ``at_s`` counts from whatever the trace counts from."""

    at_s: float
    prompt_tokens: int
    reply_tokens: int
    blocks: tuple[int, ...] = ()


def read(
    path: str,
    speed: float = 1.0,
    until_s: float | None = None,
    most: int | None = None,
) -> Trace:
    """Return the requests that are due in so many seconds, at most so many.

    Times are divided by ``speed``. What has not changed is read once. Raises ValueError that
    names the line.
    """
    return _read(path, speed, until_s, most, identify(path))


def read_replayed(settings: Settings) -> Trace | None:
    """Return the part of a trace that a run replays; None without --trace."""
    load, path = settings.load, settings.request.trace_file
    if path is None:
        return None
    return read(
        path, load.trace_speed or 1.0, load.duration_s, load.requests
    )


# a file is read to be checked, and again to be replayed
@functools.lru_cache(maxsize=1)
def _read(
    path: str,
    speed: float,
    until_s: float | None,
    most: int | None,
    _version: tuple[int, ...],
) -> Trace:
    lines: list[TraceLine] = []
    failed, start_s = 0, None
    try:
        with open(path, "rb") as file:
            kind, entries = recognize(file, path)
            for number, entry in enumerate(entries, 1):
                if not entry.prompt_tokens or not entry.reply_tokens:
                    failed += 1
                    continue
                if start_s is None:
                    start_s = entry.at_s
                due_s = (entry.at_s - start_s) / speed
                before_s = lines[-1].due_s if lines else 0.0
                if before_s - due_s > MOST_DISORDER_S / speed:
                    raise ValueError(
                        f"{path}: request {number} came before the one above "
                        "it: sort the file by time"
                    )
                # of a slight disorder it leaves with the one above it
                due_s = max(due_s, before_s)
                is_over = until_s is not None and due_s >= until_s
                if is_over or len(lines) == most:
                    break
                if len(lines) == MOST_LINES:
                    raise ValueError(
                        f"{path} has more than {MOST_LINES:,} requests in that time: "
                        "use a shorter --duration or --requests N"
                    )
                lines.append(TraceLine(number, due_s, *entry[1:]))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not lines:
        raise ValueError(
            f"{path} contains no request with a prompt and a reply"
        )
    return Trace(kind, Path(path).name, speed, tuple(lines), failed)


def recognize(
    file: io.BufferedReader, path: str
) -> tuple[str, Iterator[FileLine]]:
    """Return the kind of a trace and its lines. Raises ValueError if it is none."""
    start = file.peek(LINE_BYTES)[:LINE_BYTES]
    if start.lstrip().startswith(b"{"):
        return MOONCAKE, read_mooncake(file, path)
    rows = csv.reader(decode_lines(file, path))
    names = [name.strip() for name in next(rows, [])]
    for kind, (columns, read_time) in TABLES.items():
        if set(columns) <= set(names):
            places = [names.index(column) for column in columns]
            return kind, read_table(rows, columns, places, read_time, path)
    raise ValueError(
        f"{path} is no trace: expected one of BurstGPT or Azure LLM inference "
        "(CSV), or of Mooncake (JSON lines)"
    )


def decode_lines(file: io.BufferedReader, path: str) -> Iterator[str]:
    """Yield the lines of a file, none of which may be longer than LINE_BYTES."""
    encoding = "utf-8-sig"
    while line := file.readline(LINE_BYTES + 1):
        if len(line) > LINE_BYTES:
            raise ValueError(
                f"{path} is no trace: a line is longer than {LINE_BYTES:,} bytes"
            )
        yield line.decode(encoding)
        encoding = "utf-8"


def read_table(
    rows: Iterator[list[str]],
    columns: tuple[str, str, str],
    places: list[int],
    read_time: Callable[[str], float | None],
    path: str,
) -> Iterator[FileLine]:
    """Yield the lines of a CSV file; columns are time, prompt tokens and reply tokens."""
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        texts = [
            row[place].strip() if place < len(row) else ""
            for place in places
        ]
        values = [read_time(texts[0]), *map(read_tokens, texts[1:])]
        for column, text, value in zip(
            columns, texts, values, strict=True
        ):
            if value is None:
                raise ValueError(
                    f"{path}, line {number}: invalid {column} {text[:40]!r}: "
                    f"expected {EXPECTED[column]}"
                )
        at_s, prompt, reply = values
        assert (
            at_s is not None and prompt is not None and reply is not None
        )
        yield FileLine(at_s, int(prompt), int(reply))


def read_tokens(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= DIGITS
    return int(text) if is_number else None


def read_float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < MOST_TIME else None


def read_instant(text: str) -> float | None:
    """Return seconds since 1970 of 2023-11-16 18:15:46.6805900, with or without +00:00."""
    found = INSTANT.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, _ = found.groups()
    try:
        instant = datetime.fromisoformat(f"{day} {time}")
    except ValueError:
        return None
    whole = instant.replace(tzinfo=timezone.utc).timestamp()
    return whole + float(fraction or 0)


def read_mooncake(
    file: io.BufferedReader, path: str
) -> Iterator[FileLine]:
    """Yield the lines of a JSON lines file."""
    for found, where in read_lines(file, path):
        if not isinstance(found, dict):
            raise ValueError(f"{where}: expected an object")
        at_ms = read_float(str(found.get("timestamp")))
        if at_ms is None:
            raise ValueError(
                f"{where}: invalid timestamp {found.get('timestamp')!r}: "
                "expected milliseconds"
            )
        prompt = read_whole(found, "input_length", where)
        reply = read_whole(found, "output_length", where)
        blocks = read_blocks(found.get("hash_ids", []), prompt, where)
        yield FileLine(at_ms / 1e3, prompt, reply, blocks)


def read_whole(entry: dict[str, object], name: str, where: str) -> int:
    value = entry.get(name)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 10**DIGITS:  # type: ignore[operator]
        raise ValueError(
            f"{where}: invalid {name} {value!r}: expected {TOKENS}"
        )
    assert isinstance(value, int)
    return value


def read_blocks(
    ids: object, prompt_tokens: int, where: str
) -> tuple[int, ...]:
    """Return the blocks of a prompt, which are as many as its length makes; () without any."""
    if not isinstance(ids, list) or not all(
        type(one) is int for one in ids
    ):
        raise ValueError(
            f"{where}: invalid hash_ids: expected a list of integers"
        )
    needed = -(-prompt_tokens // BLOCK_TOKENS)
    if ids and len(ids) != needed:
        raise ValueError(
            f"{where}: invalid hash_ids: expected {needed}, one for each "
            f"{BLOCK_TOKENS} tokens of input_length"
        )
    return tuple(ids)


TABLES = {  # kind: columns of time, prompt tokens and reply tokens; what reads the time
    "BurstGPT": (
        ("Timestamp", "Request tokens", "Response tokens"),
        read_float,
    ),
    "Azure": (
        ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        read_instant,
    ),
}
EXPECTED = {
    "Timestamp": "seconds",
    "TIMESTAMP": "a date and a time in UTC",
    "Request tokens": TOKENS,
    "Response tokens": TOKENS,
    "ContextTokens": TOKENS,
    "GeneratedTokens": TOKENS,
}
