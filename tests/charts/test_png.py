"""PNG files."""

from __future__ import annotations

import struct

import pytest

from ollama_bench.charts.png import PNG_WIDTH_PX, make_png


@pytest.mark.faults
def test_a_png_is_1600_wide(drawn):
    for name in ("timeline", "itl", "performance_metrics"):
        width, height = struct.unpack(">II", make_png(drawn[name])[16:24])
        assert abs(width - PNG_WIDTH_PX) <= 1 and height > 600
