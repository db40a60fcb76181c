"""config.py - reads a TOML file of settings as what a command line's options would have said.

    config.read("bench.toml", parser, {"slo": objectives.parse})    # {"model": ["a", "b"], "cooldown": 3.0, ...}

A key is an option without its dashes. Nothing is guessed: a key that is no option, and a value
that is not of the option's kind, are a ValueError that names the file and the key.
"""
from __future__ import annotations

import argparse
import json

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

FILE_BYTES = 1 << 20  # more are no settings
WORDS = {True: "on", False: "off"}  # of a switch that has these two as its choices


def read(path: str, parser: argparse.ArgumentParser, checks: dict) -> dict[str, object]:
    """What the file sets, by the options' names; checks raise ValueError for a text that is none. Raises ValueError."""
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    found: dict[str, object] = {}
    for key, value in table(path).items():
        name = key.replace("-", "_")
        if name not in actions:
            raise ValueError(f"{path}: {key!r} is no option that a file can set")
        if name in found:
            raise ValueError(f"{path}: {key!r} is set twice")
        try:
            found[name] = meant(actions[name], value, checks.get(name))
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise ValueError(f"{path}: {key}: {error}") from None
    return found


def table(path: str) -> dict:
    """The file's content. Raises ValueError."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise ValueError(f"it is larger than {FILE_BYTES >> 20} MiB")
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror}") from None
    except RecursionError:
        raise ValueError(f"--config {path}: it is nested too deeply") from None
    except ValueError as error:  # of TOML, of UTF-8
        raise ValueError(f"--config {path}: {error}") from None


def meant(action: argparse.Action, value: object, check) -> object:
    """A value of the file as the option would have it. Raises ValueError."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"true or false is meant, not {shown(value)}")
        return value
    if action.dest == "levels":
        found: object = ",".join(single(action, one, (str, int), "level") for one in listed(value))
    elif action.dest == "slo":
        found = ",".join(pairs(value) if isinstance(value, dict) else [single(action, one) for one in listed(value)])
    elif isinstance(action, argparse._AppendAction):
        found = pairs(value) if action.dest == "option" and isinstance(value, dict) else [single(action, one) for one in listed(value)]
    else:
        found = single(action, value)
    for text in found if isinstance(found, list) else [found]:
        if check is not None:
            check(text)
    return found


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def pairs(value: dict) -> list[str]:
    """A table as KEY=VALUE, the values as JSON."""
    try:
        return [f"{key}={json.dumps(one, allow_nan=False)}" for key, one in value.items()]
    except (TypeError, ValueError):
        raise ValueError(f"what JSON can hold is meant, not {shown(value)}") from None


def single(action: argparse.Action, value: object, kinds: tuple = (), noun: str = "") -> object:
    """One value, converted by the option's own type. Raises ValueError, ArgumentTypeError."""
    if isinstance(value, bool) and action.choices and set(action.choices) == set(WORDS.values()):
        value = WORDS[value]
    kinds = kinds or ((str, int, float) if action.type else (str,))
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(f"a {noun or ('number' if action.type else 'text')} is meant, not {shown(value)}")
    text = str(value)
    if action.choices and text not in action.choices:
        raise ValueError(f"one of {', '.join(action.choices)} is meant, not {shown(value)}")
    if not text.strip():
        raise ValueError("it is empty")
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return action.type(text) if action.type else text


def shown(value: object) -> str:
    """A value for an error, in TOML's words where they differ."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)[:80]
