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
