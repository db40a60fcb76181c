"""A folder like /sys, with an AMD card and the counter of a CPU package."""

import pathlib


def tree(root: pathlib.Path, files: dict) -> str:
    """Write the files, path -> content, and return the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return str(root)


AMD = {
    "class/drm/card1/device/vendor": "0x1002",
    "class/drm/card1/device/gpu_busy_percent": 30,
    "class/drm/card1/device/mem_info_vram_used": 500,
    "class/drm/card1/device/mem_info_gtt_used": 70,
    "class/drm/card1/device/hwmon/hwmon8/name": "amdgpu",
    "class/drm/card1/device/hwmon/hwmon8/power1_average": 68_000_000,
    "class/drm/card1/device/hwmon/hwmon8/power1_cap": 290_000_000,
    "class/drm/card1/device/hwmon/hwmon8/freq1_input": 2_219_000_000,
    "class/drm/card1/device/hwmon/hwmon8/temp1_input": 53_000,
    "class/drm/card1-HDMI-A-1/status": "connected",
}
RAPL = {
    "class/powercap/intel-rapl:0/name": "package-0",
    "class/powercap/intel-rapl:0/energy_uj": 262_143_000_000,
    "class/powercap/intel-rapl:0/max_energy_range_uj": 262_143_328_850,
    "class/powercap/intel-rapl:0:0/name": "core",
    "class/powercap/intel-rapl:0:0/energy_uj": 5,
    "class/powercap/intel-rapl:1/name": "psys",
    "class/powercap/intel-rapl:1/energy_uj": 5,
}
