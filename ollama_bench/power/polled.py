"""Sources that are polled: running energy counters, and gauges of momentary power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ollama_bench.power.source import (
    DeviceReading,
    Kind,
    Part,
    PowerSample,
)

# between two readings: NVML's counter steps every 0.1 s, less would be noise
MIN_SPAN_S = 0.2
MAX_PLAUSIBLE_W = 20_000  # a counter that rises faster than this was reset

# what a device can show: drivers return 0 degrees, or a register full of ones, for unknown
PLAUSIBLE = {
    "watts": (0, 10_000),
    "gpu_busy_ratio": (0, 1),
    "gpu_mhz": (0, 10_000),
    "gpu_memory_bytes": (0, 1 << 44),
    "temperature_c": (0.1, 150),
}


@dataclass(frozen=True)
class LastReading:
    """What the last successful reading returned."""

    at_ns: int
    joules: float | None
    watts: float | None


class Polled:
    """A running counter of joules, or a gauge of watts.

    `look` returns one reading; a key that is absent or None is unknown this time. A gauge whose
    counter returns a value becomes a counter; a counter that no longer exists becomes a gauge.
    """

    def __init__(
        self,
        name: str,
        device: str,
        kind: Kind,
        scope: str | None,
        look: Callable[[], DeviceReading],
        *,
        part: Part | None,
        wrap_j: float | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """wrap_j: joules at which the counter restarts from 0. close: releases the device."""
        self.name = name
        self.device = device
        self.kind = kind
        self.scope = scope
        self.status = "ok"
        self.dropped = 0
        self._look = look
        self._part = part
        self._wrap_j = wrap_j
        self._close = close
        self._last: LastReading | None = None
        # whether the last reading had the value of our kind
        self._measures = False

    def read(self, at_ns: int) -> PowerSample | None:
        """Return the sample since the last reading; None for the first and for a failed one.

        After a failed reading the next sample covers both stretches: a counter forgets nothing.
        """
        reading = drop_implausible(self._look())
        if self._has_lost_counter(reading):
            self.kind = "gauge"
        joules, watts = (
            reading.pop("joules", None),
            reading.pop("watts", None),
        )
        value = joules if self.kind == "counter" else watts
        if value is None and (self._measures or not reading):
            self.dropped += 1
            return None
        last = self._last
        if last and at_ns - last.at_ns < MIN_SPAN_S * 1e9:
            return None
        now = LastReading(at_ns, joules, watts)
        energy_j = self._measure(last, now) if last else None
        if joules is not None:
            self.kind = "counter"
        self._last = now
        self._measures = (
            joules if self.kind == "counter" else watts
        ) is not None
        if last is None:
            return None
        window = {"start_ns": last.at_ns, "end_ns": at_ns}
        energies = {"energy_j": energy_j}
        if self._part:
            energies[f"{self._part}_energy_j"] = energy_j
        return cast(PowerSample, {**reading, **window, **energies})

    def stop(self) -> None:
        """Release the device."""
        if self._close:
            self._close()
            self._close = None

    def _has_lost_counter(self, reading: DeviceReading) -> bool:
        if self.kind != "counter" or "joules" in reading:
            return False
        return reading.get("watts") is not None

    def _measure(
        self, last: LastReading, now: LastReading
    ) -> float | None:
        """Return the joules between two readings."""
        span_s = (now.at_ns - last.at_ns) / 1e9
        if self.kind == "gauge":
            if last.watts is None or now.watts is None:
                return None
            return (last.watts + now.watts) / 2 * span_s
        if last.joules is None or now.joules is None:
            return None
        step_j = now.joules - last.joules
        if step_j < 0 and self._wrap_j:
            step_j += self._wrap_j
        is_plausible = 0 <= step_j <= MAX_PLAUSIBLE_W * span_s
        return step_j if is_plausible else None  # the counter was reset


def drop_implausible(reading: DeviceReading) -> DeviceReading:
    """Return a reading whose values that no device can have are unknown, as is 0 degrees."""
    values = cast(dict[str, object], dict(reading))
    for name, (low, high) in PLAUSIBLE.items():
        value = values.get(name)
        if isinstance(value, (int, float)) and not low <= value <= high:
            values[name] = None
    return cast(DeviceReading, values)
