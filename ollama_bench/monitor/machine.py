"""machine.py - says what computer this is: chip, memory, GPU and system, never host or user name.

described = machine.describe()               # a row of the table machine
machine_id = machine.remember(writer, described)
advice = machine.parallel_advice(described, target)
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from typing import Any, Callable

import psutil

from ollama_bench.platforms import conditions
from ollama_bench.platforms import darwin
from ollama_bench.storage import db
from ollama_bench.power import power
from ollama_bench.platforms.conditions import output_of


def describe(sysfs: str = "/sys") -> dict:
    """A row of the table machine; what can't be learned is None."""
    found = describe_mac() if sys.platform == "darwin" else describe_other(sysfs)
    found["cpu_cores"] = os.cpu_count()
    found["memory_bytes"] = memory_bytes()
    found["os"] = system_name()
    columns = (
        "chip",
        "model",
        "cpu_cores",
        "memory_bytes",
        "gpu",
        "gpu_cores",
        "gpu_memory_bytes",
        "os",
    )
    described = {column: found.get(column) for column in columns}
    working_set = {"gpu_working_set_bytes": found.get("gpu_working_set_bytes")}  # may be set anew
    virtual = conditions.is_virtual(sysfs)  # neither is part of the fingerprint: it was none before
    return {
        **described,
        **working_set,
        "virtual": None if virtual is None else int(virtual),
        "fingerprint": json.dumps(described),
    }


def remember(writer: db.Writer, described: dict) -> int:
    """The id of this machine's row, made when the machine is new."""
    key = {"fingerprint": described["fingerprint"]}
    rest = {name: value for name, value in described.items() if name not in key}
    machine_id = writer.lookup("machine", key, rest)
    learned = {name: described.get(name) for name in ("gpu_working_set_bytes", "virtual")}
    if known := {name: value for name, value in learned.items() if value is not None}:
        writer.update(
            "machine", machine_id, known
        )  # an older version did not store it, or it was set anew
    return machine_id


def system_name() -> str:
    """System, release and architecture, e.g. macOS 15.5 arm64."""
    name, release = platform.system(), platform.release()
    if name == "Darwin":
        name, release = "macOS", conditions.macos_version() or platform.mac_ver()[0]
    return f"{name} {release} {platform.machine()}"


def describe_mac() -> dict:
    gpu = parse_displays(output_of("/usr/sbin/system_profiler", "SPDisplaysDataType", "-json"))
    return {
        "chip": sysctl("machdep.cpu.brand_string"),
        "model": sysctl("hw.model"),
        **gpu,
        "gpu_working_set_bytes": gpu_working_set_bytes(),
    }


def gpu_working_set_bytes() -> int | None:
    """How much of its memory macOS lets the GPU use: by Metal, else as it was set by hand."""
    told = output_of(sys.executable, "-I", darwin.__file__).strip()
    if re.fullmatch("[0-9]{1,18}", told):
        return int(told)
    return (darwin.sysctl_integer("iogpu.wired_limit_mb") or 0) << 20 or None


def sysctl(name: str) -> str | None:
    return output_of("/usr/sbin/sysctl", "-n", name).strip() or None


def ask(call: Callable[..., Any], *arguments: Any) -> Any:
    """What psutil answers; None where it can't say."""
    try:
        return call(*arguments)
    except power.REFUSALS:
        return None


def memory_bytes() -> int | None:
    """Physical memory. psutil can't tell it on macOS 27."""
    memory = darwin.memory_bytes() or ask(psutil.virtual_memory)
    return getattr(memory, "total", memory)


def memory_used_bytes() -> int | None:
    """Physical memory that is not available to programs."""
    if memory := ask(psutil.virtual_memory):
        return memory.total - memory.available
    total, available = darwin.memory_bytes(), darwin.available_bytes()
    return max(total - available, 0) if total and available is not None else None


def swap_used_bytes() -> int | None:
    """Swap in use."""
    used = darwin.swap_used_bytes()
    return getattr(ask(psutil.swap_memory), "used", None) if used is None else used


def parse_displays(text: str) -> dict:
    """GPU names and cores out of `system_profiler SPDisplaysDataType -json`.

    Keys are not translated, values may be; the cores are a string, and only Apple's GPUs
    have them. Their memory is the computer's.
    """
    try:
        cards = [card for card in json.loads(text)["SPDisplaysDataType"] if isinstance(card, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    names = [card["sppci_model"] for card in cards if isinstance(card.get("sppci_model"), str)]
    cores = [
        int(card["sppci_cores"])
        for card in cards
        if re.fullmatch("[0-9]{1,6}", str(card.get("sppci_cores")))
    ]
    return {"gpu": " + ".join(names) or None, "gpu_cores": sum(cores) or None}


def describe_other(sysfs: str) -> dict:
    """Linux and Windows: the processor, the board, and the GPUs that a driver tells of."""
    chip = parse_cpuinfo(power.read_text("/proc/cpuinfo") or "") or platform.processor() or None
    gpus = nvidia_gpus() + sysfs_gpus(sysfs)
    memory_bytes = sum(size or 0 for _, size in gpus)
    return {
        "chip": chip,
        "model": board(sysfs),
        "gpu": " + ".join(name for name, _ in gpus) or None,
        "gpu_memory_bytes": memory_bytes or None,
    }


def parse_cpuinfo(text: str) -> str | None:
    """The processor's name in /proc/cpuinfo: x86 says `model name`, some ARM boards `Model`."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields.get("model name") or fields.get("Model") or fields.get("Hardware") or None


def board(sysfs: str) -> str | None:
    """The model that the firmware names: DMI on PCs, the device tree on ARM boards."""
    named = power.read_text(f"{sysfs}/class/dmi/id/product_name") or power.read_text(
        f"{sysfs}/firmware/devicetree/base/model"
    )
    return named.rstrip("\0") if named else None


def nvidia_gpus() -> list[tuple[str, int | None]]:
    """(name, memory in bytes) of each NVIDIA GPU that answers; power.py tells the user of the others."""
    try:
        nvml = power.load_nvml()
        count = nvml.nvmlDeviceGetCount() if nvml else 0
    except Exception:  # whatever a broken driver raises
        return []
    return [gpu for gpu in (nvidia_gpu(nvml, index) for index in range(count)) if gpu]


def nvidia_gpu(nvml, index: int) -> tuple[str, int | None] | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        return power.nvml_text(nvml.nvmlDeviceGetName(handle)), nvml.nvmlDeviceGetMemoryInfo(
            handle
        ).total
    except Exception:  # a GPU that is lost
        return None


def sysfs_gpus(sysfs: str) -> list[tuple[str, int | None]]:
    """(name, memory in bytes) of each AMD and Intel GPU; integrated ones have no memory of their own."""
    makers = {"0x1002": "AMD", "0x8086": "Intel"}
    return [
        (gpu_name(card, makers[vendor]), own_memory_bytes(card))
        for card, vendor in power.graphics_cards(sysfs)
        if vendor in makers
    ]


def gpu_name(card: str, maker: str) -> str:
    product = power.read_text(f"{card}/device/product_name")  # some AMD cards tell it
    return product or f"{maker} GPU {power.read_text(f'{card}/device/device') or ''}".strip()


def own_memory_bytes(card: str) -> int | None:
    device = f"{card}/device"
    hwmon = power.hwmon_of(device, "amdgpu")
    size = power.read_number(f"{device}/mem_info_vram_total")
    return int(size) if size and hwmon and not power.is_apu(hwmon) else None


# -- advice -----------------------------------------------------------------------------

GPU_MEMORY_RATIO = 3 / 4  # of a Mac's memory the GPU may use, where macOS does not say it
SMALL_GPU_MEMORY_RATIO = 2 / 3  # the same of a Mac ...
SMALL_MEMORY_BYTES = 36 << 30  # ... with less memory than this
MLX_ENGINE = "MLX engine: one request at a time"  # of Ollama: no setting changes it
CONTEXT_BYTES_PER_BILLION = (
    16384  # of KV cache per token and 10^9 parameters: Llama 3 8B has 128 KiB a token
)


def parallel_advice(machine: dict, target: dict) -> str | None:
    """One line on OLLAMA_NUM_PARALLEL where another value would suit; None when there is nothing to say.

    machine and target are rows of those tables. The rule is the original study's, one slot for
    each GPU core, as far as the memory goes; measuring a level above and below is the proof.
    """
    if target.get("slots_source") == MLX_ENGINE:
        return None
    slots, cores = target.get("slots"), machine.get("gpu_cores")
    if spills(target):
        return (
            f"{(target['size_bytes'] - target['vram_bytes']) / 1e9:.1f} of {target['size_bytes'] / 1e9:.1f} GB of the"
            f" model do not fit the GPU: a lower OLLAMA_NUM_PARALLEL or context would be faster"
        )
    if target.get("api") != "ollama" or not slots or not cores or not machine.get("memory_bytes"):
        return None
    slot_bytes = context_bytes(target)
    room_bytes = gpu_room_bytes(machine) - (target.get("size_bytes") or 0)
    fitting = slots + int(room_bytes // slot_bytes) if slot_bytes else cores
    wanted = max(1, min(cores, fitting))
    if wanted <= slots:
        return None
    cost = f", for about {(wanted - slots) * slot_bytes / 1e9:.1f} GB more" if slot_bytes else ""
    return (
        f"the server runs {slots} at a time; its GPU has {cores} cores: try OLLAMA_NUM_PARALLEL={wanted}"
        f"{cost} (restart the server)"
    )


def gpu_room_bytes(machine: dict) -> float:
    """How much memory the GPU of a Mac may use: as macOS said, else about."""
    memory = machine["memory_bytes"]
    ratio = SMALL_GPU_MEMORY_RATIO if memory < SMALL_MEMORY_BYTES else GPU_MEMORY_RATIO
    return machine.get("gpu_working_set_bytes") or memory * ratio


def spills(target: dict) -> bool:
    """Whether part of the model is on the CPU."""
    size, on_gpu = target.get("size_bytes"), target.get("vram_bytes")
    return bool(size and on_gpu is not None and 0 < on_gpu < size)


def context_bytes(target: dict) -> float | None:
    """About how much memory one more slot takes for its context."""
    billions = parameters(target.get("parameter_size")) / 1e9
    return (target.get("context_tokens") or 0) * billions * CONTEXT_BYTES_PER_BILLION or None


def parameters(text: str | None) -> float:
    """7.6B -> 7.6e9; 0 when it can't be read."""
    unit = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([KMBT])", text or "", re.IGNORECASE)
    return float(found[1]) * unit[found[2].upper()] if found else 0.0
