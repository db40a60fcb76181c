"""One entry of a file of prompts, in any of the forms people have.

    "why?"
    {"prompt": "...", "system": "...", "tokens": 200, "options": {"seed": 1}}
    {"turns": ["first question", "second question"]}           a conversation
    {"messages": [{"role": "user", "content": "..."}, ...]}    OpenAI's form
    {"conversations": [{"from": "human", "value": "..."}]}     ShareGPT's form

The last two may hold a system prompt: {"role": "system", ...}, {"from": "system", ...}.
All but the first two are chats: the server's own replies take the place of the assistant's words.
Messages of tools, and the call that each of them answers, stay; "tools" says which there are.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

USERS = ("human", "user")
SYSTEMS = ("system", "developer")
MOST_TOKENS = 2**31 - 1
# keys of what is asked, and of what may stand beside it
QUESTIONS = ("prompt", "turns", "messages", "conversations")
BESIDE = ("system", "tokens", "options", "tools")
Message = dict[str, Any]  # in OpenAI's form
Turn = tuple[Message, ...]  # what is said before a reply
FORMS = (  # key of the list, key of the speaker, key of the words
    ("messages", "role", "content"),
    ("conversations", "from", "value"),
)


@dataclass(frozen=True)
class Prompt:
    """What one user asks: one text, or a chat, each turn after the reply to the one before."""

    turns: tuple[Turn, ...]  # without the system prompt
    system: str | None = None
    tokens: int | None = None  # longest reply
    options: Mapping[str, object] = field(default_factory=dict)
    is_chat: bool = False  # False: one turn of one text
    tools: tuple[object, ...] = ()  # that the model may call in a chat
    # tokens that it was made up to have, the template's included
    made_tokens: int | None = None
    # the reply is to go on to ``tokens``, where the server can be told to
    fills_reply: bool = False


def make_prompt(text: str) -> Prompt:
    """Return a single prompt of this text."""
    return Prompt(((make_question(text),),))


def make_question(text: object) -> Message:
    return {"role": "user", "content": text}


def read_entry(entry: object, where: str) -> Prompt:
    """Return the prompt that an entry holds. Raises ValueError that begins with ``where``."""
    if isinstance(entry, str):
        entry = {"prompt": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object with a prompt")
    refuse_misspelt(entry, where)
    turns = find_turns(entry)
    if not are_questions(turns):
        raise ValueError(
            f"{where}: expected prompt, turns, messages or conversations with text"
        )
    tokens = read_tokens(entry, where)
    options, system = entry.get("options", {}), find_system(entry)
    tools = entry.get("tools") or []
    if not isinstance(options, dict):
        raise ValueError(f"{where}: invalid options: expected an object")
    if not isinstance(system, (str, type(None))):
        raise ValueError(f"{where}: invalid system: expected text")
    if not isinstance(tools, list):
        raise ValueError(f"{where}: invalid tools: expected a list")
    if not can_be_sent([turns, system, options, tools]):
        raise ValueError(
            f"{where} is not JSON: it holds NaN, infinity or half a character"
        )
    is_chat = "prompt" not in entry
    if tools and not is_chat:
        raise ValueError(f"{where}: tools need turns or messages")
    return Prompt(
        tuple(map(tuple, turns)),
        system,
        tokens,
        options,
        is_chat,
        tuple(tools),
    )


def refuse_misspelt(entry: Mapping[str, object], where: str) -> None:
    """Raise ValueError for a key that is nearly one of ours: it would be ignored.

    Other keys, which files have for other tools, do not matter.
    """
    names = set(BESIDE) - entry.keys()
    if not entry.keys() & set(QUESTIONS):
        names.update(QUESTIONS)
    for key in entry:
        if key in (*QUESTIONS, *BESIDE):
            continue
        own = [name for name in sorted(names) if name[0] == key[:1]]
        near = difflib.get_close_matches(key, own, n=1, cutoff=0.8)
        if near:
            raise ValueError(
                f"{where}: invalid key {key!r}: did you mean {near[0]}?"
            )


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


def are_questions(turns: list[list[Message]]) -> bool:
    """Tell whether there are turns, and whatever the user says in them is text."""
    return bool(turns) and all(
        isinstance(message["content"], str) and message["content"]
        for turn in turns
        for message in turn
        if message["role"] == "user"
    )


def find_turns(entry: Mapping[str, Any]) -> list[list[Message]]:
    """Return what is said before each reply."""
    if "prompt" in entry:
        return [[make_question(entry["prompt"])]]
    if isinstance(entry.get("turns"), list):
        return [[make_question(text)] for text in entry["turns"]]
    return split_turns(find_messages(entry))


def split_turns(messages: list[Message]) -> list[list[Message]]:
    """Split a chat where a reply is due: after the user's words, and after results of tools.

    An assistant's words are left out, for the server says its own; a call of tools stays before
    its results, which would answer nothing without it.
    """
    turns: list[list[Message]] = []
    said: list[Message] = []  # a call of tools, then its results
    for message in messages:
        role = message.get("role")
        if role == "user":
            turns.append([*(said if has_results(said) else []), message])
            said = []
        elif role == "tool":
            said.append(message)
        elif role == "assistant":
            if has_results(said):
                turns.append(said)
            said = [message] if message.get("tool_calls") else []
    if has_results(said):
        turns.append(said)
    return turns


def has_results(said: list[Message]) -> bool:
    return bool(said) and said[-1]["role"] == "tool"


def find_messages(entry: Mapping[str, Any]) -> list[Message]:
    """Return the messages or conversations of an entry as messages."""
    for key, speaker, words in FORMS:
        parts = entry.get(key)
        if isinstance(parts, list):
            return [
                read_message(part, speaker, words)
                for part in parts
                if isinstance(part, dict)
            ]
    return []


def read_message(part: Message, speaker: str, words: str) -> Message:
    """Return a part as a message; what the user says has all that the file has with it."""
    if part.get(speaker) in USERS:
        content = {"role": "user", "content": part.get(words)}
        return part | content if words == "content" else content
    if words == "content":
        return part
    return {"role": "assistant", "content": part.get(words)}


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
