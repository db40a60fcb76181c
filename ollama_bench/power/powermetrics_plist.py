"""Parser for the documents of `powermetrics -f plist`."""

from __future__ import annotations

import plistlib
import re
from datetime import datetime, timezone

from ollama_bench.power.source import SamplerReading
from ollama_bench.power.values import (
    add_chip_joules,
    as_dict,
    as_number,
    invert_ratio,
)

ROUNDING_J = 0.01  # a counter that moved by less may have been rounded up


def parse_plist(
    document: bytes, gpu_rail: GpuRail | None = None
) -> SamplerReading:
    """Parse one document; the reading always has elapsed_ns, any other value may be None.

    gpu_rail must be the same object for all documents of a source.
    Raises ValueError for a damaged document.
    """
    # every document but the first starts with a NUL
    begin = max(document.find(b"<?xml"), 0)
    try:
        top = plistlib.loads(
            empty_arrays(document[begin:]), fmt=plistlib.FMT_XML
        )
    except Exception as error:
        # plistlib lets a dozen kinds of exception through
        # it may quote what it read, newlines included
        reason = " ".join(str(error).split())
        raise ValueError(f"damaged document: {reason}") from error
    elapsed_ns = (
        as_number(top.get("elapsed_ns")) if isinstance(top, dict) else None
    )
    if elapsed_ns is None or elapsed_ns < 1:
        raise ValueError("damaged document: expected elapsed_ns")
    reading = read_energies(top, elapsed_ns / 1e9, gpu_rail or GpuRail())
    thermal = top.get("thermal_pressure")
    reading["elapsed_ns"] = int(elapsed_ns)
    reading["thermal"] = thermal if isinstance(thermal, str) else None
    reading["at_unix"] = parse_timestamp(top.get("timestamp"))
    return reading


def empty_arrays(document: bytes) -> bytes:
    """Return the document with every array emptied.

    No array is used here, and on an Ultra they are 95 % of what plistlib would have to parse
    every second.
    """
    kept: list[bytes] = []
    depth = start = 0
    for tag in re.finditer(rb"<(/?)array>", document):
        if tag[1]:
            depth -= 1
            if depth == 0:
                start = tag.start()
        else:
            if depth == 0:
                kept.append(document[start : tag.end()])
            depth += 1
    kept.append(document[start:])
    return b"".join(kept)


class GpuRail:
    """Chooses between the two GPU energies of a document: the processor's and the GPU's own.

    They differ by about 1 %, and the processor's is the one in powermetrics' own total. But one
    of them may stay at 0 while the other counts: the first one that moves is used from then on.
    """

    def __init__(self) -> None:
        # index of the one that has moved, once known
        self._place: int | None = None

    def choose(
        self, processor_j: float | None, gpu_j: float | None
    ) -> float | None:
        """Return the energy to use, in joules."""
        pair = (processor_j, gpu_j)
        if self._place is None:
            self._place = self._find_moving(pair)
        if self._place is not None:
            chosen = pair[self._place]
            if chosen is not None:
                return chosen
        return (
            gpu_j
            if processor_j is None
            else processor_j or gpu_j or processor_j
        )

    @staticmethod
    def _find_moving(
        pair: tuple[float | None, float | None],
    ) -> int | None:
        for place, energy_j in enumerate(pair):
            if (energy_j or 0) > ROUNDING_J:
                return place
        return None


def read_energies(
    top: dict[str, object], elapsed_s: float, gpu_rail: GpuRail
) -> SamplerReading:
    """Read energies, clock and load from the dictionaries `processor` and `gpu`."""
    processor, gpu = as_dict(top.get("processor")), as_dict(top.get("gpu"))
    cpu_j = read_joules(processor, "cpu", elapsed_s)
    ane_j = read_joules(processor, "ane", elapsed_s)
    gpu_j = gpu_rail.choose(
        read_joules(processor, "gpu", elapsed_s),
        read_joules(gpu, "gpu", elapsed_s),
    )
    package_j = as_number(processor.get("package_joules"))  # Intel Macs
    if package_j is None:
        package_j = add_chip_joules(cpu_j, gpu_j, ane_j)
    return {
        "energy_j": package_j,
        "gpu_energy_j": gpu_j,
        "cpu_energy_j": cpu_j,
        "gpu_busy_ratio": invert_ratio(as_number(gpu.get("idle_ratio"))),
        # in MHz, unlike the CPU's freq_hz
        "gpu_mhz": as_number(gpu.get("freq_hz")),
    }


def read_joules(
    rails: dict[str, object], rail: str, elapsed_s: float
) -> float | None:
    """Return the energy of a rail, from its energy or else from its mean power."""
    energy_mj = as_number(rails.get(f"{rail}_energy"))
    power_mw = as_number(rails.get(f"{rail}_power"))
    if energy_mj is not None:
        return energy_mj / 1e3
    return None if power_mw is None else power_mw / 1e3 * elapsed_s


def parse_timestamp(timestamp: object) -> float | None:
    """Return seconds since 1970; the plist's date is UTC but does not say so."""
    if not isinstance(timestamp, datetime):
        return None
    return timestamp.replace(tzinfo=timezone.utc).timestamp()
