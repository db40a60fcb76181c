"""standard.py - standard output and error: closed, full, read by nobody or short of letters they are no reason to lose a run.

standard.prepare()                       # the first thing in main
print(standard.clean_line(name))         # words of a server, a file or another user
standard.silence(sys.stdout)             # it has failed once: nothing more is written there
standard.refuse_nul(parser, arguments)   # no path can hold one
print(f"--db {standard.quoted(path)}")   # a command to type
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys

PACKAGES = [
    "rich",
    "requests",
    "urllib3",
    "msgspec",
    "psutil",
    "sqlite_utils",
    "altair",
    "vl_convert",
    *(["tomli"] if sys.version_info < (3, 11) else []),
]

if sys.version_info < (3, 10):  # Apple's own python3 is 3.9
    sys.exit(
        "Python 3.10 or newer is needed, and {} is {}.{}: see Install in README.md".format(
            sys.executable, *sys.version_info[:2]
        )
    )
for _name in PACKAGES:  # another Python than the one with the packages; sudo has its own PATH
    if importlib.util.find_spec(_name) is None:
        sys.exit(
            f"No module named {_name!r}: start it with .venv/bin/python, "
            "or see Install in README.md"
        )

CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # escape codes, text direction

LONGEST_NAME = 200  # characters that are shown of it


def prepare() -> None:
    """Where a program was started without standard input, output or error (`>&-`), it gets os.devnull.

    Else the next file or socket that is opened has the free number, and takes what is meant for a terminal.
    A letter that the output's alphabet lacks, as in a pipe on Windows, becomes a question mark.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def silence(stream) -> None:
    """What is still in its buffer, and all that comes, is lost without a word."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def clean(text: str) -> str:
    """Text of a server made safe for a terminal: control characters become dots."""
    return CONTROL.sub("·", text)


def clean_line(text: str) -> str:
    """The same for a name within a line, which could forge another one."""
    return CONTROL.sub("·", text).replace("\n", "·")


def brief(text: str) -> str:
    """The same, and no more of it than a line has room for: a file that somebody sent may hold a name of a gigabyte."""
    return clean_line(text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}...")


def rich_width() -> int | None:
    """What to tell rich of the window's width: it believes COLUMNS=0, and shows nothing then."""
    has_none = set(os.environ.get("COLUMNS", "")) == {"0"}
    return shutil.get_terminal_size().columns if has_none else None


def quoted(path: str) -> str:
    """A path as it is typed in a shell, in quotes where it needs them."""
    return subprocess.list2cmdline([path]) if os.name == "nt" else shlex.quote(path)


def refuse_nul(parser, arguments) -> None:
    """End with 2 and one line where a value of the command line holds a NUL character."""
    for name, value in vars(arguments).items():
        if any("\0" in str(one) for one in (value if isinstance(value, list) else [value])):
            option = f"--{name.replace('_', '-')}"
            parser.error(f"invalid {option} {str(value)!r}: expected text without a NUL character")
