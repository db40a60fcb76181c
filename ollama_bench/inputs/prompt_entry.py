"""One entry of a file of prompts, in any of the forms people have.

    "why?"
    {"prompt": "...", "system": "...", "tokens": 200, "options": {"seed": 1}}
    {"turns": ["first question", "second question"]}           a conversation
    {"messages": [{"role": "user", "content": "..."}, ...]}    OpenAI's form
    {"conversations": [{"from": "human", "value": "..."}]}     ShareGPT's form

The last two may hold a system prompt: {"role": "system", ...}, {"from": "system", ...}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

USERS = ("human", "user")
SYSTEMS = ("system", "developer")
MOST_TOKENS = 2**31 - 1
FORMS = (  # key of the list, key of the speaker, key of the words
    ("messages", "role", "content"),
    ("conversations", "from", "value"),
)


@dataclass(frozen=True)
class Prompt:
    """What one user asks: one question, or several, each after the reply to the one before."""

    turns: tuple[str, ...]
    system: str | None = None
    tokens: int | None = None  # longest reply
    options: Mapping[str, object] = field(default_factory=dict)


def read_entry(entry: object, where: str) -> Prompt:
    """Return the prompt that an entry holds. Raises ValueError that begins with ``where``."""
    if isinstance(entry, str):
        entry = {"prompt": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object with a prompt")
    turns = find_turns(entry)
    if not are_questions(turns):
        raise ValueError(
            f"{where}: expected prompt, turns, messages or conversations with text"
        )
    tokens = read_tokens(entry, where)
    options, system = entry.get("options", {}), find_system(entry)
    if not isinstance(options, dict):
        raise ValueError(f"{where}: invalid options: expected an object")
    if not isinstance(system, (str, type(None))):
        raise ValueError(f"{where}: invalid system: expected text")
    if not can_be_sent([turns, system, options]):
        raise ValueError(
            f"{where} is not JSON: it holds NaN, infinity or half a character"
        )
    return Prompt(tuple(turns), system, tokens, options)


def is_wordless(entry: object) -> bool:
    """Tell whether the user says nothing at all, or nothing once, in a conversation of ShareGPT.

    Its files hold such entries; they are skipped.
    """
    if not isinstance(entry, dict) or not isinstance(
        entry.get("conversations"), list
    ):
        return False
    if {"prompt", "turns", "messages"} & entry.keys():
        return False
    return not are_questions(find_turns(entry))


def are_questions(turns: list[Any]) -> bool:
    return bool(turns) and all(
        isinstance(turn, str) and turn for turn in turns
    )


def find_turns(entry: Mapping[str, Any]) -> list[Any]:
    """Return what the user says, turn by turn."""
    if "prompt" in entry:
        return [entry["prompt"]]
    if isinstance(entry.get("turns"), list):
        return list(entry["turns"])
    return words_of(entry, USERS)


def find_system(entry: Mapping[str, Any]) -> object:
    if entry.get("system") is not None:
        return entry["system"]
    said = [
        text for text in words_of(entry, SYSTEMS) if isinstance(text, str)
    ]
    return "\n\n".join(said) or None


def words_of(
    entry: Mapping[str, Any], speakers: tuple[str, ...]
) -> list[Any]:
    """Return what some speakers say in the messages or conversations of an entry."""
    for key, speaker, words in FORMS:
        parts = entry.get(key)
        if isinstance(parts, list):
            return [
                part.get(words)
                for part in parts
                if isinstance(part, dict) and part.get(speaker) in speakers
            ]
    return []


def read_tokens(entry: Mapping[str, Any], where: str) -> int | None:
    tokens = entry.get("tokens", entry.get("expected_tokens"))
    if tokens is None:
        return None
    if (
        isinstance(tokens, bool)
        or not isinstance(tokens, int)
        or not 0 < tokens <= MOST_TOKENS
    ):
        raise ValueError(
            f"{where}: invalid tokens: expected an integer from 1"
        )
    return tokens


def can_be_sent(value: object) -> bool:
    """Tell whether a value is JSON and UTF-8: no NaN, no infinity, no half of a character."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True
