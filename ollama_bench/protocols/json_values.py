"""Reads values out of JSON that a server sent and that may hold anything."""

from __future__ import annotations

import json
import math

from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.text import one_line, replace_surrogates

JsonObject = dict[str, object]

# A day in nanoseconds, 100 TB: no real counter is larger, and sums of these fit SQLite's 64 bits.
MAX_COUNT = 10**14
MAX_SHORT_TEXT_CHARS = 100
# of the name of a model, which may be the path of its folder
MAX_MODEL_NAME_CHARS = 500

# A third of the cost of json.loads on bytes.
decode_json_prefix = json.JSONDecoder().raw_decode


def parse_object(line: bytes) -> JsonObject | None:
    """Parse a JSON object as Python's json does; None if the line is not one."""
    try:
        text = line.decode()
        value, end = decode_json_prefix(text)
    except (ValueError, RecursionError):
        return None
    return value if end == len(text) and isinstance(value, dict) else None


def read_count(value: object) -> int | None:
    """Return a counter as an integer from 0 to ``MAX_COUNT``; None (unknown) for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MAX_COUNT else None


def update_count(known: int | None, value: object) -> int | None:
    """Return the counter in ``value``, or the one known before if it holds none."""
    count = read_count(value)
    return known if count is None else count


def scale(value: object, factor: float) -> object:
    """Multiply a number by a factor; return anything else unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if isinstance(value, int) and abs(value) > MAX_COUNT:
        return value  # too large to become a float
    return value * factor


def read_word(
    value: object,
    secret: Secret = NO_SECRET,
    most_chars: int = MAX_SHORT_TEXT_CHARS,
) -> str | None:
    """Return a non-empty string, masked and cut short; None for anything else."""
    if not isinstance(value, str) or not value:
        return None
    return replace_surrogates(secret.mask(value))[:most_chars]


def read_model_name(
    value: object, secret: Secret = NO_SECRET
) -> str | None:
    """Return the name of a model as one line; None for anything but text."""
    name = read_word(value, secret, MAX_MODEL_NAME_CHARS)
    return one_line(name) or None if name else None


def read_label(value: object) -> str | None:
    """Return a short string, or a number as digits; None for anything else."""
    if not isinstance(value, (str, int, float)):
        return None
    return read_word(str(value))


def read_objects(body: object, name: str) -> list[JsonObject]:
    """List the objects in the array of that name; [] if there is none."""
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, list):
        return []
    return [entry for entry in found if isinstance(entry, dict)]
