"""parallel_advice.py - advises on OLLAMA_NUM_PARALLEL: one slot for each GPU core that has memory.

The rule is the original study's. Measuring a level above and below is the proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ollama_bench.monitor.process_tree import MLX_ENGINE

# share of a Mac's memory that the GPU may use, where macOS does not tell
GPU_MEMORY_RATIO = 3 / 4
SMALL_GPU_MEMORY_RATIO = 2 / 3  # the same of a Mac ...
SMALL_MEMORY_BYTES = 36 << 30  # ... with less memory than this
# bytes of KV cache per token and 10^9 parameters, as of Llama 3 8B
CONTEXT_BYTES_PER_BILLION = 16384
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}

Row = Mapping[str, Any]  # of a table


def advise(machine: Row, target: Row) -> str | None:
    """Return one line where another value would suit, None when there is nothing to advise.

    machine and target are rows of those tables.
    """
    if target.get("slots_source") == MLX_ENGINE:
        return None
    if does_not_fit_gpu(target):
        return advise_less(target)
    slots, cores = target.get("slots"), machine.get("gpu_cores")
    if (
        target.get("api") != "ollama"
        or not slots
        or not cores
        or not machine.get("memory_bytes")
    ):
        return None
    slot_bytes = estimate_context_bytes(target)
    wanted = cores
    if slot_bytes:
        room_bytes = estimate_gpu_room_bytes(machine) - (
            target.get("size_bytes") or 0
        )
        wanted = max(1, min(cores, slots + int(room_bytes // slot_bytes)))
    if wanted <= slots:
        return None
    cost = (
        f", for about {(wanted - slots) * slot_bytes / 1e9:.1f} GB more"
        if slot_bytes
        else ""
    )
    return (
        f"the server runs {slots} at a time; its GPU has {cores} cores:"
        f" try OLLAMA_NUM_PARALLEL={wanted}{cost} (restart the server)"
    )


def does_not_fit_gpu(target: Row) -> bool:
    """Return whether part of the model is on the CPU."""
    size, on_gpu = target.get("size_bytes"), target.get("vram_bytes")
    return bool(size and on_gpu is not None and 0 < on_gpu < size)


def advise_less(target: Row) -> str:
    outside_bytes = target["size_bytes"] - target["vram_bytes"]
    return (
        f"{outside_bytes / 1e9:.1f} of {target['size_bytes'] / 1e9:.1f} GB of the model do not fit"
        " the GPU: a lower OLLAMA_NUM_PARALLEL or context would be faster"
    )


def estimate_gpu_room_bytes(machine: Row) -> float:
    """Return how much memory the GPU of a Mac may use: as macOS tells, else about."""
    memory_bytes: int = machine["memory_bytes"]
    is_small = memory_bytes < SMALL_MEMORY_BYTES
    ratio = SMALL_GPU_MEMORY_RATIO if is_small else GPU_MEMORY_RATIO
    return machine.get("gpu_working_set_bytes") or memory_bytes * ratio


def estimate_context_bytes(target: Row) -> float | None:
    """Return about how much memory one more slot takes for its context."""
    billions = parse_parameters(target.get("parameter_size")) / 1e9
    tokens = target.get("context_tokens") or 0
    return tokens * billions * CONTEXT_BYTES_PER_BILLION or None


def parse_parameters(text: str | None) -> float:
    """Return 7.6e9 for 7.6B; 0 for text that is no such number."""
    found = re.fullmatch(
        r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([KMBT])", text or "", re.IGNORECASE
    )
    return float(found[1]) * UNITS[found[2].upper()] if found else 0.0
