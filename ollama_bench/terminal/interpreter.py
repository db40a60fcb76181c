"""Whether this Python can run the programs: new enough, and with the packages installed.

Every program calls check() before it imports any package. So this file and what it imports must
be readable by Python 3.9, which Apple ships.
"""

from __future__ import annotations

import importlib.util
import sys

OLDEST = (3, 10)
PACKAGES = [
    "rich",
    "prometheus_client",
    "requests",
    "urllib3",
    "msgspec",
    "psutil",
    "sqlite_utils",
    "altair",
    "vl_convert",
    "uvicorn",
    "yaml",
    *(["tomli"] if sys.version_info < (3, 11) else []),
]


def check() -> None:
    """Exit with one line when this Python is too old or lacks a package.

    It usually is another Python than the one with the packages; sudo has its own PATH.
    """
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:2])
        sys.exit(
            f"Python 3.10 or newer is needed, and {sys.executable} is {found}:"
            " see docs/install.md"
        )
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            sys.exit(
                f"No module named {name!r}: start it with .venv/bin/python,"
                " or see docs/install.md"
            )
