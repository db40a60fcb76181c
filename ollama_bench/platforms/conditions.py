"""conditions.py - how this machine runs: on battery, in low power mode, as a virtual machine.

    history = conditions.ConditionHistory()
    for change in history.check(time.perf_counter_ns()): ...
    history.since(started_ns)                 # {"on_battery": 0, "low_power_mode": None}
    conditions.is_virtual(), conditions.macos_version()

None is what the system does not tell; nothing here raises.
"""

from __future__ import annotations

import ctypes
import glob
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import psutil

from ollama_bench.platforms import windows

# system_profiler takes a second or two, and can hang
COMMAND_PATIENCE_S = 10.0
# pmset takes 10 ms; meanwhile the monitor samples nothing else
PMSET_PATIENCE_S = 2.0
PMSET_EVERY_S = 30.0
VIRTUAL_HARDWARE = re.compile(
    r"QEMU|KVM|VMware|VirtualBox|Virtual Machine|Virtualization|Parallels|Xen|Bochs|BHYVE",
    re.I,
)

# columns of the table level
Condition = Literal["on_battery", "low_power_mode"]


def output_of(*command: str, patience_s: float | None = None) -> str:
    """Return what a command prints; '' when it fails, is absent or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience_s or COMMAND_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (
        done.stdout.decode("utf-8", "replace")
        if done.returncode == 0
        else ""
    )


def text_of(path: str) -> str:
    """Return the text of a file of the system; '' where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def macos_version() -> str:
    """Return macOS' own version, e.g. 26.1; '' on other systems.

    A child is asked: this process may be told 16.0 for compatibility with older programs.
    """
    if sys.platform != "darwin":
        return ""
    return output_of(
        "/usr/sbin/sysctl", "-n", "kern.osproductversion"
    ).strip()


def is_on_battery(sysfs: str = "/sys") -> bool | None:
    """Return whether this machine runs on its battery; None without one."""
    # psutil takes a wireless mouse's battery for the machine's
    if sys.platform == "linux":
        return parse_supplies(glob.glob(f"{sysfs}/class/power_supply/*"))
    try:
        battery = psutil.sensors_battery()
        plugged = battery.power_plugged if battery else None
    except (AttributeError, RuntimeError, OSError, psutil.Error):
        # None, too, where there is no way to ask
        return None
    return None if plugged is None else not plugged


def parse_supplies(folders: list[str]) -> bool | None:
    """Return the same out of Linux' folders of power supplies.

    A battery whose scope is a device, such as a mouse, is not the machine's.
    """

    def word(folder: str, name: str) -> str:
        return text_of(f"{folder}/{name}").strip()

    batteries = [
        folder
        for folder in folders
        if word(folder, "type") == "Battery"
        and word(folder, "scope") != "Device"
    ]
    if not batteries:
        return None
    if any(
        word(folder, "type") == "Mains" and word(folder, "online") == "1"
        for folder in folders
    ):
        return False
    states = {word(folder, "status") for folder in batteries}
    if "Discharging" in states:
        return True
    return False if states & {"Charging", "Full", "Not charging"} else None


def is_in_low_power_mode(sysfs: str = "/sys") -> bool | None:
    """Return whether the user or the system has chosen to save power at the cost of speed."""
    if sys.platform == "darwin":
        return parse_pmset(
            output_of("/usr/bin/pmset", "-g", patience_s=PMSET_PATIENCE_S)
        )
    if sys.platform == "win32":
        return is_battery_saver_on()
    profile = text_of(f"{sysfs}/firmware/acpi/platform_profile").strip()
    return profile == "low-power" if profile else None


def parse_pmset(text: str) -> bool | None:
    """Read `pmset -g`: lowpowermode is 1 when on; powermode is 0 automatic, 1 low, 2 high."""
    found = re.search(r"^\s*(?:low)?powermode\s+(\d+)", text, re.M)
    return found[1] == "1" if found else None


class PowerStatus(ctypes.Structure):
    """Windows' SYSTEM_POWER_STATUS."""

    _fields_ = [
        ("ac_line", ctypes.c_ubyte),
        ("battery", ctypes.c_ubyte),
        ("percent", ctypes.c_ubyte),
        ("saver", ctypes.c_ubyte),
        ("left_s", ctypes.c_uint32),
        ("full_s", ctypes.c_uint32),
    ]


def is_battery_saver_on() -> bool | None:
    """Return whether Windows' battery saver is on."""
    status = PowerStatus()
    try:
        is_known = windows.kernel32().GetSystemPowerStatus(
            ctypes.byref(status)
        )
    except (AttributeError, OSError):
        return None
    return bool(status.saver == 1) if is_known else None


def is_virtual(
    sysfs: str = "/sys", cpuinfo: str = "/proc/cpuinfo"
) -> bool | None:
    """Return whether this is a virtual machine."""
    if sys.platform == "darwin":
        present = output_of(
            "/usr/sbin/sysctl", "-n", "kern.hv_vmm_present"
        ).strip()
        return {"1": True, "0": False}.get(present)
    if sys.platform == "win32":
        return None
    flags = re.search(r"^flags\s*:(.*)", text_of(cpuinfo), re.M)
    if flags:  # x86: every hypervisor sets this one
        return "hypervisor" in flags[1].split()
    names = [
        text_of(f"{sysfs}/class/dmi/id/{name}")
        for name in ("sys_vendor", "product_name")
    ]
    return True if VIRTUAL_HARDWARE.search(" ".join(names)) else None


@dataclass(frozen=True)
class ConditionChange:
    name: Condition
    is_so: bool


@dataclass(frozen=True)
class ConditionSeen:
    at_ns: int
    is_so: bool


class ConditionHistory:
    """What the conditions were since the first look.

    check() belongs to one thread, since() may come from any.
    """

    def __init__(self) -> None:
        self._seen: dict[Condition, list[ConditionSeen]] = {
            "on_battery": [],
            "low_power_mode": [],
        }
        self._mode_due_ns: int | None = None

    def check(self, at_ns: int) -> list[ConditionChange]:
        """Return what has changed since the last look; at the first one, what is so."""
        changes = []
        now: dict[Condition, bool | None] = {
            "on_battery": is_on_battery(),
            "low_power_mode": self._read_mode(at_ns),
        }
        for name, is_so in now.items():
            seen = self._seen[name]
            if is_so is None or (seen and seen[-1].is_so == is_so):
                continue
            if seen or is_so:
                changes.append(ConditionChange(name, is_so))
            seen.append(ConditionSeen(at_ns, is_so))
        return changes

    def since(self, at_ns: int) -> dict[str, int | None]:
        """Return of each condition whether it was so at any time from at_ns on."""
        return {
            name: was_so(seen, at_ns) for name, seen in self._seen.items()
        }

    def _read_mode(self, at_ns: int) -> bool | None:
        """Read the power mode; only now and then where a program must be started for it."""
        if sys.platform == "darwin":
            if self._mode_due_ns is not None and at_ns < self._mode_due_ns:
                return None
            self._mode_due_ns = at_ns + int(PMSET_EVERY_S * 1e9)
        return is_in_low_power_mode()


def was_so(changes: list[ConditionSeen], at_ns: int) -> int | None:
    """Return 1 if a condition was so at any time from at_ns on, else 0; None: unknown."""
    before = [seen.is_so for seen in changes if seen.at_ns <= at_ns]
    after = [seen.is_so for seen in changes if seen.at_ns > at_ns]
    values = before[-1:] + after
    return int(any(values)) if values else None
