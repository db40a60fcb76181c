"""command_line.py - reads the command lines of servers and of their runners."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

# how vLLM retitles its processes, e.g. VLLM::Worker_TP0
VLLM_TITLES = ("VLLM::EngineCore", "VLLM::Worker")
SLOT_OPTIONS = ("-np", "--parallel", "--max-num-seqs")


def is_ollama_server(words: Sequence[str]) -> bool:
    """Return whether this is an Ollama server, by the rule that Ollama itself uses."""
    if not words:
        return False
    name = os.path.basename(words[0]).lower()
    commands = [word for word in words[1:] if not word.startswith("-")]
    return name in ("ollama", "ollama.exe") and commands[:1] in (
        ["serve"],
        ["start"],
    )


def is_runner(words: Sequence[str]) -> bool:
    """Return whether this process runs a model."""
    if words and words[0].startswith(VLLM_TITLES):
        return True
    return any(
        word == "--model" or word.startswith("--model=") for word in words
    )


def uses_mlx_engine(words: Sequence[str]) -> bool:
    return "--mlx-engine" in words


def read_slots(words: Sequence[str]) -> int | None:
    """Return the slots that a program was started with.

    They are -np of llama-server, --parallel of Ollama's own runner, --max-num-seqs of vLLM, which
    takes it with underscores too.
    """
    return parse_slots(read_option(words, *SLOT_OPTIONS))


def read_cache_type(words: Sequence[str]) -> str | None:
    """Return the type of the context's cache that a runner was started with."""
    return read_option(words, "-ctk", "--cache-type-k", "--kv-cache-type")


def read_option(words: Sequence[str], *names: str) -> str | None:
    """Return the value of the first of these options, as -np 4 or -np=4."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, _, value = word.partition("=")
        if name.replace("_", "-") in names:
            return value or following or None
    return None


def parse_slots(text: str | None) -> int | None:
    """Return a number of slots, or None for text that is not a positive integer."""
    if not re.fullmatch("[0-9]{1,9}", text or ""):
        return None
    return int(text or "") or None
