"""Values that no device can have are unknown."""

from __future__ import annotations

import pytest

from ollama_bench.power.polled import drop_implausible


@pytest.mark.parametrize(
    "name, value, kept",
    [
        ("watts", 350.0, True),
        ("watts", 0.0, True),
        ("watts", 4294967.295, False),
        ("watts", -1.0, False),
        ("gpu_busy_ratio", 1.0, True),
        ("gpu_busy_ratio", 655.35, False),
        ("gpu_mhz", 0.0, True),
        ("gpu_mhz", 4294967295.0, False),
        ("temperature_c", 0.0, False),
        ("temperature_c", 61.0, True),
        ("temperature_c", 511.0, False),
        ("gpu_memory_bytes", 2**64 - 1, False),
        ("joules", 1e12, True),
        ("thermal", "none", True),
    ],
)
def test_what_no_device_can_show_is_unknown(name, value, kept):
    assert drop_implausible({name: value}) == {
        name: value if kept else None
    }
