"""gpus.py - finds the GPUs that a driver or the system describes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_bench.power.linux_gpus import is_apu
from ollama_bench.power.nvidia import decode_name as nvml_text
from ollama_bench.power.nvidia import load_nvml
from ollama_bench.power.sysfs import find_hwmon as hwmon_of
from ollama_bench.power.sysfs import list_graphics_cards as graphics_cards
from ollama_bench.power.sysfs import read_number, read_text

PCI_DATABASES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
MAKERS = {"0x1002": "AMD", "0x8086": "Intel"}  # by PCI vendor


@dataclass(frozen=True)
class Gpu:
    name: str
    # memory of its own; None for a part of the computer's
    memory_bytes: int | None = None
    cores: int | None = None


def join_names(gpus: Sequence[Gpu]) -> str | None:
    return " + ".join(gpu.name for gpu in gpus) or None


def parse_displays(text: str) -> list[Gpu]:
    """Read `system_profiler SPDisplaysDataType -json`.

    Keys are not translated, values may be. The cores are a string, and only Apple's GPUs have
    them; their memory is the computer's.
    """
    try:
        cards = json.loads(text)["SPDisplaysDataType"]
        return [
            parse_display(card) for card in cards if isinstance(card, dict)
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def parse_display(card: dict[str, Any]) -> Gpu:
    model, cores = card.get("sppci_model"), str(card.get("sppci_cores"))
    return Gpu(
        name=model if isinstance(model, str) else "",
        cores=int(cores) if re.fullmatch("[0-9]{1,6}", cores) else None,
    )


def find_nvidia_gpus() -> list[Gpu]:
    """Return each NVIDIA GPU that answers; the power source reports the others."""
    start_nvml: Callable[[], Any] = load_nvml
    try:
        nvml = start_nvml()
        count = nvml.nvmlDeviceGetCount() if nvml else 0
    except Exception:  # whatever a broken driver raises
        return []
    gpus = [describe_nvidia_gpu(nvml, index) for index in range(count)]
    return [gpu for gpu in gpus if gpu]


def describe_nvidia_gpu(nvml: Any, index: int) -> Gpu | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml_text(nvml.nvmlDeviceGetName(handle))
    except Exception:  # a GPU that is lost
        return None
    try:
        return Gpu(name, nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except (
        Exception
    ):  # GB10 shares the computer's memory and has no figure
        return Gpu(name)


def find_sysfs_gpus(sysfs: str) -> list[Gpu]:
    """Return each AMD and Intel GPU that Linux shows."""
    return [
        Gpu(
            read_gpu_name(card, MAKERS[vendor]),
            read_own_memory_bytes(card),
        )
        for card, vendor in graphics_cards(sysfs)
        if vendor in MAKERS
    ]


def read_gpu_name(card: str, maker: str) -> str:
    # some AMD cards have it
    if product := read_text(f"{card}/device/product_name"):
        return product
    device = read_text(f"{card}/device/device") or ""
    vendor = read_text(f"{card}/device/vendor") or ""
    if name := find_pci_name(vendor, device):
        return f"{maker} {name}"
    return f"{maker} GPU {device}".strip()


def find_pci_name(vendor: str, device: str) -> str | None:
    """Return a device's name in the system's PCI database; None where it has none.

    The name in brackets is that of the market: Navi 31 [Radeon RX 7900 XTX].
    """
    vendor_id, device_id = (
        vendor.removeprefix("0x").lower(),
        device.removeprefix("0x").lower(),
    )
    for path in PCI_DATABASES:
        is_vendor = False
        for line in (read_text(path) or "").splitlines():
            if line[:1] not in ("\t", "#", ""):
                is_vendor = line.startswith(f"{vendor_id}  ")
            elif is_vendor and line.startswith(f"\t{device_id}  "):
                name = line.strip().partition("  ")[2]
                market = re.search(r"\[(.+)\]", name)
                return market[1] if market else name
    return None


def read_own_memory_bytes(card: str) -> int | None:
    """Return the memory of a card; None for an integrated GPU."""
    device = f"{card}/device"
    hwmon = hwmon_of(device, "amdgpu")
    size = read_number(f"{device}/mem_info_vram_total")
    return int(size) if size and hwmon and not is_apu(hwmon) else None
