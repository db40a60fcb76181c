"""conditions.py - how this machine runs: on battery, in low power mode, as a virtual machine.

    watch = conditions.Watch()
    for name, value in watch.look(time.perf_counter_ns()): ...     # what has changed
    watch.since(started_ns)                   # {"on_battery": 0, "low_power_mode": None}
    conditions.is_virtual(), conditions.macos_version()

None is what the system does not say; nothing here raises.
"""
from __future__ import annotations

import ctypes
import glob
import re
import subprocess
import sys

import psutil

NAMES = ("on_battery", "low_power_mode")  # columns of the table level
COMMAND_PATIENCE_S = 10.0  # system_profiler takes a second or two, and can hang
PMSET_PATIENCE_S = 2.0  # it takes 10 ms; whoever waits for it samples nothing else meanwhile
PMSET_EVERY_S = 30.0
VIRTUAL_HARDWARE = re.compile(
    r"QEMU|KVM|VMware|VirtualBox|Virtual Machine|Virtualization|Parallels|Xen|Bochs|BHYVE", re.I)


def output_of(*command: str, patience_s: float | None = None) -> str:
    """What a command prints; nothing when it fails, is absent or takes too long."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=patience_s or COMMAND_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def text_of(path: str) -> str:
    """A file of the system; nothing where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def macos_version() -> str:
    """macOS' own version, e.g. 26.1; nothing on other systems.

    A child is asked: this process may be told 16.0 for the sake of older programs.
    """
    if sys.platform != "darwin":
        return ""
    return output_of("/usr/sbin/sysctl", "-n", "kern.osproductversion").strip()


def on_battery(sysfs: str = "/sys") -> bool | None:
    """Whether this machine runs on its battery; None without one."""
    if sys.platform == "linux":  # psutil takes a wireless mouse's battery for the machine's
        return parse_supplies(glob.glob(f"{sysfs}/class/power_supply/*"))
    try:
        plugged = psutil.sensors_battery().power_plugged
    except (AttributeError, RuntimeError, OSError, psutil.Error):  # no battery, no way to ask
        return None
    return None if plugged is None else not plugged


def parse_supplies(folders: list[str]) -> bool | None:
    """The same out of Linux' folders of power supplies; a battery within a device is not ours."""
    def word(folder: str, name: str) -> str:
        return text_of(f"{folder}/{name}").strip()

    batteries = [folder for folder in folders
                 if word(folder, "type") == "Battery" and word(folder, "scope") != "Device"]
    if not batteries:
        return None
    if any(word(folder, "type") == "Mains" and word(folder, "online") == "1" for folder in folders):
        return False
    states = {word(folder, "status") for folder in batteries}
    if "Discharging" in states:
        return True
    return False if states & {"Charging", "Full", "Not charging"} else None


def low_power_mode(sysfs: str = "/sys") -> bool | None:
    """Whether the user or the system has chosen to save power at the cost of speed."""
    if sys.platform == "darwin":
        return parse_pmset(output_of("/usr/bin/pmset", "-g", patience_s=PMSET_PATIENCE_S))
    if sys.platform == "win32":
        return battery_saver()
    profile = text_of(f"{sysfs}/firmware/acpi/platform_profile").strip()
    return profile == "low-power" if profile else None


def parse_pmset(text: str) -> bool | None:
    """Out of `pmset -g`: lowpowermode is 1 when it is on, powermode 0 automatic, 1 low, 2 high."""
    found = re.search(r"^\s*(?:low)?powermode\s+(\d+)", text, re.M)
    return found[1] == "1" if found else None


class PowerStatus(ctypes.Structure):
    """Windows' SYSTEM_POWER_STATUS."""

    _fields_ = [("ac_line", ctypes.c_ubyte), ("battery", ctypes.c_ubyte),
                ("percent", ctypes.c_ubyte), ("saver", ctypes.c_ubyte),
                ("left_s", ctypes.c_uint32), ("full_s", ctypes.c_uint32)]


def battery_saver() -> bool | None:
    """Windows: whether the battery saver is on."""
    status = PowerStatus()
    try:
        known = ctypes.windll.kernel32.GetSystemPowerStatus(ctypes.byref(status))
    except (AttributeError, OSError):
        return None
    return status.saver == 1 if known else None


def is_virtual(sysfs: str = "/sys", cpuinfo: str = "/proc/cpuinfo") -> bool | None:
    """Whether this is a virtual machine."""
    if sys.platform == "darwin":
        present = output_of("/usr/sbin/sysctl", "-n", "kern.hv_vmm_present").strip()
        return {"1": True, "0": False}.get(present)
    if sys.platform == "win32":
        return None
    flags = re.search(r"^flags\s*:(.*)", text_of(cpuinfo), re.M)
    if flags:  # x86: every hypervisor sets this one
        return "hypervisor" in flags[1].split()
    names = [text_of(f"{sysfs}/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    return True if VIRTUAL_HARDWARE.search(" ".join(names)) else None


class Watch:
    """What the conditions were, from look to look."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[int, bool]]] = {name: [] for name in NAMES}  # changes
        self._mode_due_ns: int | None = None

    def look(self, at_ns: int) -> list[tuple[str, bool]]:
        """What has changed since the last look; of the first look what is so."""
        changes = []
        for name, value in (("on_battery", on_battery()), ("low_power_mode", self._mode(at_ns))):
            seen = self._seen[name]
            if value is None or seen and seen[-1][1] == value:
                continue
            if seen or value:
                changes.append((name, value))
            seen.append((at_ns, value))
        return changes

    def since(self, at_ns: int) -> dict[str, int | None]:
        """Of each whether it was so at any time from at_ns on."""
        found: dict[str, int | None] = {}
        for name, seen in self._seen.items():
            before = [value for seen_ns, value in seen if seen_ns <= at_ns][-1:]
            values = before + [value for seen_ns, value in seen if seen_ns > at_ns]
            found[name] = int(any(values)) if values else None
        return found

    def _mode(self, at_ns: int) -> bool | None:
        """The power mode; where a program must be started for it only now and then."""
        if sys.platform == "darwin":
            if self._mode_due_ns is not None and at_ns < self._mode_due_ns:
                return None
            self._mode_due_ns = at_ns + int(PMSET_EVERY_S * 1e9)
        return low_power_mode()
