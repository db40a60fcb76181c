"""Parser for logs that powermetrics wrote in its text format."""

from __future__ import annotations

import re
from datetime import datetime

from ollama_bench.power.source import SamplerReading
from ollama_bench.power.values import (
    add_chip_joules,
    as_number,
    invert_ratio,
)

NUMBER = r"([\d.,]+(?:e[+-]?\d+)?)"  # with the decimal point or comma of the log's locale
HEADER = re.compile(
    rf"^\*\*\* (Sampled|Summary) system activity \(([^)]*)\) \({NUMBER}ms elapsed\) \*\*\*",
    re.M,
)
THERMAL = re.compile(r"^Current pressure level: (\w+)", re.M)
# the first match of each field counts; spellings of macOS 11 to 27, then of Intel
CPU_MW = [
    re.compile(rf"^CPU Power: {NUMBER} mW", re.M),
    re.compile(rf"^Clusters Total Power: {NUMBER} mW", re.M),
]
GPU_MW = [re.compile(rf"^GPU Power: {NUMBER} mW", re.M)]
ANE_MW = [re.compile(rf"^ANE Power: {NUMBER} mW", re.M)]
PACKAGE_W = [re.compile(rf"package power [^:]*: {NUMBER} ?W", re.M)]
IDLE_PERCENT = [re.compile(rf"^GPU idle residency:\s*{NUMBER}%", re.M)]
BUSY_PERCENT = [
    re.compile(rf"^GPU (?:HW )?active residency:\s*{NUMBER}%", re.M),
    re.compile(rf"^GPU 0 GPU Busy\s*:\s*{NUMBER}%", re.M),
]
GPU_MHZ = [
    re.compile(rf"^GPU (?:HW )?active frequency:\s*{NUMBER} ?MHz", re.M),
    re.compile(
        rf"^GPU 0 average active frequency [^:]*:.*\({NUMBER}Mhz\)", re.M
    ),
]


def parse_text(log: str) -> list[SamplerReading]:
    """Return the readings of a log, oldest first.

    The summary at the end would count all energy twice and is skipped. A log without any header
    is one reading whose window, and so whose energy, is unknown.
    """
    headers = list(HEADER.finditer(log))
    if not headers:
        reading = parse_block(log, None)
        return (
            [reading]
            if any(value is not None for value in reading.values())
            else []
        )
    ends = [header.start() for header in headers[1:]] + [len(log)]
    return [
        parse_block(log[header.end() : end], header)
        for header, end in zip(headers, ends, strict=True)
        if header[1] == "Sampled"
    ]


def parse_block(
    block: str, header: re.Match[str] | None
) -> SamplerReading:
    """Parse what follows one header."""
    elapsed_ns = (
        as_number((parse_decimal(header[3]) or 0) * 1e6)
        if header
        else None
    )
    elapsed_s = elapsed_ns / 1e9 if elapsed_ns else None
    cpu_j = find_joules(CPU_MW, block, elapsed_s, per_watt=1e3)
    gpu_j = find_joules(GPU_MW, block, elapsed_s, per_watt=1e3)
    ane_j = find_joules(ANE_MW, block, elapsed_s, per_watt=1e3)
    energy_j = find_joules(PACKAGE_W, block, elapsed_s)  # Intel Macs
    if energy_j is None:
        energy_j = add_chip_joules(cpu_j, gpu_j, ane_j)
    thermal = THERMAL.search(block)
    return {
        "energy_j": energy_j,
        "gpu_energy_j": gpu_j,
        "cpu_energy_j": cpu_j,
        "gpu_busy_ratio": find_busy_ratio(block),
        "gpu_mhz": find_number(GPU_MHZ, block),
        "thermal": thermal[1] if thermal else None,
        "elapsed_ns": round(elapsed_ns) if elapsed_ns else None,
        "at_unix": parse_stamp(header[2]) if header else None,
    }


def find_joules(
    patterns: list[re.Pattern[str]],
    text: str,
    elapsed_s: float | None,
    per_watt: float = 1.0,
) -> float | None:
    """Return the energy over elapsed_s of the power in the text; per_watt is its unit."""
    power = find_number(patterns, text)
    if power is None or elapsed_s is None:
        return None
    return power / per_watt * elapsed_s


def find_busy_ratio(block: str) -> float | None:
    """Return the GPU's load: what it was not idle, or else what it was busy."""
    idle_percent = find_number(IDLE_PERCENT, block)
    if idle_percent is not None:
        return invert_ratio(idle_percent / 100)
    busy_percent = find_number(BUSY_PERCENT, block)
    return None if busy_percent is None else busy_percent / 100


def find_number(
    patterns: list[re.Pattern[str]], text: str
) -> float | None:
    """Return the number of the first pattern that matches."""
    for pattern in patterns:
        if found := pattern.search(text):
            return parse_decimal(found[1])
    return None


def parse_decimal(text: str) -> float | None:
    """Parse a number; None for a damaged one such as 1.2.3 or 1.2,3."""
    try:
        return as_number(float(text.replace(",", ".")))
    except ValueError:
        return None


def parse_stamp(stamp: str) -> float | None:
    """Return the time of a header in seconds since 1970."""
    try:
        return datetime.strptime(
            stamp, "%a %b %d %H:%M:%S %Y %z"
        ).timestamp()
    except ValueError:
        return None
