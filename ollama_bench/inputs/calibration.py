"""How many tokens a server makes of words: measured once, then prompts are made of a length.

    counts = [ask(text) for text in make_probes(draw, prefixes)]   # the server's own counts
    calibration = solve(counts)
    text = calibration.make_text(8000, draw, has_prefix=True)
    calibration = calibration.correct(8000, text, count)    # by one more count

Half of the words, the other half and all of them: what the halves have more than the whole is the
chat template, exactly. Words and characters are weighed so that the short half and the long half
both come out right: a tokenizer of whole words and one of bytes are the two extremes. Prompts of
one length are the same words in another order, so that one of them tells for all.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ollama_bench.inputs.words import WORDS

BY_LENGTH = sorted(WORDS, key=len)
SHORT = BY_LENGTH[: len(WORDS) // 2]
# in an order of no kind
MIXED = random.Random(1).sample(WORDS, len(WORDS))
LONG = BY_LENGTH[len(WORDS) // 2 :]


@dataclass(frozen=True)
class Calibration:
    """What a model's template and tokenizer make of a prompt, in tokens."""

    overhead: float  # of the template, around whatever is asked
    per_prefix: float  # of what misses the prompt cache
    per_word: float
    per_character: float  # beside per_word
    # length: tokens that its prompts have beside what the rest tells
    corrections: Mapping[int, float] = field(default_factory=dict)

    def count_word(self, word: str) -> float:
        """Return how many tokens a word is expected to have."""
        return self.per_word + self.per_character * len(word)

    def make_text(
        self, tokens: int, draw: random.Random, has_prefix: bool
    ) -> str:
        """Return random words that make a prompt of so many tokens; one word at least."""
        room = tokens - self.overhead - self.corrections.get(tokens, 0.0)
        if has_prefix:
            room -= self.per_prefix
        all_words = sum(map(self.count_word, WORDS))
        rounds, room = divmod(max(room, 0.0), all_words)
        found: list[str] = []
        for _ in range(int(rounds)):
            found += draw.sample(WORDS, len(WORDS))
        rest = self._choose_rest(room)
        found += draw.sample(rest, len(rest))
        return " ".join(found) or draw.choice(WORDS)

    def _choose_rest(self, room: float) -> list[str]:
        """Return the words that fill what whole rounds leave: the same in every prompt."""
        found = []
        for word in MIXED:
            # otherwise too short is nearer than too long
            if self.count_word(word) < 2 * room:
                found.append(word)
                room -= self.count_word(word)
        return found

    def correct(self, tokens: int, text: str, counted: int) -> Calibration:
        """Return the calibration by which prompts of a length come out right.

        text: one that it has made of that length, with so many tokens as counted.
        """
        expected = self.overhead + sum(map(self.count_word, text.split()))
        corrections = {**self.corrections, tokens: counted - expected}
        return replace(self, corrections=corrections)


def make_probes(
    draw: random.Random, prefixes: Sequence[str]
) -> tuple[str, ...]:
    """Return the prompts whose tokens solve() takes: words in an order that no cache has seen."""
    parts = (SHORT, LONG, WORDS, prefixes)
    return tuple(" ".join(draw.sample(part, len(part))) for part in parts)


def solve(counts: Sequence[int], prefixes: int) -> Calibration | None:
    """Return what these counts of the probes' tokens tell; None if they contradict each other.

    prefixes: how many of them the last probe had.
    """
    short, long, both, last = counts
    overhead = short + long - both
    letters = len("".join(SHORT)), len("".join(LONG))
    tokens = short - overhead, long - overhead
    # two equations: words * per_word + letters * per_character = tokens
    scale = len(SHORT) * letters[1] - len(LONG) * letters[0]
    found = Calibration(
        overhead,
        (last - overhead) / prefixes,
        (tokens[0] * letters[1] - tokens[1] * letters[0]) / scale,
        (len(SHORT) * tokens[1] - len(LONG) * tokens[0]) / scale,
    )
    is_possible = (
        overhead >= 0
        and found.per_prefix > 0
        and all(found.count_word(word) > 0 for word in WORDS)
    )
    return found if is_possible else None
