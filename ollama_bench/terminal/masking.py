"""masking.py - masks the names of users, computers and home folders in a text to be shared."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

HOMES = re.compile(
    r"(?:/Users|/home|[A-Za-z]:\\+Users)[/\\]+[^/\\\s:'\"]+"
)
USER_VARIABLES = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
EVERYBODYS_NAMES = ("root", "localhost")


def find_private_names() -> dict[str, str]:
    """Return what must not be shown, and what replaces it."""
    home, host = str(Path.home()), platform.node()
    names = {home: "~"} if len(home) > 1 else {}
    for name in (host, host.partition(".")[0]):
        names.setdefault(name, "<host>")
    users = [os.environ.get(variable, "") for variable in USER_VARIABLES]
    # KeyError, ImportError, OSError, by version and system
    with contextlib.suppress(Exception):
        users.append(getpass.getuser())
    for user in users:
        names.setdefault(user, "<user>")
    return {
        name: substitute
        for name, substitute in names.items()
        if name and name not in EVERYBODYS_NAMES
    }


def mask(text: str, names: Mapping[str, str]) -> str:
    """Replace these names, the longest first, and all home folders."""
    for name in sorted(names, key=len, reverse=True):
        whole_word = rf"(?<!\w){re.escape(name)}(?!\w)"
        text = re.sub(whole_word, names[name], text, flags=re.IGNORECASE)
    return HOMES.sub("~", text)
