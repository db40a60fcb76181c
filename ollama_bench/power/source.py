"""What a power source is: the interface that a new one implements, and the samples it returns.

There are two kinds:

    PolledSource    a counter or gauge that the monitor reads once per interval
    StreamedSource  a long-running program (a sampler) whose output the monitor parses

To support another device, write a function that reads it and returns a DeviceReading, wrap it in
`polled.Polled`, and add it to `sources.find_sources`; rapl.py is a short example. Return an
`Absent` source for a device that exists but cannot be read: its status says why and what helps.

All instants are time.perf_counter_ns(). None means unknown; 0 is a measured zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Literal, Protocol, TypedDict

# what a source gives: energy per interval, running joules, watts now
Kind = Literal["interval", "counter", "gauge"]
# the part of the machine that a source measures
Part = Literal["gpu", "cpu"]


class Metrics(TypedDict, total=False):
    """What a source may report besides energy. Keys are columns of the table power_sample."""

    system_power_w: float | None
    gpu_busy_ratio: float | None
    gpu_mhz: float | None
    gpu_memory_bytes: int | None
    temperature_c: float | None
    thermal: str | None


class DeviceReading(Metrics, total=False):
    """One reading of a polled device: a running counter, a gauge, or both."""

    joules: float | None  # since an arbitrary start
    watts: float | None  # now


class SamplerReading(Metrics, total=False):
    """One document of a sampler: energies over elapsed_ns, or watts without a window."""

    energy_j: float | None
    gpu_energy_j: float | None
    cpu_energy_j: float | None
    elapsed_ns: int | None
    at_unix: float | None
    watts: float | None
    gpu_watts: float | None
    cpu_watts: float | None


class Window(TypedDict):
    """The stretch of time that a sample covers."""

    start_ns: int
    end_ns: int


class PowerSample(Window, Metrics, total=False):
    """A row of the table power_sample without source_id."""

    energy_j: float | None
    gpu_energy_j: float | None
    cpu_energy_j: float | None
    # time by the sampler's clock, which shows a sleep; not a column
    elapsed_ns: int | None


class PowerSource(Protocol):
    """What every source has. `status` is "ok", or one line: why it is not read and what helps."""

    name: str  # of the tool or driver
    device: str  # which of its devices
    kind: Kind
    scope: str | None  # which parts of the machine its energy includes
    status: str
    dropped: int  # damaged documents and failed readings

    def stop(self) -> None:
        """Release everything. May be called twice."""


class PolledSource(PowerSource, Protocol):
    """A source that is read once per interval."""

    def read(self, at_ns: int) -> PowerSample | None:
        """Return the sample since the last reading; None for the first and for a failed one."""


class StreamedSource(PowerSource, Protocol):
    """A source that is the output of a sampler."""

    interval_s: float  # between two samples
    launcher: Launcher
    # replaces this source if it fails
    successor: Callable[[], StreamedSource | None] | None
    advice: str  # appended where a part of the energy stays 0

    def start(self) -> IO[bytes] | None:
        """Start the sampler and return its output; None if it cannot be started."""

    def feed(self, data: bytes, at_ns: int) -> list[PowerSample]:
        """Return the samples completed by `data`, which arrived at `at_ns`."""

    def finish(self) -> None:
        """Take note that the output has ended."""

    def refused(self, complaint: str) -> bool:
        """Return whether to start again, with a simpler command."""

    def complaint(self) -> str:
        """Return why the output ended."""

    def kill(self) -> None:
        """End the sampler and so its output."""


class Launcher(Protocol):
    """Starts and ends a sampler: `sampler.Child` as the user, `privilege.Helper` as root."""

    cpu_s: float  # CPU seconds of all samplers, known after stop()

    def start(self, step: int = 0) -> IO[bytes] | None:
        """Start command number `step` and return its output; None if it cannot be started."""

    def kill(self) -> None:
        """End the sampler, so that its output ends."""

    def complaint(self) -> str:
        """Return the sampler's last words on stderr and its exit code, in one line."""

    def stop(self) -> None:
        """End the sampler and release everything. May be called twice."""


class Absent:
    """A source that this machine could have but that cannot be read."""

    def __init__(
        self, name: str, device: str, kind: Kind, status: str
    ) -> None:
        self.name = name
        self.device = device
        self.kind = kind
        self.status = status
        self.scope: str | None = None
        self.dropped = 0

    def stop(self) -> None:
        """Do nothing: nothing is open."""


AnySource = PolledSource | StreamedSource | Absent
