"""Text from elsewhere in Markdown."""

from __future__ import annotations

import re

from ollama_bench.terminal.output import clean_line

# what Markdown would take for a mark; within a word a line is none
MARKS = re.compile(r"[\\`*{}\[\]<>|~#!]|(?<!\w)_|_(?!\w)")
MENTION, LINK = "&#64;", "&#58;//"


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in one line: no mark, link or mention."""
    marked = MARKS.sub(lambda found: f"\\{found[0]}", clean_line(text))
    return marked.replace("@", MENTION).replace("://", LINK)
