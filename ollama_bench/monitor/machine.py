"""machine.py - describes this computer: chip, memory, GPU and system, never host or user name.

described = machine.describe()               # a row of the table machine
machine_id = machine.remember(writer, described)
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ollama_bench.monitor.gpus import (
    find_nvidia_gpus,
    find_sysfs_gpus,
    join_names,
    parse_displays,
)
from ollama_bench.monitor.memory import read_memory_bytes
from ollama_bench.platforms import conditions, darwin
from ollama_bench.platforms.conditions import output_of, text_of

# (maker, part) of /proc/cpuinfo, as lscpu names them: servers and boards that run models
ARM_PARTS: dict[tuple[str | None, str | None], str] = {
    ("0x41", "0xd08"): "ARM Cortex-A72",
    ("0x41", "0xd0b"): "ARM Cortex-A76",
    ("0x41", "0xd0c"): "ARM Neoverse-N1",
    ("0x41", "0xd40"): "ARM Neoverse-V1",
    ("0x41", "0xd42"): "ARM Cortex-A78AE",
    ("0x41", "0xd49"): "ARM Neoverse-N2",
    ("0x41", "0xd4f"): "ARM Neoverse-V2",
    ("0x41", "0xd85"): "ARM Cortex-X925",
    ("0xc0", "0xac3"): "Ampere-1",
    ("0xc0", "0xac4"): "Ampere-1a",
    ("0x51", "0x001"): "Qualcomm Oryon",
}
MachineRow = dict[str, Any]  # of the table machine, for the database


class MachineStore(Protocol):
    """What remember() needs of the writer of results.db."""

    def lookup(
        self, table: str, key: dict[str, Any], rest: dict[str, Any], /
    ) -> int: ...

    def update(
        self, table: str, row_id: int, changes: dict[str, Any], /
    ) -> object: ...


@dataclass(frozen=True)
class Computer:
    """What identifies this computer; None is unknown. The order is that of the fingerprint."""

    chip: str | None
    model: str | None
    cpu_cores: int | None
    memory_bytes: int | None
    gpu: str | None
    gpu_cores: int | None
    gpu_memory_bytes: int | None
    os: str


def describe(sysfs: str = "/sys") -> MachineRow:
    """Return a row of the table machine; what is unknown is None.

    Two columns are no part of the fingerprint, which older versions stored without them.
    """
    is_mac = sys.platform == "darwin"
    computer = asdict(describe_mac() if is_mac else describe_other(sysfs))
    is_virtual = conditions.is_virtual(sysfs)
    return {
        **computer,
        "gpu_working_set_bytes": read_gpu_working_set_bytes()
        if is_mac
        else None,
        "virtual": None if is_virtual is None else int(is_virtual),
        "fingerprint": json.dumps(computer),
    }


def remember(store: MachineStore, described: MachineRow) -> int:
    """Return the id of this machine's row, which is made when the machine is new."""
    key = {"fingerprint": described["fingerprint"]}
    rest = {
        name: value for name, value in described.items() if name not in key
    }
    machine_id = store.lookup("machine", key, rest)
    # an older version did not store these, and the user can change the first
    learned = {
        name: described.get(name)
        for name in ("gpu_working_set_bytes", "virtual")
    }
    if known := {
        name: value for name, value in learned.items() if value is not None
    }:
        store.update("machine", machine_id, known)
    return machine_id


def system_name() -> str:
    """Return system, release and architecture, e.g. macOS 15.5 arm64."""
    name, release = platform.system(), platform.release()
    if name == "Darwin":
        name, release = (
            "macOS",
            conditions.macos_version() or platform.mac_ver()[0],
        )
    return f"{name} {release} {platform.machine()}"


def describe_mac() -> Computer:
    gpus = parse_displays(
        output_of(
            "/usr/sbin/system_profiler", "SPDisplaysDataType", "-json"
        )
    )
    named = [gpu for gpu in gpus if gpu.name]
    return Computer(
        chip=sysctl("machdep.cpu.brand_string"),
        model=sysctl("hw.model"),
        cpu_cores=os.cpu_count(),
        memory_bytes=read_memory_bytes(),
        gpu=join_names(named),
        gpu_cores=sum(gpu.cores or 0 for gpu in gpus) or None,
        gpu_memory_bytes=None,
        os=system_name(),
    )


def read_gpu_working_set_bytes() -> int | None:
    """Return how much of its memory macOS lets the GPU use: by Metal, else as set by hand."""
    answer = output_of(sys.executable, "-I", darwin.__file__).strip()
    if re.fullmatch("[0-9]{1,18}", answer):
        return int(answer)
    return (darwin.read_integer("iogpu.wired_limit_mb") or 0) << 20 or None


def sysctl(name: str) -> str | None:
    return output_of("/usr/sbin/sysctl", "-n", name).strip() or None


def describe_other(sysfs: str) -> Computer:
    """Describe the processor, the board and the GPUs of Linux and Windows."""
    gpus = find_nvidia_gpus() + find_sysfs_gpus(sysfs)
    return Computer(
        chip=parse_cpuinfo(text_of("/proc/cpuinfo"))
        or platform.processor()
        or None,
        model=read_board(sysfs),
        cpu_cores=os.cpu_count(),
        memory_bytes=read_memory_bytes(),
        gpu=join_names(gpus),
        gpu_cores=None,
        gpu_memory_bytes=sum(gpu.memory_bytes or 0 for gpu in gpus)
        or None,
        os=system_name(),
    )


def parse_cpuinfo(text: str) -> str | None:
    """Read the processor's name in /proc/cpuinfo.

    x86 has `model name`, ARM boards `Model`, POWER `cpu`, RISC-V `uarch`, other ARM processors
    the numbers of a maker and a part.
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    part = fields.get("CPU implementer"), fields.get("CPU part")
    return (
        fields.get("model name")
        or fields.get("Model")
        or fields.get("cpu")
        or fields.get("uarch")
        or ARM_PARTS.get(part)
        or fields.get("Hardware")
        or None
    )


def read_board(sysfs: str) -> str | None:
    """Return the model that the firmware names: DMI on PCs, the device tree on ARM boards."""
    named = (
        text_of(f"{sysfs}/class/dmi/id/product_name").strip()
        or text_of(f"{sysfs}/firmware/devicetree/base/model").strip()
    )
    return named.rstrip("\0") or None
