"""Which power sources this machine has.

    powermetrics   macOS, needs root: one long-running process, energy per interval
    macmon         macOS without root: the same from `macmon pipe`, if it is installed
    nvml           NVIDIA: a running energy counter, or momentary watts on old cards
    amdgpu, intel  Linux: watts or energy counters that the drivers show under /sys
    rapl           Linux: energy counters of the CPU packages, readable by root only

The monitor drives the sources and stores their samples; nothing here starts a thread, writes a
file or opens a database.
"""

from __future__ import annotations

import functools
import glob
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from ollama_bench.power.linux_gpus import (
    APU_SCOPE,
    create_amd_source,
    create_intel_source,
)
from ollama_bench.power.macmon import (
    LESS_WITHOUT_ROOT,
    find_macmon,
    find_working_macmon,
    get_macos_major,
)
from ollama_bench.power.nvidia import (
    create_nvidia_sources,
    load_nvml,
    report_unread_gpu,
)
from ollama_bench.power.polled import Polled
from ollama_bench.power.powermetrics_command import (
    POWERMETRICS_INTERVAL_MS,
    SAMPLERS,
    build_arguments,
    parse_interval,
    with_fewer_samplers,
)
from ollama_bench.power.powermetrics_plist import GpuRail, parse_plist
from ollama_bench.power.rapl import (
    RaplCounter,
    create_rapl_source,
    open_rapl,
)
from ollama_bench.power.sampler import Child
from ollama_bench.power.source import Absent, AnySource, Launcher
from ollama_bench.power.stream import Stream
from ollama_bench.power.sysfs import GraphicsCard, list_graphics_cards

NVIDIA, AMD, INTEL = "0x10de", "0x1002", "0x8086"  # PCI vendors


class RootHelper(Launcher, Protocol):
    """What is left of root once it has been dropped: `privilege.Helper`."""

    sampler: bool  # whether it can run powermetrics
    rapl: list[RaplCounter]
    failure: str | None  # why it cannot although it should


def find_sources(
    helper: RootHelper | None = None,
    powermetrics_command: Sequence[str] | None = None,
    sysfs: str = "/sys",
) -> list[AnySource]:
    """Return every power source of this machine, including those that cannot be read.

    helper: what privilege.split_off returned. powermetrics_command: run this as the user
    instead of everything else (a simulator).
    """
    if powermetrics_command:
        command = list(powermetrics_command)
        child = Child(with_fewer_samplers(command))
        return [create_powermetrics_source(child, parse_interval(command))]
    if helper and helper.sampler:
        return [
            create_powermetrics_source(
                helper, may_use_macmon=os.geteuid() != 0
            )
        ]
    if sys.platform == "darwin":
        return [find_macos_source(helper.failure if helper else None)]
    cards = list_graphics_cards(sysfs)
    return [
        *find_nvidia_sources(cards),
        *find_linux_sources(cards, helper, sysfs),
    ]


def create_powermetrics_source(
    launcher: Launcher,
    interval_s: float = POWERMETRICS_INTERVAL_MS / 1e3,
    may_use_macmon: bool = False,
) -> Stream:
    """Return powermetrics; macmon may replace it, but never as root: it is found in PATH."""
    return Stream(
        "powermetrics",
        launcher,
        functools.partial(parse_plist, gpu_rail=GpuRail()),
        b"</plist>",
        interval_s,
        successor=find_working_macmon if may_use_macmon else None,
    )


def find_macos_source(failure: str | None) -> Stream | Absent:
    """Return macmon if it is installed. failure: why the helper could not be started as root.

    Root without a helper, such as a worker of a fleet, runs powermetrics itself.
    """
    is_root = os.geteuid() == 0
    if is_root and not failure:
        commands = [build_arguments(step) for step in range(len(SAMPLERS))]
        return create_powermetrics_source(Child(commands))
    # root starts nothing that a PATH names
    found = None if is_root else find_macmon()
    if found:
        return found
    if failure:
        return report_unread_chip(failure)
    instead = "`brew install macmon`"
    if get_macos_major() >= LESS_WITHOUT_ROOT:
        instead += " 0.8 or newer (GPU only)"
    return report_unread_chip(
        f"macOS requires root to read power; run with sudo, or {instead}"
    )


def report_unread_chip(why: str) -> Absent:
    """Return a Mac's chip that cannot be read, with the reason."""
    return Absent("powermetrics", "soc", "interval", f"not read: {why}")


def find_nvidia_sources(
    cards: list[GraphicsCard],
) -> Sequence[Polled | Absent]:
    """Return NVIDIA's GPUs.

    A driver that reports none is mentioned even if no card is visible, as in containers and WSL.
    Without a driver, a card must be visible.
    """
    try:
        nvml = load_nvml()
        if nvml:
            found = create_nvidia_sources(nvml)
            return found or [
                report_unread_gpu("the NVIDIA driver reports no GPU")
            ]
    except Exception as error:
        # whatever a broken driver raises must not end the run
        return [report_unread_gpu(str(error))]
    if any(card.vendor == NVIDIA for card in cards):
        return [
            report_unread_gpu("the NVIDIA driver library was not found")
        ]
    return []


def find_linux_sources(
    cards: list[GraphicsCard], helper: RootHelper | None, sysfs: str
) -> list[Polled | Absent]:
    """Return AMD and Intel GPUs and the CPU packages, unless an APU's energy includes these."""
    counters = helper.rapl if helper else open_rapl(sysfs)
    gpus = find_linux_gpus(cards)
    if any(gpu.scope == APU_SCOPE for gpu in gpus):
        while counters:
            counters.pop().close()
        return [*gpus]
    if not counters and glob.glob(f"{sysfs}/class/powercap/intel-rapl:*"):
        why = "not read: Linux requires root to read CPU power; run with sudo"
        if helper or os.geteuid() == 0:
            why = "not read: this machine has no counter of a CPU package"
        return [*gpus, Absent("rapl", "package-0", "counter", why)]
    return [*gpus, *(create_rapl_source(counter) for counter in counters)]


def find_linux_gpus(cards: list[GraphicsCard]) -> list[Polled]:
    """Return the AMD and Intel GPUs that show their power."""
    makers = {AMD: create_amd_source, INTEL: create_intel_source}
    found = [
        makers[card.vendor](card.folder)
        for card in cards
        if card.vendor in makers
    ]
    return [source for source in found if source]
