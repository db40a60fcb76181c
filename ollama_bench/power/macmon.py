"""macmon: the power of a Mac without root, where it is installed (`brew install macmon`)."""

from __future__ import annotations

import json
import re
import shutil

from ollama_bench.platforms import conditions
from ollama_bench.power.sampler import Child
from ollama_bench.power.source import Absent, SamplerReading
from ollama_bench.power.stream import Stream
from ollama_bench.power.values import as_dict, as_number

MACMON_INTERVAL_MS = 1000
# from this macOS on CPU energy reads 0 without root, and ...
LESS_WITHOUT_ROOT = 27
OLDEST_FOR_27 = (0, 8)  # ... an older macmon crashes
USE_SUDO = "; run with sudo to read it with powermetrics"


def parse_macmon(line: bytes) -> SamplerReading:
    """Parse one line of `macmon pipe`: watts, whose window is the time since the last line.

    Raises ValueError for a damaged line.
    """
    try:
        top = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged line: {error}") from error
    if not isinstance(top, dict):
        raise ValueError("damaged line: expected a JSON object")
    usage = top.get("gpu_usage")  # up to 0.7: [MHz, ratio]
    if not isinstance(usage, list) or len(usage) != 2:
        usage = [None, None]
    return {
        "watts": as_number(top.get("all_power")),
        "gpu_watts": as_number(top.get("gpu_power")),
        "cpu_watts": as_number(top.get("cpu_power")),
        "system_power_w": as_number(top.get("sys_power")),
        "gpu_busy_ratio": as_number(top.get("gpu_active_ratio", usage[1])),
        "gpu_mhz": as_number(top.get("gpu_freq_mhz", usage[0])),
        "temperature_c": as_number(
            as_dict(top.get("temp")).get("gpu_temp_avg")
        )
        or None,  # 0 is unknown
    }


class Macmon(Child):
    """macmon as a child, with the remedy in its complaint after a crash."""

    def complaint(self) -> str:
        """Return its last words and how it ended."""
        words = super().complaint()
        # how a Rust program panics
        if not re.search(r"exit code (101|134|-6)$", words):
            return words
        return (
            "macmon crashed; update it with `brew upgrade macmon`, or run with sudo;"
            f" its last output: {words}"
        )


def create_macmon_source(command: list[str]) -> Stream:
    """Return the source that reads the output of this `macmon pipe` command."""
    return Stream(
        "macmon",
        Macmon([command]),
        parse_macmon,
        b"\n",
        MACMON_INTERVAL_MS / 1e3,
        advice=USE_SUDO,
    )


def find_macmon() -> Stream | Absent | None:
    """Return macmon; Absent if it is too old for this macOS, None if it is not installed."""
    macmon = shutil.which("macmon")
    if not macmon:
        return None
    if get_macos_major() >= LESS_WITHOUT_ROOT:
        version = re.search(
            r"\b(\d+)\.(\d+)", conditions.output_of(macmon, "--version")
        )
        if version and (int(version[1]), int(version[2])) < OLDEST_FOR_27:
            return Absent(
                "macmon",
                "soc",
                "interval",
                f"not read: macmon {version[0]} does not work on macOS {LESS_WITHOUT_ROOT}; run"
                " with sudo, or `brew upgrade macmon` to 0.8 or newer (GPU only)",
            )
    return create_macmon_source(
        [macmon, "pipe", "-i", str(MACMON_INTERVAL_MS)]
    )


def find_working_macmon() -> Stream | None:
    """Return macmon to continue for a powermetrics that has failed."""
    found = find_macmon()
    return found if isinstance(found, Stream) else None


def get_macos_major() -> int:
    """Return the first number of macOS' version; 0 if unknown."""
    found = re.match(r"\d+", conditions.macos_version())
    return int(found[0]) if found else 0
