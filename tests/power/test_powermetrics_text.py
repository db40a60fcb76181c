"""Logs in the text format of powermetrics, from macOS 11 to 26 and of an Intel Mac."""

import re

import pytest

from ollama_bench.power.powermetrics_text import parse_text
from tests.power.documents import TEXT_11, TEXT_26, TEXT_INTEL, S


def test_text_of_macos_11_without_its_summary():
    (sample,) = parse_text(TEXT_11)
    assert sample["energy_j"] == pytest.approx(1.0) and sample[
        "gpu_energy_j"
    ] == pytest.approx(0.1)
    assert sample["cpu_energy_j"] == pytest.approx(0.9)
    assert (
        sample["gpu_busy_ratio"] == pytest.approx(0.0022)
        and sample["gpu_mhz"] == 707
    )
    assert sample["elapsed_ns"] == S and sample["at_unix"] == 1614624289


def test_text_of_macos_26():
    first, second = parse_text(TEXT_26)
    assert first["energy_j"] == pytest.approx(6.001) and first[
        "gpu_energy_j"
    ] == pytest.approx(4.0)
    assert (
        first["gpu_busy_ratio"],
        first["thermal"],
        first["gpu_mhz"],
    ) == (1.0, "Heavy", 1338)
    assert (
        second["cpu_energy_j"] == pytest.approx(0.6)
        and second["gpu_busy_ratio"] is None
    )


def test_text_of_an_intel_mac():
    (sample,) = parse_text(TEXT_INTEL)
    assert sample["energy_j"] == pytest.approx(24.78)
    assert sample["gpu_mhz"] == 500 and sample[
        "gpu_busy_ratio"
    ] == pytest.approx(0.0072)


def test_text_without_its_header_has_no_energy():
    (sample,) = parse_text(
        "GPU HW active residency:  19.10%\nGPU Power: 132 mW\n"
    )
    assert sample["gpu_busy_ratio"] == pytest.approx(0.191)
    assert (sample["energy_j"], sample["elapsed_ns"]) == (None, None)
    assert parse_text("nothing of the kind\n") == []


@pytest.mark.parametrize("log", [TEXT_11, TEXT_26, TEXT_INTEL])
def test_decimal_commas_are_read_everywhere(log):
    commas = re.sub(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])", r"\1,\2", log)
    assert commas.count(",") > log.count(",") + 1
    assert parse_text(commas) == parse_text(log)


@pytest.mark.parametrize("number", ["1.2.3", "1,2,3", "1.234,5", ",", "e"])
def test_a_damaged_number_is_unknown(number):
    (sample,) = parse_text(
        f"GPU Power: 5 mW\nGPU idle residency: {number}%\n"
        "GPU HW active frequency: 700 MHz\n"
    )
    assert (sample["gpu_busy_ratio"], sample["gpu_mhz"]) == (None, 700)
