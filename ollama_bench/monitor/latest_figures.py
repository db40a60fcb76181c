"""latest_figures.py - sums up what was seen last of all sources and processes, for a live line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

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


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def largest(values: Iterable[float | None]) -> float | None:
    return max(
        (value for value in values if value is not None), default=None
    )
