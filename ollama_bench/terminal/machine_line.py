"""The line of the machine: thermal state, GPU, whole chip, the server's processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_bench.terminal.output import clean
from ollama_bench.terminal.rows import WIDTH


@dataclass(frozen=True)
class Figure:
    """A figure in the line of the machine."""

    key: str  # of the sample
    unit: str
    factor: float = 1
    places: int = 1  # below 100, none from there on


@dataclass(frozen=True)
class FigureGroup:
    """Figures behind one word."""

    word: str
    figures: tuple[Figure, ...]


MACHINE_GROUPS = (
    FigureGroup(
        "GPU",
        (
            Figure("gpu_power_w", "W"),
            Figure("gpu_mhz", "MHz", places=0),
            Figure("gpu_busy_ratio", "%", factor=100, places=0),
        ),
    ),
    FigureGroup("all", (Figure("power_w", "W"),)),
    FigureGroup("RSS", (Figure("rss_bytes", "GB", factor=1e-9),)),
    FigureGroup(
        "footprint", (Figure("footprint_bytes", "GB", factor=1e-9),)
    ),
    FigureGroup("CPU", (Figure("cpu_ratio", "%", factor=100, places=0),)),
)


def format_machine(sample: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return the machine now: thermal state, GPU, whole chip, the server's processes.

    Unknown values are left out, and at the end what does not fit.
    """
    groups: list[str] = []
    thermal = str(sample.get("thermal") or "none")
    if thermal.lower() not in ("nominal", "none"):
        groups.append(f"thermal {clean(thermal)}")
    hidden = choose_hidden_memory(sample)
    for group in MACHINE_GROUPS:
        known = [
            format_figure(figure, sample[figure.key])
            for figure in group.figures
            if figure.key != hidden and sample.get(figure.key) is not None
        ]
        if known:
            groups.append(" ".join([group.word, *known]))
    while len(groups) > 1 and len("  ".join(groups)) > width:
        groups.pop()
    return "  ".join(groups) or "no power or process samples"


def choose_hidden_memory(sample: Mapping[str, Any]) -> str:
    """Return the key of the smaller of the two figures.

    RSS lacks GPU memory, the footprint lacks mapped files.
    """
    is_larger = (sample.get("footprint_bytes") or 0) > (
        sample.get("rss_bytes") or 0
    )
    return "rss_bytes" if is_larger else "footprint_bytes"


def format_figure(figure: Figure, value: float) -> str:
    """Return a figure with its unit."""
    scaled = value * figure.factor
    places = figure.places if scaled < 99.95 else 0
    return f"{scaled:.{places}f} {figure.unit}"
