"""prompts.py - what is asked: one prompt, a file of prompts and conversations, or made-up text of a length.

    prompts.read("prompts.jsonl")     # a line each: {"prompt": "...", "tokens": 200} and the forms below
    prompts.made_up(500, rng)         # about 500 tokens, another text each time

A line of the file is one of
    {"prompt": "...", "system": "...", "tokens": 200, "options": {"seed": 1}}
    {"turns": ["first question", "second question"]}           a conversation
    {"messages": [{"role": "user", "content": "..."}, ...]}    OpenAI's form
    {"conversations": [{"from": "human", "value": "..."}]}     ShareGPT's form, also as one JSON array
A system prompt may stand in the two last ones too: {"role": "system", ...}, {"from": "system", ...}
"""

from __future__ import annotations

import codecs
import functools
import json
import os
import random
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

FILE_BYTES = 4 << 30  # read piece by piece; ShareGPT's own file has 0.7 GB
ENTRY_BYTES = 64 << 20  # more is no prompt; bounds the memory
PIECE_BYTES = 1 << 20
USERS, SYSTEMS = ("human", "user"), ("system", "developer")
BLANK = " \t\r\n"  # of JSON

# Short common words: about a token each in the tokenizers of Llama, Qwen and Gemma.
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system", "program", "question", "work", "number", "night", "point", "home", "water", "room", "mother", "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue", "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game", "line", "end", "member", "law", "car", "city", "name", "team", "minute", "idea", "body", "information", "back", "parent", "face", "others", "level", "office", "door", "health", "person", "art", "war", "history", "party", "result", "change", "morning", "reason", "research", "girl", "guy", "moment", "air", "teacher", "force", "education", "foot", "boy", "age", "policy", "music", "market", "sense", "good", "new", "first", "last", "long", "great", "little", "own", "other", "old", "big", "high", "small", "large", "next", "early", "young", "important", "few", "public", "bad", "same", "able"]

DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Prompt:
    """What one user asks: one question, or several, each after the answer before."""

    turns: tuple[str, ...]
    system: str | None = None
    tokens: int | None = None  # ceiling of a reply
    options: dict = field(default_factory=dict)


def read(path: str) -> list[Prompt]:
    """The prompts of a file; says on stderr how many conversations lack a question and are skipped.

    Asked again for a file that has not changed it gives the same list. Raises ValueError with the entry that is none.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', error)}") from None
    who = getattr(os, "geteuid", int)()  # what root has read is not for the user that root became
    version = (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else ()
    return list(_read(path, who, found.st_ino, *version))


@functools.lru_cache(
    maxsize=1
)  # it is read to be checked, and again to be asked: a pipe gives its text once
def _read(path: str, *_) -> list[Prompt]:
    found, skipped = [], 0
    try:
        with open(path, "rb") as file:
            for entry, where in entries(file, path):
                if is_wordless(entry):
                    skipped += 1
                else:
                    found.append(prompt(entry, where))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not found:
        raise ValueError(f"{path} holds no prompt")
    if skipped:
        print(
            f"{path}: {skipped} of {skipped + len(found)} conversations lack a question and are skipped",
            file=sys.stderr,
        )
    return found


def entries(file, path: str) -> Iterator[tuple[object, str]]:
    """What a file of JSON lines, or one JSON array, holds, and where; only one entry is in memory."""
    if file.peek(PIECE_BYTES).removeprefix(codecs.BOM_UTF8).lstrip(BLANK.encode()).startswith(b"["):
        return array_entries(file, path)
    return line_entries(file, path)


def line_entries(file, path: str) -> Iterator[tuple[object, str]]:
    number, size = 0, 0
    while line := file.readline(ENTRY_BYTES + 1):
        number, size = number + 1, size + len(line)
        if len(line) > ENTRY_BYTES or size > FILE_BYTES:
            raise too_large(path, len(line) > ENTRY_BYTES)
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if text.strip():
            yield decode(text, f"{path}, line {number}"), f"{path}, line {number}"


def array_entries(file, path: str) -> Iterator[tuple[object, str]]:
    text = Text(file, path)
    text.skip("[")
    number = 1
    while text.next() != "]":
        if number > 1:
            text.skip(",")
        yield text.entry(), f"{path}, entry {number}"
        number += 1
    text.skip("]")
    if text.next():
        raise ValueError(f"{path} is not JSON")


class Text:
    """A JSON text that is read on as it is needed. Raises ValueError where it is none."""

    def __init__(self, file, path: str) -> None:
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._size = "", 0, 0

    def next(self) -> str:
        """The next character that is not blank; '' at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in BLANK:
                self._at += 1
            if self._at < len(self._text) or not self._read_on(PIECE_BYTES):
                return self._text[self._at : self._at + 1]

    def skip(self, character: str) -> None:
        if self.next() != character:
            raise ValueError(f"{self._path} is not JSON")
        self._at += 1

    def entry(self) -> object:
        """The next value."""
        self.next()
        while True:
            try:
                found, end = DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError(f"{self._path} is not JSON") from None
            except ValueError:  # cut off, or wrong: more of it will tell
                if not self._read_on(max(PIECE_BYTES, len(self._text) - self._at)):
                    raise ValueError(f"{self._path} is not JSON") from None
            else:
                self._at = end
                return found

    def _read_on(self, count: int) -> bool:
        """Forget what was used and add so many bytes; False at the end of the file."""
        data = self._file.read(count)
        self._size += len(data)
        self._text, self._at = self._text[self._at :] + self._decode(data, not data), 0
        if len(self._text) > ENTRY_BYTES or self._size > FILE_BYTES:
            raise too_large(self._path, len(self._text) > ENTRY_BYTES)
        return bool(data)


def too_large(path: str, is_entry: bool) -> ValueError:
    limit = ENTRY_BYTES if is_entry else FILE_BYTES
    return ValueError(
        f"{path}{' has an entry that' if is_entry else ''} is larger than {limit >> 20} MiB: that is no {'prompt' if is_entry else 'file of prompts'}"
    )


def decode(text: str, where: str):
    """A line as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is not JSON") from None


def is_wordless(entry) -> bool:
    """A conversation of ShareGPT's form in which the user says nothing, or once nothing: its files hold some."""
    if (
        not isinstance(entry, dict)
        or {"prompt", "turns", "messages"} & entry.keys()
        or not isinstance(entry.get("conversations"), list)
    ):
        return False
    turns = questions(entry)
    return not turns or not all(isinstance(turn, str) and turn for turn in turns)


def prompt(entry, where: str) -> Prompt:
    """One entry of a file, in whichever form."""
    if isinstance(entry, str):
        entry = {"prompt": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: an object with a prompt is meant")
    turns = questions(entry)
    if not turns or not all(isinstance(turn, str) and turn for turn in turns):
        raise ValueError(f"{where}: no prompt, turns, messages or conversations with text")
    tokens, options = entry.get("tokens", entry.get("expected_tokens")), entry.get("options", {})
    system = entry.get("system")
    if system is None:
        system = "\n\n".join(text for text in said(entry, SYSTEMS) if isinstance(text, str)) or None
    if tokens is not None and (
        isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens < 2**31
    ):
        raise ValueError(f"{where}: tokens is to be a whole number from 1 on")
    if not isinstance(options, dict) or not isinstance(system, (str, type(None))):
        raise ValueError(f"{where}: options is an object and system a text")
    if not can_be_sent([turns, system, options]):
        raise ValueError(
            f"{where} is not JSON: NaN, infinity and halves of characters can't be sent"
        )
    return Prompt(tuple(turns), system, tokens, options)


def can_be_sent(value) -> bool:
    """Neither NaN nor infinity, no half of a character."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def questions(entry: dict) -> list:
    """What the user says, turn by turn."""
    if "prompt" in entry:
        return [entry["prompt"]]
    if isinstance(entry.get("turns"), list):
        return entry["turns"]
    return said(entry, USERS)


def said(entry: dict, speakers: tuple[str, ...]) -> list:
    """What these say in the messages or conversations of an entry."""
    for key, speaker, words in (
        ("messages", "role", "content"),
        ("conversations", "from", "value"),
    ):
        if isinstance(parts := entry.get(key), list):
            return [
                one.get(words)
                for one in parts
                if isinstance(one, dict) and one.get(speaker) in speakers
            ]
    return []


def made_up(tokens: int, draw: random.Random) -> Prompt:
    """Text of about so many tokens that no cache has seen."""
    return Prompt((" ".join(draw.choices(WORDS, k=tokens)),))


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers 0 to count-1 in an order that the seed decides."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
