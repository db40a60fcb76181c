"""The state of the simulator over HTTP, and what changed between two looks at it."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass

from ollama_bench.simulator.meter import (
    CPU_IDLE_W,
    GPU_IDLE_W,
    MachineState,
    Meter,
)

ANSWER_PATIENCE_S = 2


@dataclass(frozen=True)
class PowerWindow:
    """One window; the sums of its whole millijoules keep to the simulator's own energy."""

    elapsed_ns: int
    busy_ns: int
    idle_ns: int
    busy_mhz: int
    cpu_mj: int
    gpu_mj: int


class StateSource:
    """Read the state of a simulator; without one, of a machine that idles."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=ANSWER_PATIENCE_S
        )
        now_ns = time.perf_counter_ns()
        self._last: MachineState = {
            "t_ns": now_ns,
            "busy_mhz": 0,
            **Meter(0).read(now_ns),
        }

    def read(self) -> MachineState:
        try:
            self._connection.request("GET", "/sim/state")
            self._last = json.loads(self._connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            self._connection.close()
            self._last = idle_until(time.perf_counter_ns(), self._last)
        return self._last

    def close(self) -> None:
        self._connection.close()


def idle_until(now_ns: int, state: MachineState) -> MachineState:
    """Return the state after idling from then to now."""
    passed_ns = now_ns - state["t_ns"]
    return {
        **state,
        "t_ns": now_ns,
        "idle_ns": state["idle_ns"] + passed_ns,
        "gpu_energy_j": state["gpu_energy_j"]
        + GPU_IDLE_W * passed_ns / 1e9,
        "cpu_energy_j": state["cpu_energy_j"]
        + CPU_IDLE_W * passed_ns / 1e9,
    }


class Sampler:
    """Take samples, each of the window since the one before."""

    def __init__(self, source: StateSource) -> None:
        self._source = source
        self._first = source.read()
        self._state = self._first
        self._reported_cpu_mj = 0
        self._reported_gpu_mj = 0

    def take(self) -> PowerWindow:
        before, now, first = self._state, self._source.read(), self._first
        self._state = now
        cpu_mj = round(
            (now["cpu_energy_j"] - first["cpu_energy_j"]) * 1000
        )
        gpu_mj = round(
            (now["gpu_energy_j"] - first["gpu_energy_j"]) * 1000
        )
        sample = PowerWindow(
            elapsed_ns=now["t_ns"] - before["t_ns"],
            busy_ns=now["busy_ns"] - before["busy_ns"],
            idle_ns=now["idle_ns"] - before["idle_ns"],
            busy_mhz=now["busy_mhz"],
            cpu_mj=cpu_mj - self._reported_cpu_mj,
            gpu_mj=gpu_mj - self._reported_gpu_mj,
        )
        self._reported_cpu_mj, self._reported_gpu_mj = cpu_mj, gpu_mj
        return sample
