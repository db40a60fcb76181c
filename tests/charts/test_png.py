"""PNG files."""

from __future__ import annotations

import struct

from ollama_bench.charts.png import PNG_WIDTH_PX, save_png


def test_a_png_is_1600_wide(drawn, tmp_path):
    for name in ("timeline", "itl", "performance_metrics"):
        save_png(drawn[name], tmp_path / f"{name}.png", tmp_path)
        width, height = struct.unpack(
            ">II", (tmp_path / f"{name}.png").read_bytes()[16:24]
        )
        assert abs(width - PNG_WIDTH_PX) <= 1 and height > 600
