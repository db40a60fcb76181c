"""Files under /sys: what Linux' drivers tell of a device, one value per file."""

from __future__ import annotations

import glob
import os
import re
from typing import NamedTuple


class GraphicsCard(NamedTuple):
    """A graphics card that Linux knows."""

    folder: str
    vendor: str  # PCI vendor, e.g. 0x10de; "" if unknown


def list_graphics_cards(sysfs: str = "/sys") -> list[GraphicsCard]:
    """Return the graphics cards in the order of their numbers."""
    folders = [
        folder
        for folder in glob.glob(f"{sysfs}/class/drm/card*")
        # card0-HDMI-A-1 is a connector
        if re.fullmatch(r"card\d+", os.path.basename(folder))
    ]
    folders.sort(key=lambda folder: int(os.path.basename(folder)[4:]))
    return [
        GraphicsCard(folder, read_text(f"{folder}/device/vendor") or "")
        for folder in folders
    ]


def find_hwmon(device: str, name: str) -> str | None:
    """Return the device's folder of sensors with this name."""
    for folder in sorted(glob.glob(f"{device}/hwmon/hwmon*")):
        if read_text(f"{folder}/name") == name:
            return folder
    return None


def read_text(path: str) -> str | None:
    """Return the content of a file without surrounding blanks; None if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        # drivers return EBUSY, EIO and the like while a card sleeps
        return None


def read_number(path: str, scale: float = 1.0) -> float | None:
    """Return the number in a file, divided by scale."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return float(text) / scale
    except ValueError:
        return None


def read_sum(paths: list[str]) -> int | None:
    """Return the sum of whole numbers; None if the first cannot be read."""
    values = [read_number(path) for path in paths]
    if values[0] is None:
        return None
    return int(sum(value or 0 for value in values))


def read_first_number(*paths: str, scale: float = 1.0) -> float | None:
    """Return the number in the first file that has one, divided by scale."""
    for path in paths:
        value = read_number(path, scale)
        if value is not None:
            return value
    return None


def find_first_file(*paths: str) -> str | None:
    """Return the first path that exists."""
    return next((path for path in paths if os.path.exists(path)), None)
