"""NVIDIA GPUs, by a fake of its library."""

import pytest

from ollama_bench.power.nvidia import (
    create_nvidia_source,
    create_nvidia_sources,
)
from tests.power.documents import S
from tests.power.fake_nvml import FakeNvml


def test_nvidia_reads_the_energy_counter_of_each_gpu():
    first, second = create_nvidia_sources(FakeNvml())
    assert [first.device, second.device, first.kind, first.status] == [
        "gpu0",
        "gpu1",
        "counter",
        "ok",
    ]
    assert "RTX 4090" in first.scope
    first.read(S)
    assert first.read(2 * S) == {
        "start_ns": S,
        "end_ns": 2 * S,
        "energy_j": 300.0,
        "gpu_energy_j": 300.0,
        "gpu_busy_ratio": 0.87,
        "gpu_mhz": 2520.0,
        "gpu_memory_bytes": 8 << 30,
        "temperature_c": 61.0,
        "thermal": "software thermal",
    }


@pytest.mark.parametrize(
    "error",
    [FakeNvml.NVMLError_NotSupported, FakeNvml.NVMLError_FunctionNotFound],
)
def test_nvidia_without_the_counter_is_a_gauge(error):
    nvml = FakeNvml(energy=error())
    source = create_nvidia_sources(nvml)[0]
    assert source.kind == "gauge"
    source.read(S)
    assert source.read(2 * S)["energy_j"] == 250.0
    # asked once for each GPU, never again
    assert nvml.calls.count("energy") == 2


@pytest.mark.parametrize(
    "call, column",
    [
        ("busy", "gpu_busy_ratio"),
        ("clock", "gpu_mhz"),
        ("memory", "gpu_memory_bytes"),
        ("temperature", "temperature_c"),
        ("throttle", "thermal"),
    ],
)
def test_nvidia_call_that_is_not_supported_is_asked_once(call, column):
    nvml = FakeNvml(**{call: FakeNvml.NVMLError_NotSupported()})
    source = create_nvidia_source(nvml, 0)
    source.read(S)
    sample = source.read(2 * S)
    assert column not in sample and sample["energy_j"] == 300.0
    assert nvml.calls.count(call) == 1


def test_nvidia_other_errors_are_null_for_the_sample():
    nvml = FakeNvml()
    source = create_nvidia_source(nvml, 0)
    source.read(S)
    nvml.raises["busy"] = FakeNvml.NVMLError_GpuIsLost()
    assert source.read(2 * S)["gpu_busy_ratio"] is None
    del nvml.raises["busy"]
    assert source.read(3 * S)["gpu_busy_ratio"] == 0.87


def test_nvidia_without_energy_and_power_has_its_load():
    source = create_nvidia_source(
        FakeNvml(
            energy=FakeNvml.NVMLError_NotSupported(),
            power=FakeNvml.NVMLError_NotSupported(),
        ),
        0,
    )
    source.read(S)
    sample = source.read(2 * S)
    assert sample["energy_j"] is None and sample["gpu_busy_ratio"] == 0.87


def test_a_lost_gpu_does_not_hide_the_others():
    lost, other = create_nvidia_sources(
        FakeNvml(gpu0=FakeNvml.NVMLError_GpuIsLost("GPU is lost"))
    )
    assert (lost.device, lost.status) == (
        "gpu0",
        "not read: GPU is lost; check `nvidia-smi`",
    ) and not hasattr(lost, "read")
    other.read(S)
    assert (other.device, other.read(2 * S)["energy_j"]) == ("gpu1", 300.0)


def test_nvidia_counter_that_fails_at_first_is_taken_when_it_works():
    nvml = FakeNvml(energy=FakeNvml.NVMLError_GpuIsLost())
    source = create_nvidia_source(nvml, 0)
    assert source.kind == "gauge"
    source.read(S)
    assert source.read(2 * S)["energy_j"] == 250.0
    del nvml.raises["energy"]
    assert (
        source.read(3 * S)["energy_j"] == 250.0
        and source.kind == "counter"
    )  # watts at both ends
    assert source.read(4 * S)["energy_j"] == 300.0
    asked = nvml.calls.count("power")
    source.read(5 * S)
    assert nvml.calls.count("power") == asked


def test_nvidia_counter_that_is_supported_no_more_leaves_the_watts():
    nvml = FakeNvml()
    source = create_nvidia_source(nvml, 0)
    source.read(S)
    nvml.raises["energy"] = FakeNvml.NVMLError_NotSupported()
    # the watts are known at its end only
    assert source.read(2 * S)["energy_j"] is None
    assert (
        source.read(3 * S)["energy_j"] == 250.0 and source.kind == "gauge"
    )


def test_nvidia_counter_that_fails_for_a_moment_forgets_nothing():
    nvml = FakeNvml()
    source = create_nvidia_source(nvml, 0)
    source.read(S)
    nvml.raises["energy"] = FakeNvml.NVMLError_GpuIsLost()
    assert source.read(2 * S) is None and source.kind == "counter"
    del nvml.raises["energy"]
    assert source.read(3 * S)["energy_j"] == 600.0
