"""RAPL: energy counters of the CPU packages under Linux, which only root may open."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass

from ollama_bench.power.polled import Polled
from ollama_bench.power.source import DeviceReading
from ollama_bench.power.sysfs import read_number, read_text


@dataclass(frozen=True)
class RaplCounter:
    """The open counter of a CPU package."""

    name: str  # e.g. package-0
    descriptor: int  # stays readable after root is dropped
    max_uj: float | None  # microjoules at which it restarts from 0

    def read_uj(self) -> int | None:
        """Return its value in microjoules; None if it cannot be read."""
        return read_counter(self.descriptor)

    def close(self) -> None:
        """Close the counter."""
        os.close(self.descriptor)


def open_rapl(sysfs: str = "/sys") -> list[RaplCounter]:
    """Open the counter of each CPU package that may be opened.

    Packages include the domains core and uncore (not dram), so only packages are used. Where a
    package is shown twice, its memory-mapped twin is the better one, unless it counts nothing.
    """
    packages: dict[str, RaplCounter] = {}
    zones = glob.glob(f"{sysfs}/class/powercap/intel-rapl*:*")
    for zone in sorted(zones):  # intel-rapl-mmio: comes before intel-rapl:
        name = read_text(f"{zone}/name") or ""
        if not name.startswith("package-") or name in packages:
            continue
        try:
            descriptor = os.open(f"{zone}/energy_uj", os.O_RDONLY)
        except OSError:
            continue
        if "-mmio" in zone and not read_counter(descriptor):
            os.close(descriptor)
            continue
        max_uj = read_number(f"{zone}/max_energy_range_uj")
        packages[name] = RaplCounter(name, descriptor, max_uj)
    return list(packages.values())


def read_counter(descriptor: int) -> int | None:
    """Return the value of an open counter; None if it cannot be read."""
    try:
        return int(os.pread(descriptor, 32, 0))
    except (OSError, ValueError):
        return None


def create_rapl_source(counter: RaplCounter) -> Polled:
    """Return the source that reads this counter, and closes it in the end."""

    def look() -> DeviceReading:
        energy_uj = counter.read_uj()
        return {} if energy_uj is None else {"joules": energy_uj / 1e6}

    return Polled(
        "rapl",
        counter.name,
        "counter",
        "CPU package, excluding DRAM",
        look,
        part="cpu",
        wrap_j=counter.max_uj and counter.max_uj / 1e6,
        close=counter.close,
    )
