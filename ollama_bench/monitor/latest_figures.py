"""latest_figures.py - sums up what was seen last of all sources and processes, for a live line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

from ollama_bench.monitor.power_source import Sample
from ollama_bench.monitor.process_sample import ProcessSample


class LatestFigures(TypedDict):
    """What was seen last; None is unknown."""

    power_w: float | None
    gpu_power_w: float | None
    gpu_mhz: float | None
    gpu_busy_ratio: float | None
    thermal: str | None
    rss_bytes: float | None
    footprint_bytes: float | None
    cpu_ratio: float | None


Figure = Literal[
    "power_w",
    "gpu_power_w",
    "gpu_mhz",
    "gpu_busy_ratio",
    "rss_bytes",
    "footprint_bytes",
    "cpu_ratio",
]


def sum_up(
    power: Sequence[Sample], processes: Sequence[ProcessSample]
) -> LatestFigures:
    """Add up the samples of several sources, and those of the server's processes."""
    return {
        "power_w": total(sample.power_w for sample in power),
        "gpu_power_w": total(sample.gpu_power_w for sample in power),
        "gpu_mhz": largest(sample.gpu_mhz for sample in power),
        "gpu_busy_ratio": largest(
            sample.gpu_busy_ratio for sample in power
        ),
        "thermal": next(
            (sample.thermal for sample in power if sample.thermal), None
        ),
        "rss_bytes": total(sample.rss_bytes for sample in processes),
        "footprint_bytes": total(
            sample.footprint_bytes for sample in processes
        ),
        "cpu_ratio": total(sample.cpu_ratio for sample in processes),
    }


def add_figures(
    machines: Sequence[LatestFigures],
) -> LatestFigures:
    """Add up what was seen last of several machines."""

    def add(name: Figure) -> float | None:
        return total(one[name] for one in machines)

    def find_most(name: Figure) -> float | None:
        return largest(one[name] for one in machines)

    said = (one["thermal"] for one in machines)
    return {
        "power_w": add("power_w"),
        "gpu_power_w": add("gpu_power_w"),
        "gpu_mhz": find_most("gpu_mhz"),
        "gpu_busy_ratio": find_most("gpu_busy_ratio"),
        "thermal": next(filter(None, said), None),
        "rss_bytes": add("rss_bytes"),
        "footprint_bytes": add("footprint_bytes"),
        "cpu_ratio": add("cpu_ratio"),
    }


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def largest(values: Iterable[float | None]) -> float | None:
    return max(
        (value for value in values if value is not None), default=None
    )
