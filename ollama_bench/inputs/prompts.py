"""What is asked: one prompt, a file of prompts and conversations, or random text of a length."""

from __future__ import annotations

import functools
import random
import sys

from ollama_bench.inputs.prompt_entry import (
    Prompt,
    is_wordless,
    make_prompt,
    read_entry,
)
from ollama_bench.inputs.prompt_file import identify, read_entries
from ollama_bench.inputs.words import WORDS

__all__ = ["Prompt", "make_prompt", "made_up", "read", "shuffled"]


def read(path: str) -> list[Prompt]:
    """Return the prompts of a file; say on stderr how many conversations without one it skips.

    A file that has not changed is read once. Raises ValueError that names the damaged entry.
    """
    return list(_read(path, *identify(path)))


# a file is read to be checked, and again to be asked: a pipe reads once
@functools.lru_cache(maxsize=1)
def _read(path: str, *_version: int) -> list[Prompt]:
    found: list[Prompt] = []
    skipped = 0
    try:
        with open(path, "rb") as file:
            for entry, where in read_entries(file, path):
                if is_wordless(entry):
                    skipped += 1
                else:
                    found.append(read_entry(entry, where))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not found:
        raise ValueError(f"{path} contains no prompt")
    if skipped:
        total = skipped + len(found)
        print(
            f"{path}: skipping {skipped} of {total} conversations without a question",
            file=sys.stderr,
        )
    return found


def made_up(tokens: int, draw: random.Random) -> Prompt:
    """Return random text of about so many tokens, which no prompt cache has seen."""
    return make_prompt(" ".join(draw.choices(WORDS, k=tokens)))


def shuffled(count: int, seed: int) -> list[int]:
    """Return the numbers 0 to count - 1 in an order that the seed decides."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
