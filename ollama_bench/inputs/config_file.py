"""Read a TOML file of settings as the texts that a command line's options would have.

A key is an option without its dashes. Nothing is guessed: a key that is not an option, and a
value of the wrong kind, raise a ValueError that names the file and the key.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from ollama_bench.inputs import objectives
from ollama_bench.inputs.options import Option
from ollama_bench.inputs.resolve import convert

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_BYTES = 1 << 20
SHOWN_CHARACTERS = 80
SWITCH_WORDS = {True: "on", False: "off"}


def read(
    path: str, options: Iterable[Option]
) -> dict[str, str | list[str] | bool]:
    """Return the texts that the file sets, by the options' names. Raises ValueError."""
    known = {
        option.name: option
        for option in options
        if option.name != "config"
    }
    found: dict[str, str | list[str] | bool] = {}
    for key, value in load_toml(path).items():
        name = key.replace("-", "_")
        if name not in known:
            raise ValueError(f"{path}: unknown option {key!r}")
        if name in found:
            raise ValueError(f"{path}: {key!r} is set twice")
        try:
            found[name] = to_text(known[name], value)
            check_text(known[name], found[name])
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from None
    return found


def load_toml(path: str) -> dict[str, Any]:
    """Return the file's content. Raises ValueError."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise ValueError(
                f"the file is larger than {FILE_BYTES >> 20} MiB"
            )
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        content: dict[str, Any] = tomllib.loads(text)
        return content
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror}") from None
    except RecursionError:
        raise ValueError(
            f"--config {path}: the file is nested too deeply"
        ) from None
    except ValueError as error:  # of TOML, of UTF-8
        raise ValueError(f"--config {path}: {error}") from None


def to_text(option: Option, value: object) -> str | list[str] | bool:
    """Return what would be typed for this value. Raises ValueError."""
    if option.is_switch:
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, got {shown(value)}")
        return value
    if option.name == "levels":
        return ",".join(level_text(one) for one in as_list(value))
    if option.name == "slo":
        return ",".join(
            map(unquoted, pairs(value))
            if isinstance(value, dict)
            else texts(option, value)
        )
    if option.name == "option" and isinstance(value, dict):
        return pairs(value)
    return texts(option, value) if option.repeats else text(option, value)


def check_text(option: Option, value: str | list[str] | bool) -> None:
    """Raise ValueError now, while the file and the key are known."""
    convert(option, value)
    if option.name == "slo":
        objectives.parse(str(value))


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def pairs(table: dict[str, Any]) -> list[str]:
    """Return a table as KEY=VALUE, the values as JSON."""
    try:
        return [
            f"{key}={json.dumps(value, allow_nan=False)}"
            for key, value in table.items()
        ]
    except (TypeError, ValueError):
        raise ValueError(
            f"expected values that JSON can hold, got {shown(table)}"
        ) from None


def unquoted(pair: str) -> str:
    """Return the pair of an objective with a share: ttft = "2@99"."""
    return pair.replace('"', "")


def texts(option: Option, value: object) -> list[str]:
    return [text(option, one) for one in as_list(value)]


def level_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"expected a level, got {shown(value)}")
    return filled(str(value))


def text(option: Option, value: object) -> str:
    """Return one value as text, if it is of the option's kind. Raises ValueError."""
    if isinstance(value, bool) and set(option.choices) == set(
        SWITCH_WORDS.values()
    ):
        value = SWITCH_WORDS[value]
    takes_number = option.convert is not str and not option.repeats
    kinds = (str, int, float) if takes_number else (str,)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(
            f"expected {'a number' if takes_number else 'text'}, got {shown(value)}"
        )
    return filled(str(value))


def filled(value: str) -> str:
    if not value.strip():
        raise ValueError("the value is empty")
    if "\0" in value:
        raise ValueError("the value holds a NUL character")
    return value


def shown(value: object) -> str:
    """Return a value for an error message, booleans as TOML writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)[:SHOWN_CHARACTERS]
