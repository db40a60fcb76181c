"""Which power sources are polled and which are streamed, and what a sample knows."""

from __future__ import annotations

import sys

from ollama_bench.monitor.power_source import (
    IntervalSource,
    PolledSource,
    Sample,
    StreamedSource,
)
from ollama_bench.power.macmon import create_macmon_source
from ollama_bench.power.source import Absent
from ollama_bench.power.sources import find_sources


def show_amd_gpu(sysfs):
    """Make a tree like /sys in which the driver shows a card's watts."""
    hwmon = sysfs / "class/drm/card0/device/hwmon/hwmon3"
    hwmon.mkdir(parents=True)
    (hwmon / "../../vendor").write_text("0x1002\n")
    for name, text in {
        "name": "amdgpu",
        "power1_average": "20000000",
        "power1_cap": "1",
    }.items():
        (hwmon / name).write_text(f"{text}\n")


def test_each_source_of_the_power_room_is_of_its_kind(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "platform", "linux")
    show_amd_gpu(tmp_path)
    (gauge,) = [
        found
        for found in find_sources(sysfs=str(tmp_path))
        if found.name == "amdgpu"
    ]
    absent = Absent("powermetrics", "soc", "interval", "not read")
    for streamed in (
        find_sources(powermetrics_command=["powermetrics"])[0],
        create_macmon_source(["macmon"]),
    ):
        assert isinstance(streamed, StreamedSource) and isinstance(
            streamed, IntervalSource
        )
        assert not isinstance(streamed, PolledSource)
    assert isinstance(gauge, PolledSource) and not isinstance(
        gauge, IntervalSource
    )
    assert not isinstance(absent, (PolledSource, StreamedSource))


def test_a_sample_without_a_parts_energy_has_no_sum():
    sample = Sample(
        0,
        2 * 10**9,
        energy_j=8.0,
        gpu_energy_j=6.0,
        cpu_energy_j=2.0,
        gpu_mhz=900.0,
    )
    assert (sample.power_w, sample.gpu_power_w) == (4.0, 3.0)
    cpu_unknown = sample.without_energy_of("cpu")
    assert (cpu_unknown.power_w, cpu_unknown.gpu_power_w) == (None, 3.0)
    assert sample.without_energy_of("gpu").cpu_energy_j == 2.0
    assert (
        not sample.without_energy().has_energy
        and sample.without_energy().gpu_mhz == 900.0
    )


def test_a_samples_row_counts_from_the_beginning_of_the_run():
    row = Sample(700, 900, energy_j=0.0, thermal="Nominal").to_row(
        origin_ns=500
    )
    assert (row["start_ns"], row["end_ns"], row["energy_j"]) == (
        200,
        400,
        0.0,
    )
    assert row["thermal"] == "Nominal" and row["gpu_energy_j"] is None
