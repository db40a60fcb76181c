"""A mixture of prompt lengths: of ten prompts nine of 500 tokens and one of 8,000.

mix = parse("500*9,8000*1")
mix.choose_tokens(seed, number)    # of the request of this number, from 1
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ollama_bench.inputs.values import is_digits

# prompts of a block, in which the shares are exact
LARGEST_BLOCK = 1000
EXPECTED = "expected lengths and how many of each, e.g. 500*9,8000*1"


@dataclass(frozen=True)
class PromptMix:
    """Prompt lengths in tokens, each with how many of a block have it."""

    parts: tuple[tuple[int, int], ...]  # (tokens, prompts), rising

    def __str__(self) -> str:
        return ",".join(
            f"{tokens}*{count}" for tokens, count in self.parts
        )

    @property
    def lengths(self) -> list[int]:
        return [tokens for tokens, _ in self.parts]

    def choose_tokens(self, seed: int, number: int) -> int:
        """Return the length of a request's prompt; every whole block has the exact shares.

        The order within a block is the seed's, and the same in every level.
        """
        block = [
            tokens for tokens, count in self.parts for _ in range(count)
        ]
        place = (number - 1) // len(block)
        random.Random(f"{seed} mix {place}").shuffle(block)
        return block[(number - 1) % len(block)]


def parse(text: str) -> PromptMix:
    """Return the mixture that this text means. Raises ValueError."""
    counts: dict[int, int] = {}
    for part in text.split(","):
        tokens, times, count = part.strip().partition("*")
        numbers = [tokens.strip(), count.strip() if times else "1"]
        if not all(is_digits(n) and int(n) for n in numbers):
            raise ValueError(EXPECTED)
        length = int(numbers[0])
        counts[length] = counts.get(length, 0) + int(numbers[1])
    if len(counts) < 2:
        raise ValueError("expected two lengths or more, e.g. 500*9,8000*1")
    if sum(counts.values()) > LARGEST_BLOCK:
        raise ValueError(
            f"expected at most {LARGEST_BLOCK} prompts in all"
        )
    return PromptMix(tuple(sorted(counts.items())))
