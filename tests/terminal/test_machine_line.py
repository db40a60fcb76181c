"""The line of the machine: what is known, and what fits."""

import pytest

from ollama_bench.terminal.machine_line import format_machine


def test_machine_line_leaves_out_what_is_not_known():
    assert (
        format_machine({"gpu_power_w": None})
        == "no power or process samples"
    )
    assert "thermal Heavy" in format_machine(
        {"power_w": 30.0, "thermal": "Heavy"}
    )


def test_the_machine_line_has_the_heat_first_and_all_parts_in_80_cells():
    most = {
        "gpu_power_w": 118.24,
        "gpu_mhz": 1396.0,
        "gpu_busy_ratio": 1.0,
        "power_w": 120.4,
        "rss_bytes": 123.4e9,
        "cpu_ratio": 12.34,
        "thermal": "Critical",
    }
    assert (
        format_machine(most)
        == "thermal Critical  GPU 118 W 1396 MHz 100 %  all 120 W  RSS 123 GB  CPU 1234 %"
    )
    usual = format_machine(
        {
            **most,
            "gpu_power_w": 18.24,
            "gpu_busy_ratio": 0.97,
            "power_w": 20.4,
            "rss_bytes": 12.3e9,
            "cpu_ratio": 3.1,
        }
    )
    assert (
        usual
        == "thermal Critical  GPU 18.2 W 1396 MHz 97 %  all 20.4 W  RSS 12.3 GB  CPU 310 %"
    )
    assert max(len(format_machine(most)), len(usual)) <= 80
    long = format_machine(
        {**most, "thermal": "hardware slowdown, software thermal"}
    )
    assert (
        long.startswith(
            "thermal hardware slowdown, software thermal  GPU 118 W 1396 MHz 100 %"
        )
        and len(long) <= 80
    )  # no figure is cut


@pytest.mark.parametrize(
    "rss, footprint, line",
    [
        (6e8, 25e9, "footprint 25.0 GB"),
        (6e8, None, "RSS 0.6 GB"),
        (5e9, 9e8, "RSS 5.0 GB"),
        (None, 25e9, "footprint 25.0 GB"),
    ],
)
def test_the_server_memory_is_called_what_it_is(rss, footprint, line):
    assert (
        format_machine({"rss_bytes": rss, "footprint_bytes": footprint})
        == line
    )
