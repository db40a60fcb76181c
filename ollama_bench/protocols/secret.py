"""Masks an API key in everything a server says, however the server disguises it."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

# "EMPTY", "none" and "ollama" are dummy keys, not secrets
MIN_SECRET_CHARS = 8

# At the end of a cut text a beginning of the key is masked too, if it has this many characters
# and starts this close to the end.
MIN_PREFIX_CHARS = 4
TAIL_CHARS = 65_536

# Character classes of regular expressions: characters that are not visible on their own.
CONTROLS_AND_FORMATS = (
    r"\x00-\x20\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    r"\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bcaf"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
COMBINING_MARKS = (
    r"\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
)
BROKEN_CHARACTERS = r"\ud800-\udfff\ufffd"
INVISIBLE = f"[{CONTROLS_AND_FORMATS}{COMBINING_MARKS}{BROKEN_CHARACTERS}]"
INVISIBLE_RUN = re.compile(f"{INVISIBLE}+")

# An escape of JSON or Python, whose backslash may itself be escaped.
ESCAPE = (
    r"\\{1,4}(?:"
    r"u[0-9a-fA-F]{4}"
    r"|U00[01][0-9a-fA-F]{5}"
    r"|x[0-9a-fA-F]{2}"
    r"|[abfnrtv0]"
    r")"
)
ESCAPED = re.compile(ESCAPE)
CUT_ESCAPE = r"\\{1,4}(?:[uUx][0-9a-fA-F]{0,7})?\Z"
# One character, escaped or not.
UNIT = re.compile(f"{ESCAPE}|{CUT_ESCAPE}|.", re.DOTALL)


class Letter(NamedTuple):
    """A visible character and where it is written in a text."""

    start: int
    end: int
    character: str


class Secret:
    """An API key; ``mask`` replaces it with ``***``.

    The key is found even with invisible characters between its letters and with letters escaped
    as in JSON. A key of fewer than ``MIN_SECRET_CHARS`` characters is a dummy and masks nothing.
    """

    def __init__(self, key: str | None = None) -> None:
        self._key = INVISIBLE_RUN.sub("", key or "")
        self._pattern: re.Pattern[str] | None = None
        if len(self._key) >= MIN_SECRET_CHARS:
            letters = map(re.escape, self._key)
            self._pattern = re.compile(f"{INVISIBLE}*".join(letters))

    def mask(self, text: str, is_cut: bool = False) -> str:
        """Return the text without the key.

        ``is_cut`` says that the text was cut off: a beginning of the key at its end is then
        masked too.
        """
        if self._pattern is None:
            return text
        text = self._pattern.sub("***", text)
        if "\\" in text and self._key in unescape(text):
            text = self._mask_escaped(text)
        return self._mask_prefix(text) if is_cut else text

    def mask_json(self, value: object) -> object:
        """Return decoded JSON with every string and name in it masked. Raises RecursionError."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, list):
            return [self.mask_json(entry) for entry in value]
        if isinstance(value, dict):
            return {
                self.mask(name): self.mask_json(entry)
                for name, entry in value.items()
            }
        return value

    def _mask_escaped(self, text: str) -> str:
        """Mask each place where the visible characters of the text spell the key."""
        letters = visible_letters(text)
        visible = "".join(letter.character for letter in letters)
        parts: list[str] = []
        copied = 0
        at = visible.find(self._key)
        while at >= 0:
            parts += [text[copied : letters[at].start], "***"]
            copied = letters[at + len(self._key) - 1].end
            at = visible.find(self._key, at + len(self._key))
        return "".join([*parts, text[copied:]])

    def _mask_prefix(self, text: str) -> str:
        """Mask a beginning of the key at the end of the text."""
        tail_chars = 4 * len(self._key)
        longest = min(len(text), TAIL_CHARS)
        letters = visible_letters(text[-tail_chars:])
        while len(letters) <= len(self._key) and tail_chars < longest:
            tail_chars *= 4
            letters = visible_letters(text[-tail_chars:])
        visible = "".join(letter.character for letter in letters)
        tail_start = max(0, len(text) - tail_chars)
        for length in range(len(self._key) - 1, MIN_PREFIX_CHARS - 1, -1):
            if visible.endswith(self._key[:length]):
                return text[: tail_start + letters[-length].start] + "***"
        return text


def visible_letters(text: str) -> list[Letter]:
    """List the visible characters of a text, escaped or not."""
    letters = []
    for unit in UNIT.finditer(text):
        if character := visible_character(unit[0]):
            letters.append(Letter(*unit.span(), character))
    return letters


def visible_character(unit: str) -> str:
    """Return the character that a unit stands for; '' if it is invisible or cut."""
    if unit[0] == "\\":
        code = unit.lstrip("\\")
        is_number = len(code) > 2 and ESCAPED.fullmatch(unit)
        unit = (
            chr(min(int(code[1:], 16), sys.maxunicode))
            if is_number
            else ""
        )
    return "" if INVISIBLE_RUN.fullmatch(unit) else unit


def unescape(text: str) -> str:
    """Return the text with its escapes decoded and invisible characters removed."""
    plain = ESCAPED.sub(lambda escape: visible_character(escape[0]), text)
    return INVISIBLE_RUN.sub("", plain)


NO_SECRET = Secret()
