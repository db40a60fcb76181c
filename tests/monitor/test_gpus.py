"""GPUs that a driver or the system describes."""

from __future__ import annotations

import types

import pytest

from ollama_bench.monitor import gpus
from ollama_bench.monitor.gpus import Gpu, join_names, parse_displays

DISPLAYS = """{
  "SPDisplaysDataType" : [
    {
      "_name" : "kHW_AppleM2ProItem",
      "spdisplays_mtlgpufamilysupport" : "spdisplays_metal3",
      "spdisplays_vendor" : "sppci_vendor_Apple",
      "sppci_bus" : "spdisplays_builtin",
      "sppci_cores" : "19",
      "sppci_device_type" : "spdisplays_gpu",
      "sppci_model" : "Apple M2 Pro"
    }
  ]
}
"""
INTEL_DISPLAYS = """{"SPDisplaysDataType": [
  {"_name": "kHW_IntelUHDGraphics630Item", "sppci_model": "Intel UHD Graphics 630"},
  {"_name": "kHW_AMDRadeonPro5300MItem", "sppci_model": "AMD Radeon Pro 5300M"}]}"""


def test_apple_gpu_by_name_and_cores():
    assert parse_displays(DISPLAYS) == [Gpu("Apple M2 Pro", cores=19)]


def test_gpus_that_count_no_cores():
    gpus = parse_displays(INTEL_DISPLAYS)
    assert gpus == [
        Gpu("Intel UHD Graphics 630"),
        Gpu("AMD Radeon Pro 5300M"),
    ]
    assert (
        join_names(gpus) == "Intel UHD Graphics 630 + AMD Radeon Pro 5300M"
    )


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", "null"])
def test_a_profiler_that_fails_says_nothing(text):
    assert parse_displays(text) == []


def test_a_broken_driver_is_no_gpu(monkeypatch):
    def explode():
        raise RuntimeError("version mismatch")

    monkeypatch.setattr(gpus, "load_nvml", explode)
    assert gpus.find_nvidia_gpus() == []


def test_a_lost_gpu_does_not_hide_the_others(monkeypatch):
    def handle(index):
        if index == 0:
            raise RuntimeError("GPU is lost")
        return index

    monkeypatch.setattr(
        gpus,
        "load_nvml",
        lambda: types.SimpleNamespace(
            nvmlDeviceGetCount=lambda: 2,
            nvmlDeviceGetHandleByIndex=handle,
            nvmlDeviceGetName=lambda handle: f"GPU {handle}",
            nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(
                total=100
            ),
        ),
    )
    assert gpus.find_nvidia_gpus() == [Gpu("GPU 1", 100)]


def test_a_gpu_without_a_figure_of_memory_keeps_its_name():
    def refuse(handle):
        raise RuntimeError("Not Supported")  # GB10

    nvml = types.SimpleNamespace(
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: "NVIDIA GB10",
        nvmlDeviceGetMemoryInfo=refuse,
    )
    assert gpus.describe_nvidia_gpu(nvml, 0) == Gpu("NVIDIA GB10")


PCI_IDS = """# List of PCI ID's
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t744c  Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]
\t\t1002 0e3b  Radeon RX 7900 GRE
8086  Intel Corporation
\te20b  Battlemage G21 [Arc B580]
\t1234  Plain Graphics
"""


@pytest.mark.parametrize(
    "vendor, device, name",
    [
        (
            "0x1002",
            "0x744C",
            "AMD Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M",
        ),
        ("0x8086", "0xe20b", "Intel Arc B580"),
        ("0x8086", "0x1234", "Intel Plain Graphics"),
        ("0x8086", "0x744c", "Intel GPU 0x744c"),
        ("0x1002", "0x1002", "AMD GPU 0x1002"),
    ],
)
def test_gpus_have_the_name_of_the_pci_database(
    tmp_path, monkeypatch, vendor, device, name
):
    (tmp_path / "pci.ids").write_text(PCI_IDS)
    monkeypatch.setattr(
        gpus,
        "PCI_DATABASES",
        (str(tmp_path / "none"), str(tmp_path / "pci.ids")),
    )
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "vendor").write_text(vendor)
    (tmp_path / "device" / "device").write_text(device)
    maker = gpus.MAKERS[vendor]
    assert gpus.read_gpu_name(str(tmp_path), maker) == name
