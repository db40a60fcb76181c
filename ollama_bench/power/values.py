"""Checks of values that samplers report, and the energy of a whole chip."""

from __future__ import annotations

# no plausible ns, bytes or mW exceed it; it still fits SQLite's 64 bits
LARGEST = 1e18


def as_number(value: object) -> float | None:
    """Return a number from zero to LARGEST unchanged, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < LARGEST else None


def as_dict(value: object) -> dict[str, object]:
    """Return the dictionary itself, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def invert_ratio(ratio: float | None) -> float | None:
    """Return 1 - ratio, limited to 0..1."""
    return None if ratio is None else min(max(1 - ratio, 0.0), 1.0)


def add_chip_joules(
    cpu_j: float | None, gpu_j: float | None, ane_j: float | None
) -> float | None:
    """Add CPU, GPU and ANE; None unless CPU and GPU are known: a part is not the sum."""
    if cpu_j is None or gpu_j is None:
        return None
    return cpu_j + gpu_j + (ane_j or 0)
