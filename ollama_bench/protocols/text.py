"""Text that can be stored and shown: no lone surrogates, one line, bounded length."""

from __future__ import annotations

import re

MAX_ERROR_CHARS = 500
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON can escape but UTF-8, and so SQLite, cannot hold."""
    return text if text.isascii() else LONE_SURROGATE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Collapse white space to single spaces and cut the text to ``MAX_ERROR_CHARS``."""
    return replace_surrogates(" ".join(text.split()))[:MAX_ERROR_CHARS]
