"""prompts.py - what is asked: one prompt, a file of prompts and conversations, or made-up text of a length.

    prompts.read("prompts.jsonl")     # a line each: {"prompt": "...", "tokens": 200} and the forms below
    prompts.made_up(500, rng)         # about 500 tokens, another text each time

A line of the file is one of
    {"prompt": "...", "system": "...", "tokens": 200, "options": {"seed": 1}}
    {"turns": ["first question", "second question"]}           a conversation
    {"messages": [{"role": "user", "content": "..."}, ...]}    OpenAI's form
    {"conversations": [{"from": "human", "value": "..."}]}     ShareGPT's form, also as one JSON array
"""
from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

FILE_BYTES = 256 << 20  # more is no file of prompts
SPEAKERS = ("human", "user")

# Short common words: about a token each in the tokenizers of Llama, Qwen and Gemma.
WORDS = """time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work number night point home water room mother area money story fact month
lot right study book eye job word business issue side kind head house service friend father power hour game line end member
law car city name team minute idea body information back parent face others level office door health person art war history
party result change morning reason research girl guy moment air teacher force education foot boy age policy music market sense
good new first last long great little own other old big high small large next early young important few public bad same able""".split()


@dataclass(frozen=True)
class Prompt:
    """What one user asks: one question, or several, each after the answer before."""

    turns: tuple[str, ...]
    system: str | None = None
    tokens: int | None = None  # ceiling of a reply
    options: dict = field(default_factory=dict)


def read(path: str) -> list[Prompt]:
    """The prompts of a file. Raises ValueError with the line that is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES + 1)  # a pipe and /dev/zero have no size to ask for
        if len(data) > FILE_BYTES:
            raise ValueError(f"{path} is larger than {FILE_BYTES >> 20} MiB: that is no file of prompts")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if text.lstrip().startswith("["):
        entries = enumerate(decode(text, path), 1)
        place = "entry"
    else:
        lines = enumerate(text.split("\n"), 1)
        entries = ((number, decode(line, f"{path}, line {number}")) for number, line in lines if line.strip())
        place = "line"
    found = [prompt(entry, f"{path}, {place} {number}") for number, entry in entries]
    if not found:
        raise ValueError(f"{path} holds no prompt")
    return found


def decode(text: str, where: str):
    """JSON that can be sent on: neither NaN nor infinity, no half of a character."""
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is not JSON") from None
    return found


def prompt(entry, where: str) -> Prompt:
    """One entry of a file, in whichever form."""
    if isinstance(entry, str):
        entry = {"prompt": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: an object with a prompt is meant")
    turns = questions(entry)
    if not turns or not all(isinstance(turn, str) and turn for turn in turns):
        raise ValueError(f"{where}: no prompt, turns, messages or conversations with text")
    tokens, options, system = entry.get("tokens", entry.get("expected_tokens")), entry.get("options", {}), entry.get("system")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens < 2**31):
        raise ValueError(f"{where}: tokens is to be a whole number from 1 on")
    if not isinstance(options, dict) or not isinstance(system, (str, type(None))):
        raise ValueError(f"{where}: options is an object and system a text")
    return Prompt(tuple(turns), system, tokens, options)


def questions(entry: dict) -> list:
    """What the user says, turn by turn."""
    if "prompt" in entry:
        return [entry["prompt"]]
    if isinstance(entry.get("turns"), list):
        return entry["turns"]
    for key, speaker, words in (("messages", "role", "content"), ("conversations", "from", "value")):
        if isinstance(said := entry.get(key), list):
            return [one.get(words) for one in said if isinstance(one, dict) and one.get(speaker) in SPEAKERS]
    return []


def made_up(tokens: int, draw: random.Random) -> Prompt:
    """Text of about so many tokens that no cache has seen."""
    return Prompt((" ".join(draw.choices(WORDS, k=tokens)),))


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers 0 to count-1 in an order that the seed decides."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
