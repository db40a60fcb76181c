"""windows.py - reaches the calls of Windows that Python does not wrap."""

from __future__ import annotations

import ctypes
from typing import Any


def kernel32() -> Any:
    """Return kernel32.dll; raise OSError or AttributeError on other systems."""
    loader = getattr(ctypes, "windll", None)
    if loader is None:
        raise OSError("kernel32.dll is not available")
    return loader.kernel32
