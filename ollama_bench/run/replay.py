"""What a trace asks of one model: which of its requests fit, and the text of each.

    replay = Replay(trace, context_tokens=8192, most_tokens=None, seed=1)
    Load(source, ..., arrivals=replay.due_times(), planned=len(replay))
    prompt, line = replay.prompt(number, level, calibration)

Nobody knows what was said, so the texts are made up. Blocks that several prompts of a trace share
are the same words in each, so that a prompt cache finds what it found then.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from ollama_bench.inputs.calibration import Calibration
from ollama_bench.inputs.prompts import Prompt, make_prompt
from ollama_bench.inputs.trace import BLOCK_TOKENS, Trace, TraceLine
from ollama_bench.inputs.words import WORDS
from ollama_bench.run.error import RunError
from ollama_bench.run.plan import Level


class Replay:
    """The requests of a trace that fit into a model's context, in their order."""

    def __init__(
        self,
        trace: Trace,
        context_tokens: int | None,
        most_tokens: int | None,
        seed: int,
    ) -> None:
        """Take ``context_tokens`` and ``most_tokens``, of a reply, as no limit where None.

        Raises RunError where no request fits.
        """
        self.trace, self._seed = trace, seed
        self._most_tokens = most_tokens
        self._lines = [
            line
            for line in trace.lines
            if context_tokens is None
            or line.prompt_tokens + self._limit_reply(line)
            <= context_tokens
        ]
        if not self._lines:
            raise RunError(
                f"--trace {trace.name}: none of its {len(trace.lines):,} requests fits into "
                f"the context of {context_tokens:,} tokens"
            )
        # some of their prompts begin alike
        self.shares_blocks = any(line.blocks for line in self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def too_long(self) -> int:
        """Return how many requests do not fit into the context and are left out."""
        return len(self.trace.lines) - len(self._lines)

    @property
    def last_due_s(self) -> float:
        """Return when the last request is due, seconds since the start."""
        return self._lines[-1].due_s

    @property
    def rate_per_s(self) -> float | None:
        """Return the mean requests a second; None where all come at once."""
        if not self.last_due_s:
            return None
        return (len(self) - 1) / self.last_due_s

    @property
    def longest_reply(self) -> int:
        """Return the tokens of the longest reply."""
        return max(map(self._limit_reply, self._lines))

    def due_times(self) -> Iterator[float]:
        """Yield when each request is due, seconds since the start."""
        return (line.due_s for line in self._lines)

    def prompt(
        self, number: int, level: Level, calibration: Calibration | None
    ) -> tuple[Prompt, int]:
        """Return the prompt of the n-th request, from 1, and the number of its line."""
        line = self._lines[number - 1]
        prompt = replace(
            make_prompt(self._make_text(line, calibration)),
            tokens=self._limit_reply(line),
            made_tokens=line.prompt_tokens,
            fills_reply=True,
        )
        return prompt, line.number

    def _limit_reply(self, line: TraceLine) -> int:
        return min(
            line.reply_tokens, self._most_tokens or line.reply_tokens
        )

    def _make_text(
        self, line: TraceLine, calibration: Calibration | None
    ) -> str:
        """Return the text of a prompt; it is put behind a prefix."""
        count = calibration.count_word if calibration else lambda _: 1.0
        around = (
            calibration.overhead + calibration.per_prefix
            if calibration
            else 0.0
        )
        blocks = line.blocks or (f"line {line.number}",)
        block_tokens = BLOCK_TOKENS if line.blocks else line.prompt_tokens
        words: list[str] = []
        left = line.prompt_tokens
        for block in blocks:
            room = min(block_tokens, left) - around
            draw = random.Random(f"{self._seed} {block}")
            words += draw_words(draw, room, count)
            left, around = left - block_tokens, 0.0
        return " ".join(words) or WORDS[0]


def draw_words(
    draw: random.Random, room: float, count: Callable[[str], float]
) -> list[str]:
    """Return random words of so many tokens; those of less room are the first of those of more."""
    words: list[str] = []
    while True:
        # each word as often as any other: their tokens are known together
        for word in draw.sample(WORDS, len(WORDS)):
            tokens = count(word)
            # otherwise too short is nearer than too long
            if tokens >= 2 * room:
                return words
            words.append(word)
            room -= tokens
