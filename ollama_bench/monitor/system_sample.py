"""system_sample.py - samples the machine: rows of system_sample."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import psutil

from ollama_bench.monitor.memory import (
    read_memory_bytes,
    read_memory_used_bytes,
    read_swap_used_bytes,
)
from ollama_bench.monitor.refusals import ask
from ollama_bench.platforms import darwin
from ollama_bench.platforms.conditions import text_of

PRESSURE_LEVELS = {1: "normal", 2: "warn", 4: "critical"}  # of macOS


@dataclass(frozen=True)
class SystemSample:
    """A row of system_sample without run_id; None is unknown."""

    at_ns: int
    cpu_ratio: float | None
    memory_used_bytes: int | None
    swap_used_bytes: int | None
    memory_pressure: str | None


@dataclass(frozen=True)
class CpuUse:
    busy_s: float
    all_s: float


class SystemSampler:
    def __init__(self) -> None:
        self.memory_bytes = read_memory_bytes()
        self._last_use = read_cpu_use()

    def sample(self, at_ns: int) -> SystemSample:
        return SystemSample(
            at_ns=at_ns,
            cpu_ratio=self._measure_cpu_ratio(),
            memory_used_bytes=read_memory_used_bytes(),
            swap_used_bytes=read_swap_used_bytes(),
            memory_pressure=read_memory_pressure(),
        )

    def _measure_cpu_ratio(self) -> float | None:
        last, now = self._last_use, read_cpu_use()
        self._last_use = now
        if last is None or now is None or now.all_s <= last.all_s:
            return None
        ratio = (now.busy_s - last.busy_s) / (now.all_s - last.all_s)
        return min(max(ratio, 0), 1)


def read_cpu_use() -> CpuUse | None:
    """Return how long all cores have worked, of all seconds."""
    times = ask(psutil.cpu_times)
    if times is None:
        return None
    # Linux counts guests as user time already
    guests_s = getattr(times, "guest", 0) + getattr(times, "guest_nice", 0)
    all_s = sum(times) - guests_s
    return CpuUse(all_s - times.idle - getattr(times, "iowait", 0), all_s)


def read_memory_pressure() -> str | None:
    """Return the system's words for how short memory is.

    macOS: normal, warn or critical; Linux: the share of the last 10 s in which a task waited.
    """
    if sys.platform == "darwin":
        level = darwin.read_integer("kern.memorystatus_vm_pressure_level")
        return None if level is None else PRESSURE_LEVELS.get(level)
    text = text_of("/proc/pressure/memory").strip()
    return text.split(" avg60", 1)[0] or None
