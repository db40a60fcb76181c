"""The energy of the simulated machine, exact at every instant."""

from __future__ import annotations

import time
from typing import TypedDict

# The power that is the same on every profile.
GPU_IDLE_W = 0.05
CPU_BUSY_W = 1.5
CPU_IDLE_W = 0.1


class MeterReading(TypedDict):
    """The power of an instant, and joules and nanoseconds since the start."""

    power_w: float
    energy_j: float
    gpu_energy_j: float
    cpu_energy_j: float
    busy_ns: int
    idle_ns: int


class MachineState(MeterReading):
    """A reading, its instant on time.perf_counter_ns(), and the GPU's clock while it is busy."""

    t_ns: int
    busy_mhz: int


class Meter:
    """Energy as a sum of constants: power changes only when the machine becomes busy or idle."""

    def __init__(self, gpu_busy_w: float) -> None:
        self._gpu_busy_w = gpu_busy_w
        self._busy = False
        self._since_ns = time.perf_counter_ns()
        self._busy_ns = 0
        self._idle_ns = 0

    def set_busy(self, busy: bool, now_ns: int) -> None:
        self._advance(now_ns)
        self._busy = busy

    def _advance(self, now_ns: int) -> None:
        passed_ns = now_ns - self._since_ns
        if self._busy:
            self._busy_ns += passed_ns
        else:
            self._idle_ns += passed_ns
        self._since_ns = now_ns

    def read(self, now_ns: int) -> MeterReading:
        """Return the power now, and the energy and time since the start."""
        self._advance(now_ns)
        gpu_j = (
            self._gpu_busy_w * self._busy_ns + GPU_IDLE_W * self._idle_ns
        ) / 1e9
        cpu_j = (
            CPU_BUSY_W * self._busy_ns + CPU_IDLE_W * self._idle_ns
        ) / 1e9
        power_w = GPU_IDLE_W + CPU_IDLE_W
        if self._busy:
            power_w = self._gpu_busy_w + CPU_BUSY_W
        return {
            "power_w": power_w,
            "energy_j": gpu_j + cpu_j,
            "gpu_energy_j": gpu_j,
            "cpu_energy_j": cpu_j,
            "busy_ns": self._busy_ns,
            "idle_ns": self._idle_ns,
        }
