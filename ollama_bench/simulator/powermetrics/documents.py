"""The documents that powermetrics writes: text, and plist as of Apple's M2."""

from __future__ import annotations

import bisect
import datetime
import itertools
import plistlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ollama_bench.simulator.powermetrics.samples import PowerWindow

GPU_STATES_MHZ = (444, 612, 808, 968, 1110, 1236, 1338, 1398)
EFFICIENCY_STATES_MHZ = (912, 1284, 1752, 2004, 2256, 2424)
PERFORMANCE_STATES_MHZ = (
    *(702, 948, 1188, 1452, 1704, 1968, 2208, 2400, 2568),
    *(2724, 2868, 2988, 3096, 3204, 3324, 3408, 3504),
)
CPU_BUSY_MHZ = 2100
OS_BUILD = "25D125"


@dataclass(frozen=True)
class Chip:
    """A machine, with its cores by cluster."""

    hw_model: str
    cores: Mapping[str, int]


CHIPS = {
    # An M2 Pro, and an M2 Ultra whose documents take 65 KB.
    "small": Chip(
        "Mac14,10", {"E-Cluster": 4, "P0-Cluster": 3, "P1-Cluster": 3}
    ),
    "ultra": Chip(
        "Mac14,14",
        {
            f"{name}-Cluster": 4
            for name in ("E0", "P0", "P1", "E1", "P2", "P3")
        },
    ),
}


def share_states(states_mhz: Sequence[int], mhz: float) -> list[float]:
    """Split the time over neighbouring states so that their mean is mhz."""
    shares = [0.0] * len(states_mhz)
    at = min(
        max(bisect.bisect_left(states_mhz, mhz), 1), len(states_mhz) - 1
    )
    low, high = states_mhz[at - 1], states_mhz[at]
    shares[at] = min(max((mhz - low) / (high - low), 0.0), 1.0)
    shares[at - 1] = 1 - shares[at]
    return shares


def describe_residency(
    sample: PowerWindow, states_mhz: Sequence[int], mhz: int, unit: int
) -> dict[str, object]:
    """Return what clusters, CPUs and the GPU have in common; unit turns MHz into their freq_hz."""
    states = []
    for state, share in zip(
        states_mhz, share_states(states_mhz, mhz), strict=True
    ):
        used_ns = share * sample.busy_ns
        used_ratio = used_ns / sample.elapsed_ns
        states.append(
            {
                "freq": state,
                "used_ns": int(used_ns),
                "used_ratio": used_ratio,
            }
        )
    return {
        "freq_hz": float(mhz * unit if sample.busy_ns else 0),
        "idle_ns": sample.idle_ns,
        "idle_ratio": sample.idle_ns / sample.elapsed_ns,
        "dvfm_states": states,
    }


def format_plist(
    sample: PowerWindow, chip: Chip, samplers: Collection[str], number: int
) -> bytes:
    """Return one document of powermetrics -f plist; a NUL precedes all but the first."""
    utc = datetime.datetime.fromtimestamp(
        int(time.time()), datetime.timezone.utc
    )
    document: dict[str, object] = {
        "is_delta": True,
        "elapsed_ns": sample.elapsed_ns,
        "hw_model": chip.hw_model,
        "kern_osversion": OS_BUILD,
        "kern_bootargs": "",
        "kern_boottime": 1770931249,
        "timestamp": utc.replace(tzinfo=None),
    }
    if "cpu_power" in samplers:
        document["processor"] = describe_processor(sample, chip)
    if "thermal" in samplers:
        document["thermal_pressure"] = "Nominal"
    if "gpu_power" in samplers:
        # Its freq_hz is in MHz.
        residency = describe_residency(
            sample, GPU_STATES_MHZ, sample.busy_mhz, 1
        )
        document["gpu"] = {**residency, "gpu_energy": sample.gpu_mj}
    xml = plistlib.dumps(document, sort_keys=False).replace(b"\t", b"")
    xml = re.sub(
        rb"</key>\n(?=<(?:integer|real|string|date|true|false))",
        b"</key>",
        xml,
    )
    return b"\0" + xml if number else xml


def describe_processor(
    sample: PowerWindow, chip: Chip
) -> dict[str, object]:
    cpu_mw = sample.cpu_mj * 1e9 / sample.elapsed_ns
    gpu_mw = sample.gpu_mj * 1e9 / sample.elapsed_ns
    return {
        "clusters": describe_clusters(sample, chip.cores),
        "cpu_energy": sample.cpu_mj,
        "cpu_power": cpu_mw,
        "gpu_energy": sample.gpu_mj,
        "gpu_power": gpu_mw,
        "ane_energy": 0,
        "ane_power": 0.0,
        "combined_power": cpu_mw + gpu_mw,
    }


def describe_clusters(
    sample: PowerWindow, cores: Mapping[str, int]
) -> list[dict[str, object]]:
    numbers = itertools.count()
    clusters: list[dict[str, object]] = []
    for name, count in cores.items():
        states = (
            EFFICIENCY_STATES_MHZ
            if name[0] == "E"
            else PERFORMANCE_STATES_MHZ
        )
        residency = describe_residency(
            sample, states, CPU_BUSY_MHZ, 1_000_000
        )
        cpus = [{"cpu": next(numbers), **residency} for _ in range(count)]
        clusters.append({"name": name, **residency, "cpus": cpus})
    return clusters


def format_text_header(chip: Chip) -> bytes:
    return (
        f"Machine model: {chip.hw_model}\nOS version: {OS_BUILD}\nBoot arguments: \n"
        "Boot time: Thu Feb 12 16:20:49 2026\n\n\n\n"
    ).encode()


def format_text(sample: PowerWindow, samplers: Collection[str]) -> bytes:
    """Return one sample as powermetrics -f text writes it."""
    elapsed_ms = sample.elapsed_ns / 1e6
    cpu_mw = round(sample.cpu_mj * 1e3 / elapsed_ms)
    gpu_mw = round(sample.gpu_mj * 1e3 / elapsed_ms)
    when = time.strftime("%a %b %e %H:%M:%S %Y +0000", time.gmtime())
    lines = [
        f"*** Sampled system activity ({when}) ({elapsed_ms:.2f}ms elapsed) ***",
        "",
        "",
    ]
    if "cpu_power" in samplers:
        lines += [
            "**** Processor usage ****",
            "",
            f"CPU Power: {cpu_mw} mW",
            f"GPU Power: {gpu_mw} mW",
            "ANE Power: 0 mW",
            f"Combined Power (CPU + GPU + ANE): {cpu_mw + gpu_mw} mW",
            "",
        ]
    if "thermal" in samplers:
        lines += [
            "**** Thermal pressure ****",
            "",
            "Current pressure level: Nominal",
            "",
        ]
    if "gpu_power" in samplers:
        lines += ["**** GPU usage ****", "", *list_gpu_lines(sample)]
        lines += [f"GPU Power: {gpu_mw} mW", "", ""]
    return ("\n".join(lines) + "\n").encode()


def list_gpu_lines(sample: PowerWindow) -> list[str]:
    busy_ratio = sample.busy_ns / sample.elapsed_ns
    shares = share_states(GPU_STATES_MHZ, sample.busy_mhz)
    states = " ".join(
        f"{mhz} MHz:{format_percent(share * busy_ratio)}%"
        for mhz, share in zip(GPU_STATES_MHZ, shares, strict=True)
    )
    mhz = sample.busy_mhz if sample.busy_ns else 0
    return [
        f"GPU HW active frequency: {mhz} MHz",
        f"GPU HW active residency: {busy_ratio:6.2%} ({states})",
        f"GPU idle residency: {1 - busy_ratio:6.2%}",
    ]


def format_percent(share: float) -> str:
    """Format two significant digits without a leading zero, as the real one does."""
    text = f"{share * 100:.2g}" if share < 0.1 else f"{share * 100:.0f}"
    return f"{text.lstrip('0') if '.' in text else text:>4}"
