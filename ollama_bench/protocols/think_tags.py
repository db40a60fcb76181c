"""Tells reasoning from answer where a server sends both in one field, as <think>...</think>."""

from __future__ import annotations

from ollama_bench.protocols.chunks import ANSWER, REASONING

OPEN, CLOSE = "<think>", "</think>"

# (REASONING or ANSWER, text): a plain tuple, since there is one per token.
TypedText = tuple[bytes, str]


class ThinkTags:
    """Splits the text of one stream at its think tags.

    Ollama before 0.9 sends them, and so does any server that is told not to parse reasoning.
    ``over`` becomes True once all further text is answer.
    """

    def __init__(self) -> None:
        self.over = False
        self._opened = False
        self._seen = ""

    def split(self, text: str) -> list[TypedText]:
        """Split the next text into reasoning and answer; the tags count as reasoning."""
        self._seen = (self._seen + text).lstrip()
        if not self._opened:
            start = self._seen[: len(OPEN)]
            if not OPEN.startswith(start):
                self.over = True
                return [(ANSWER, text)]
            self._opened = start == OPEN
            if not self._opened:
                return [(REASONING, text)]
        return self._split_at_close(text)

    def _split_at_close(self, text: str) -> list[TypedText]:
        end = self._seen.find(CLOSE)
        if end < 0:
            self._seen = OPEN + self._seen[len(OPEN) :][-len(CLOSE) :]
            return [(REASONING, text)]
        self.over = True
        answer = self._seen[end + len(CLOSE) :]
        reasoning = text[: len(text) - len(answer)]
        parts = [(REASONING, reasoning), (ANSWER, answer)]
        return [(kind, part) for kind, part in parts if part]
