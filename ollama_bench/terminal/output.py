"""Standard output and error: no reason to lose a run when closed, full or without a reader.

output.prepare()                    # the first thing in main
print(output.clean_line(name))      # text from a server, a file or another user
output.silence(sys.stdout)          # it has failed once: write nothing more to it
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import textwrap
from typing import TextIO

# escape codes, text direction, halves of surrogate pairs
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
DOT = "·"  # shown for each of them
COMMAND_INDENT = "  "
LONGEST_NAME = 200  # characters of a name that are shown


def prepare_streams() -> None:
    """Replace standard input, output or error by os.devnull where it is closed (`>&-`).

    Otherwise the next file or socket that is opened would get its number, and with it what is
    meant for a terminal. A character that the output's encoding lacks, as in a pipe on Windows,
    becomes a question mark.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def silence(stream: TextIO) -> None:
    """Discard what is still in its buffer and all that follows, without an error."""
    # a stream may have no descriptor
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def clean(text: str) -> str:
    """Make text from elsewhere safe for a terminal: control characters become dots."""
    return CONTROL.sub(DOT, text)


def clean_line(text: str) -> str:
    """Do the same for a name within a line; a line break could forge another line."""
    return CONTROL.sub(DOT, text).replace("\n", DOT)


def shorten(text: str) -> str:
    """Do the same and keep what a line has room for: a file may hold a name of a gigabyte."""
    return clean_line(
        text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."
    )


def break_lines(text: str, width: int) -> str:
    """Break lines between words; what follows a break is indented as its line is.

    A line that is indented by two is a command, and stays whole: it is to be copied.
    """
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        if len(line) < width or indent == COMMAND_INDENT:
            lines.append(line)
            continue
        lines += textwrap.wrap(
            line,
            width - 1,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def tell_error(text: str) -> None:
    """Print an error on standard error, on a terminal broken between words."""
    if sys.stderr.isatty():
        text = break_lines(text, shutil.get_terminal_size().columns or 80)
    print(clean(text), file=sys.stderr)


def word_error(error: Exception) -> str:
    """Return what failed in one line, of the system's errors without number and brackets."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def embolden(text: str) -> str:
    """Return text in bold where standard output is a terminal that has it."""
    has_bold = os.name != "nt" and os.environ.get("TERM", "dumb") != "dumb"
    if not text or not has_bold or not sys.stdout.isatty():
        return text
    return f"\x1b[1m{text}\x1b[0m"


def find_rich_width() -> int | None:
    """Return the width that rich must be told: it believes COLUMNS=0 and then shows nothing."""
    has_none = set(os.environ.get("COLUMNS", "")) == {"0"}
    return shutil.get_terminal_size().columns if has_none else None
