"""Turn a chart into a PNG."""

from __future__ import annotations

import re
from typing import Any

import vl_convert

from ollama_bench.charts import theme

PNG_WIDTH_PX = 1600
SVG_WIDTH = re.compile(r'<svg[^>]* width="([\d.]+)"')
# what no XML holds, and what Vega cuts into halves where a text is too long
UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff\U00010000-\U0010ffff]"
)


def make_png(spec: dict[str, Any], width_px: int = PNG_WIDTH_PX) -> bytes:
    """Return a Vega-Lite spec as a PNG of this width; ValueError where it cannot be drawn."""
    svg: str = vl_convert.vegalite_to_svg(
        replace_unprintable(spec), config=theme.config()
    )
    found = SVG_WIDTH.search(svg)
    if found is None:
        raise ValueError("the SVG of the chart has no width")
    scale = width_px / float(found.group(1))
    return vl_convert.svg_to_png(svg, scale=scale)


def replace_unprintable(part: Any) -> Any:
    """Return a spec without characters that cannot be drawn; one would end the program."""
    if isinstance(part, str):
        return UNPRINTABLE.sub("·", part)
    if isinstance(part, dict):
        return {
            key: replace_unprintable(value) for key, value in part.items()
        }
    if isinstance(part, list):
        return [replace_unprintable(item) for item in part]
    return part
