"""AMD and Intel GPUs under Linux: watts or energy counters that the drivers show in /sys."""

from __future__ import annotations

import os

from ollama_bench.power.polled import Polled
from ollama_bench.power.source import DeviceReading
from ollama_bench.power.sysfs import (
    find_first_file,
    find_hwmon,
    read_first_number,
    read_number,
    read_sum,
)

DRIVER_SCOPE = "GPU as measured by its driver"
APU_SCOPE = "entire processor: CPU and GPU"


def create_amd_source(card: str) -> Polled | None:
    """Return an AMD GPU by its watts; None if the driver shows none."""
    device = f"{card}/device"
    hwmon = find_hwmon(device, "amdgpu")
    if hwmon is None:
        return None
    power = find_first_file(
        f"{hwmon}/power1_average", f"{hwmon}/power1_input"
    )
    if power is None:
        return None
    has_cpu = is_apu(hwmon)
    memories = [f"{device}/mem_info_vram_used"]
    if has_cpu:
        memories.append(f"{device}/mem_info_gtt_used")

    def look() -> DeviceReading:
        return {
            "watts": read_number(power, 1e6),
            "gpu_busy_ratio": read_number(
                f"{device}/gpu_busy_percent", 100
            ),
            "gpu_mhz": read_number(f"{hwmon}/freq1_input", 1e6),
            "gpu_memory_bytes": read_sum(memories),
            "temperature_c": read_number(f"{hwmon}/temp1_input", 1e3),
        }

    return Polled(
        "amdgpu",
        os.path.basename(card),
        "gauge",
        APU_SCOPE if has_cpu else DRIVER_SCOPE,
        look,
        part=None if has_cpu else "gpu",
    )


def is_apu(hwmon: str) -> bool:
    """Return whether the GPU shares its chip with the CPU, so that its watts include the CPU's.

    Only such chips have the north-bridge voltage (in1), and they have no power cap, except for
    Van Gogh, which has two limits: slow and fast.
    """
    if find_first_file(f"{hwmon}/in1_input", f"{hwmon}/power2_average"):
        return True
    return not os.path.exists(f"{hwmon}/power1_cap")


def create_intel_source(card: str) -> Polled | None:
    """Return a discrete Intel GPU by its energy counter; None for others, which RAPL covers."""
    device = f"{card}/device"
    hwmon = find_hwmon(device, "xe") or find_hwmon(device, "i915")
    # the card, its chip
    paths = [f"{hwmon}/energy1_input", f"{hwmon}/energy2_input"]
    if not any(read_number(path) for path in paths):
        return None
    counter = MovingCounter(paths)
    clocks = (
        f"{card}/gt_act_freq_mhz",
        f"{device}/tile0/gt0/freq0/act_freq",
    )
    sensors = (f"{hwmon}/temp2_input", f"{hwmon}/temp1_input")

    def look() -> DeviceReading:
        return {
            "joules": counter.read_joules(),
            "gpu_mhz": read_first_number(*clocks),
            "temperature_c": read_first_number(*sensors, scale=1e3),
        }

    return Polled(
        "intel",
        os.path.basename(card),
        "counter",
        DRIVER_SCOPE,
        look,
        part="gpu",
    )


class MovingCounter:
    """The first of several counters of microjoules that moves.

    Some kernels show a counter that never moves, at 0 or at another value.
    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        # the first value of each
        self._begun: dict[str, float] | None = None

    def read_joules(self) -> float | None:
        """Return joules since the first call; None until one moves, and if it cannot be read."""
        now = self._read_all()
        if self._begun is None:
            self._begun = now
            return 0.0
        for path in self.paths:
            if path in now and now[path] != self._begun.get(
                path, now[path]
            ):
                self.paths = [path]
                return (now[path] - self._begun[path]) / 1e6
        return None

    def _read_all(self) -> dict[str, float]:
        found = {path: read_number(path) for path in self.paths}
        return {
            path: value
            for path, value in found.items()
            if value is not None
        }
