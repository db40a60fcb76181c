"""AMD and Intel GPUs under Linux, in a folder like /sys."""

import pytest

from ollama_bench.power.sources import find_sources
from tests.power.documents import S
from tests.power.linux_tree import AMD, RAPL, tree


def test_amd_card(tmp_path):
    (source,) = find_sources(sysfs=tree(tmp_path, AMD))
    source.read(S)
    assert source.read(2 * S) == {
        "start_ns": S,
        "end_ns": 2 * S,
        "energy_j": 68.0,
        "gpu_energy_j": 68.0,
        "gpu_busy_ratio": 0.3,
        "gpu_mhz": 2219.0,
        "gpu_memory_bytes": 500,
        "temperature_c": 53.0,
    }
    assert (source.name, source.device, source.kind) == (
        "amdgpu",
        "card1",
        "gauge",
    )


def test_amd_card_that_answers_with_an_error(tmp_path):
    files = {
        name: content
        for name, content in AMD.items()
        if "busy" not in name
    }
    root = tree(tmp_path, files)
    (
        tmp_path / "class/drm/card1/device/gpu_busy_percent"
    ).mkdir()  # reading it fails, as EBUSY would
    (source,) = find_sources(sysfs=root)
    source.read(S)
    assert source.read(2 * S)["gpu_busy_ratio"] is None


def test_amd_card_without_any_watts_is_no_source(tmp_path):
    assert (
        find_sources(
            sysfs=tree(
                tmp_path,
                {name: AMD[name] for name in AMD if "power1" not in name},
            )
        )
        == []
    )


def test_amd_apu_counts_the_cpu_so_rapl_is_left_out(tmp_path):
    files = {
        name: content
        for name, content in AMD.items()
        if "power1_cap" not in name
    }
    (source,) = find_sources(sysfs=tree(tmp_path, {**files, **RAPL}))
    source.read(S)
    sample = source.read(2 * S)
    assert sample["energy_j"] == 68.0 and "gpu_energy_j" not in sample
    assert (
        sample["gpu_memory_bytes"] == 570 and "CPU and GPU" in source.scope
    )


def intel(**hwmon):
    files = {
        f"class/drm/card0/device/hwmon/hwmon2/{name}": content
        for name, content in hwmon.items()
    }
    return {
        "class/drm/card0/device/vendor": "0x8086",
        "class/drm/card0/device/hwmon/hwmon2/name": "xe",
        "class/drm/card0/device/tile0/gt0/freq0/act_freq": 2400,
        **files,
    }


@pytest.mark.parametrize(
    "hwmon",
    [
        {"energy1_input": 5_000_000},
        {"energy2_input": 5_000_000},
        {"energy1_input": 0, "energy2_input": 5_000_000},
    ],
)
def test_intel_card_counts_with_the_counter_that_moves(tmp_path, hwmon):
    (source,) = find_sources(
        sysfs=tree(tmp_path, intel(**hwmon, temp2_input=46000))
    )
    source.read(S)
    moving = max(hwmon, key=hwmon.get)
    (
        tmp_path / f"class/drm/card0/device/hwmon/hwmon2/{moving}"
    ).write_text("65000000\n")
    sample = source.read(2 * S)
    assert (
        sample["energy_j"],
        sample["gpu_mhz"],
        sample["temperature_c"],
    ) == (60.0, 2400.0, 46.0)


def test_intel_counter_that_stands_still_is_left_for_the_one_that_moves(
    tmp_path,
):
    (source,) = find_sources(
        sysfs=tree(
            tmp_path,
            intel(energy1_input=9_000_000, energy2_input=5_000_000),
        )
    )
    hwmon = tmp_path / "class/drm/card0/device/hwmon/hwmon2"
    assert source.read(S) is None
    assert source.read(2 * S) is None  # neither has moved
    (hwmon / "energy2_input").write_text("65000000\n")
    assert source.read(3 * S) | {"gpu_mhz": 0, "temperature_c": 0} == {
        "start_ns": S,
        "end_ns": 3 * S,
        "energy_j": 60.0,
        "gpu_energy_j": 60.0,
        "gpu_mhz": 0,
        "temperature_c": 0,
    }
    (hwmon / "energy1_input").write_text("9000001\n")
    # it is the second for good
    assert source.read(4 * S)["energy_j"] == 0.0


def test_integrated_intel_gpu_is_left_to_rapl(tmp_path):
    files = {
        "class/drm/card0/device/vendor": "0x8086",
        "class/drm/card0/gt_act_freq_mhz": 300,
    }
    assert find_sources(sysfs=tree(tmp_path, files)) == []
