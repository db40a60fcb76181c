"""Which sources are chosen, and what is said of those that cannot be read."""

import os
import shutil
import sys
import types

import pytest

from ollama_bench.power import sources
from ollama_bench.power.sources import find_sources
from tests.power.fake_nvml import FakeNvml
from tests.power.linux_tree import tree


def test_nvidia_card_whose_driver_is_not_there_says_so(tmp_path):
    (source,) = find_sources(
        sysfs=tree(tmp_path, {"class/drm/card0/device/vendor": "0x10de"})
    )
    assert source.name == "nvml" and "nvidia-smi" in source.status


@pytest.mark.parametrize("vendor", ["0x10de", "0x1af4"])
def test_a_broken_nvidia_driver_does_not_end_us(
    tmp_path, monkeypatch, vendor
):
    """It is said without its card in /sys too: a container shows none."""

    def explode():
        raise RuntimeError("Driver/library version mismatch")

    monkeypatch.setattr(sources, "load_nvml", explode)
    (source,) = find_sources(
        sysfs=tree(tmp_path, {"class/drm/card0/device/vendor": vendor})
    )
    assert "mismatch" in source.status


def test_a_nvidia_driver_without_gpus_says_so(tmp_path, monkeypatch):
    nvml = FakeNvml()
    nvml.nvmlDeviceGetCount = lambda: 0
    monkeypatch.setattr(sources, "load_nvml", lambda: nvml)
    (source,) = find_sources(sysfs=str(tmp_path))
    assert (
        source.status
        == "not read: the NVIDIA driver reports no GPU; check `nvidia-smi`"
    )


def test_macos_without_root_takes_macmon_or_says_how_to_get_power(
    monkeypatch,
):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 501, raising=False)
    monkeypatch.setattr(
        shutil, "which", lambda name: "/opt/homebrew/bin/macmon"
    )
    (source,) = find_sources()
    assert source.name == "macmon"
    assert source.launcher.commands == [
        ["/opt/homebrew/bin/macmon", "pipe", "-i", "1000"]
    ]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (source,) = find_sources()
    assert (
        "sudo" in source.status and "brew install macmon" in source.status
    )


def test_root_starts_no_program_that_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(shutil, "which", lambda name: "/tmp/evil/macmon")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    (source,) = find_sources()
    assert source.name == "powermetrics"
    # as a worker of a fleet that root has started
    assert source.launcher.commands[0][0] == "/usr/bin/powermetrics"
    broken = types.SimpleNamespace(sampler=False, rapl=[], failure="why")
    (source,) = find_sources(broken)
    assert source.status == "not read: why"


@pytest.mark.parametrize("user, name", [(501, "macmon"), (0, None)])
def test_macmon_stands_in_for_roots_powermetrics_but_never_runs_as_root(
    monkeypatch, user, name
):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    monkeypatch.setattr(
        shutil, "which", lambda name: "/opt/homebrew/bin/macmon"
    )
    (source,) = find_sources(types.SimpleNamespace(sampler=True, rapl=[]))
    assert source.name == "powermetrics"
    assert (source.successor().name if source.successor else None) == name
