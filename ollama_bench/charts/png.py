"""Write a chart as a PNG file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import vl_convert

from ollama_bench.charts import theme
from ollama_bench.storage import files

PNG_WIDTH_PX = 1600
SVG_WIDTH = re.compile(r'<svg[^>]* width="([\d.]+)"')
NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def save_png(spec: dict[str, Any], path: Path, top: Path) -> None:
    """Write a Vega-Lite spec as a PNG 1600 px wide, at or below the folder top.

    Raises OSError, and OutputError if a folder on the way is a link.
    """
    svg: str = vl_convert.vegalite_to_svg(
        replace_unprintable(spec), config=theme.config()
    )
    found = SVG_WIDTH.search(svg)
    if found is None:
        raise ValueError(f"the SVG of {path.name} has no width")
    scale = PNG_WIDTH_PX / float(found.group(1))
    files.write(path, vl_convert.svg_to_png(svg, scale=scale), top)


def replace_unprintable(part: Any) -> Any:
    """Return a spec without characters that no SVG can hold; one would end the program."""
    if isinstance(part, str):
        return NOT_IN_XML.sub("·", part)
    if isinstance(part, dict):
        return {
            key: replace_unprintable(value) for key, value in part.items()
        }
    if isinstance(part, list):
        return [replace_unprintable(item) for item in part]
    return part
