"""memory.py - reads the machine's memory; None is what the system does not tell."""

from __future__ import annotations

import psutil

from ollama_bench.monitor.refusals import ask
from ollama_bench.platforms import darwin


def read_memory_bytes() -> int | None:
    """Return the physical memory. psutil cannot tell it on macOS 27."""
    if known := darwin.read_memory_bytes():
        return known
    memory = ask(psutil.virtual_memory)
    return memory.total if memory else None


def read_memory_used_bytes() -> int | None:
    """Return the physical memory that is not available to programs."""
    if memory := ask(psutil.virtual_memory):
        return memory.total - memory.available
    total, available = (
        darwin.read_memory_bytes(),
        darwin.read_available_bytes(),
    )
    if not total or available is None:
        return None
    return max(total - available, 0)


def read_swap_used_bytes() -> int | None:
    used = darwin.read_swap_used_bytes()
    if used is not None:
        return used
    swap = ask(psutil.swap_memory)
    return swap.used if swap else None
