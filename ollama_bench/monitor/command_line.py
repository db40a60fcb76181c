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
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, _, value = word.partition("=")
        if name.replace("_", "-") in SLOT_OPTIONS:
            return parse_slots(value or following)
    return None


def parse_slots(text: str | None) -> int | None:
    """Return a number of slots, or None for text that is not a positive integer."""
    if not re.fullmatch("[0-9]{1,9}", text or ""):
        return None
    return int(text or "") or None
