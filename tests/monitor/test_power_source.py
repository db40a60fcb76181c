"""Which power sources are polled and which are streamed, and what a sample knows."""

from __future__ import annotations

from ollama_bench.monitor.power_source import (
    IntervalSource,
    PolledSource,
    Sample,
    StreamedSource,
)
from ollama_bench.power import power


def test_each_source_of_the_power_room_is_of_its_kind():
    counter = power.Polled("rapl", "package-0", "counter", "CPU", dict, part="cpu")
    absent = power.Absent("powermetrics", "soc", "interval", "not read")
    for streamed in (
        power.powermetrics_source(power.Child([["powermetrics"]])),
        power.macmon_source(["macmon"]),
    ):
        assert isinstance(streamed, StreamedSource) and isinstance(streamed, IntervalSource)
        assert not isinstance(streamed, PolledSource)
    assert isinstance(counter, PolledSource) and not isinstance(counter, IntervalSource)
    assert not isinstance(absent, (PolledSource, StreamedSource))


def test_a_sample_without_a_parts_energy_has_no_sum():
    sample = Sample(0, 2 * 10**9, energy_j=8.0, gpu_energy_j=6.0, cpu_energy_j=2.0, gpu_mhz=900.0)
    assert (sample.power_w, sample.gpu_power_w) == (4.0, 3.0)
    cpu_unknown = sample.without_energy_of("cpu")
    assert (cpu_unknown.power_w, cpu_unknown.gpu_power_w) == (None, 3.0)
    assert sample.without_energy_of("gpu").cpu_energy_j == 2.0
    assert not sample.without_energy().has_energy and sample.without_energy().gpu_mhz == 900.0


def test_a_samples_row_counts_from_the_beginning_of_the_run():
    row = Sample(700, 900, energy_j=0.0, thermal="Nominal").to_row(origin_ns=500)
    assert (row["start_ns"], row["end_ns"], row["energy_j"]) == (200, 400, 0.0)
    assert row["thermal"] == "Nominal" and row["gpu_energy_j"] is None
