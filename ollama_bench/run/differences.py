"""How what a run was asked differs from what is asked now, in words of the command line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ollama_bench.inputs import options
from ollama_bench.inputs.options import Option

# hash of a file's content: what it holds, the option that names the file
DIGESTS = {
    "prompts_sha256": ("prompts", "prompts"),
    "trace_sha256": ("requests", "trace"),
}


def describe_changed_options(before: str, now: str) -> str:
    """Return "with --tokens 200; now with --tokens 100"; "" where no option differs.

    Both are arguments as they are stored: JSON.
    """
    was, new = read_stored_arguments(before), read_stored_arguments(now)
    if not was:
        return ""
    names = [
        name
        for name in options.BY_NAME
        if name in was | new and was.get(name) != new.get(name)
    ]
    if names:
        return (
            f"{name_options(was, names)}; now {name_options(new, names)}"
        )
    for digest, (what, option) in DIGESTS.items():
        if was.get(digest) != new.get(digest):
            return f"with other {what} in {new.get(option)}"
    return ""


def read_stored_arguments(text: str) -> dict[str, Any]:
    """Return stored arguments; {} where another program wrote something else."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}


def name_options(arguments: Mapping[str, Any], names: list[str]) -> str:
    """Return these options as they are typed, after "with", or "without" where none is given."""
    given, absent = [], []
    for name in names:
        option, value = options.BY_NAME[name], arguments.get(name)
        is_off = option.is_switch and not value
        if is_off or value is None or value in ([], {}):
            absent.append(option.flag)
        else:
            given.append(format_option(option, value))
    parts = []
    if given:
        parts.append(f"with {' '.join(given)}")
    if absent:
        parts.append(f"without {' '.join(absent)}")
    return " and ".join(parts)


def format_option(option: Option, value: object) -> str:
    if option.is_switch:
        return option.flag
    if isinstance(value, bool):
        return f"{option.flag} {'on' if value else 'off'}"
    if isinstance(value, Mapping):
        value = [f"{name}={one}" for name, one in value.items()]
    if isinstance(value, list) and option.repeats:
        return " ".join(f"{option.flag} {one}" for one in value)
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if isinstance(value, float):
        value = f"{value:g}"
    return f"{option.flag} {value}"
