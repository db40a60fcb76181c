"""identity.py - what tells this computer from all others until it is started anew; never stored."""

from __future__ import annotations

import sys
import uuid

from ollama_bench.platforms import darwin
from ollama_bench.platforms.conditions import text_of

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def read_identity() -> str:
    """Return what all programs of this computer read, in containers as well, and no others.

    Where the system has no name for its present start it is an address of the network.
    """
    found = text_of(BOOT_ID) if sys.platform == "linux" else ""
    if sys.platform == "darwin":
        value = darwin.read_value("kern.bootsessionuuid") or b""
        found = value.rstrip(b"\0").decode("ascii", "replace")
    return found.strip() or f"{uuid.getnode():x}"
