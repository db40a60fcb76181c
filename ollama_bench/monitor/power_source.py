"""power_source.py - what the monitor needs of a power source, and the sample that it gives.

A source belongs to one of two kinds: it is polled, or it streams the output of a sampler. One that
this machine has but that cannot be read is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Literal, Protocol, runtime_checkable

READABLE = "ok"  # the status of a source that gives samples

Part = Literal["cpu", "gpu"]
# columns of power_sample, beside start_ns and end_ns: what is known
Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A row of power_sample without source_id, its instants perf_counter_ns; None is unknown."""

    start_ns: int
    end_ns: int
    energy_j: float | None = None
    gpu_energy_j: float | None = None
    cpu_energy_j: float | None = None
    system_power_w: float | None = None
    gpu_busy_ratio: float | None = None
    gpu_mhz: float | None = None
    gpu_memory_bytes: int | None = None
    temperature_c: float | None = None
    thermal: str | None = None

    @property
    def has_energy(self) -> bool:
        energies = (self.energy_j, self.gpu_energy_j, self.cpu_energy_j)
        return any(energy_j is not None for energy_j in energies)

    @property
    def power_w(self) -> float | None:
        return self._watts(self.energy_j)

    @property
    def gpu_power_w(self) -> float | None:
        return self._watts(self.gpu_energy_j)

    @property
    def cpu_power_w(self) -> float | None:
        return self._watts(self.cpu_energy_j)

    def _watts(self, energy_j: float | None) -> float | None:
        return (
            None
            if energy_j is None
            else energy_j * 1e9 / (self.end_ns - self.start_ns)
        )

    def energy_of(self, part: Part) -> float | None:
        return self.cpu_energy_j if part == "cpu" else self.gpu_energy_j

    def without_energy_of(self, part: Part) -> Sample:
        """Return the sample with this part's energy unknown, and so the sum."""
        if part == "cpu":
            return replace(self, energy_j=None, cpu_energy_j=None)
        return replace(self, energy_j=None, gpu_energy_j=None)

    def without_energy(self) -> Sample:
        return replace(
            self, energy_j=None, gpu_energy_j=None, cpu_energy_j=None
        )

    def to_row(self, origin_ns: int) -> dict[str, Any]:
        """Return the columns of power_sample, their instants nanoseconds since the run began."""
        instants = {
            "start_ns": self.start_ns - origin_ns,
            "end_ns": self.end_ns - origin_ns,
        }
        return {**vars(self), **instants}


class PowerSource(Protocol):
    """A sensor, or several that are read together. status is READABLE, or says why not."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def kind(self) -> str:
        """Return counter, gauge or interval; a polled source may change it."""

    @property
    def scope(self) -> str | None:
        """Return what the energy includes."""

    @property
    def status(self) -> str: ...

    @property
    def dropped(self) -> int:
        """Return how many documents or readings were damaged."""

    def stop(self) -> None: ...


@runtime_checkable
class PolledSource(PowerSource, Protocol):
    """A counter or a gauge that is asked."""

    def read(self, at_ns: int) -> Columns | None:
        """Return the sample from the last reading to this one; None without one."""


@runtime_checkable
class IntervalSource(PowerSource, Protocol):
    """A source that sets its own interval."""

    @property
    def interval_s(self) -> float: ...


class Launcher(Protocol):
    """What starts and ends a sampler."""

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds of all samplers that have ended."""


@runtime_checkable
class StreamedSource(IntervalSource, Protocol):
    """A long-running sampler whose output is read."""

    @property
    def launcher(self) -> Launcher: ...

    @property
    def advice(self) -> str:
        """Return what helps where the energy of a part remains 0, to follow a message."""

    @property
    def successor(self) -> Callable[[], StreamedSource | None] | None:
        """Return what gives the source to continue with when this one has failed."""

    def start(self) -> IO[bytes] | None:
        """Start the sampler and return its output; None when it cannot be started."""

    def feed(self, data: bytes, at_ns: int) -> Sequence[Columns]:
        """Return the samples that are complete with this output, received at at_ns."""

    def finish(self) -> None:
        """Count what is left of a document when the output has ended."""

    def refused(self, complaint: str) -> bool:
        """Return whether the sampler refused an option and a simpler command is left."""

    def complaint(self) -> str:
        """Return why the output has ended."""

    def kill(self) -> None:
        """End the sampler, and so its output."""
