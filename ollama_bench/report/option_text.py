"""Text of a page in which options stay whole: a browser would break --repeat after its hyphens."""

from __future__ import annotations

import re
from html import escape

OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


def keep_options(text: str) -> str:
    """Return text as HTML in which no line ends within an option."""
    return OPTION.sub(r'<span class="option">\g<0></span>', escape(text))
