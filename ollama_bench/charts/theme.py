"""Colours and sizes of every chart.

A plot is WIDTH x HEIGHT in the units of Vega-Lite; the PNG shows it about twice as large.
"""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 720, 340  # of a plot that stands alone
SMALL_HEIGHT = 170  # of each plot in a stack

BLUE = "#2f7ed8"
ORANGE = "#e69f00"
GREEN = "#1b9e77"
RED = "#d7301f"
GREY = "#8b949e"
PURPLE = "#8e6bbf"
AMBER = "#d97706"
PALE_RED = "#f4b6ad"
DARK_RED = "#7f1d12"
PALETTE = [
    BLUE,
    ORANGE,
    GREEN,
    PURPLE,
    "#56b4e9",
    "#cc79a7",
    "#a6761d",
    GREY,
]

# No mark has these colours: the style sheet of the page replaces them on a dark screen.
TEXT, FAINT, PAGE = "#20262d", "#dde1e6", "#ffffff"


def config() -> dict[str, Any]:
    """Return the Vega-Lite config that every chart is drawn with."""
    halo = {
        "fill": PAGE,
        "stroke": PAGE,
        "strokeWidth": 4,
        "strokeJoin": "round",
    }
    return {
        "background": PAGE,
        "font": "Helvetica, Arial, sans-serif",
        "padding": 14,
        "title": {
            "color": TEXT,
            "fontSize": 19,
            "subtitleFontSize": 13,
            "subtitlePadding": 5,
        },
        **style_axes(),
        "style": {"halo": halo},  # keeps lines off the numbers
        "legend": {
            "labelColor": TEXT,
            "titleColor": TEXT,
            "labelFontSize": 13,
            "titleFontSize": 13,
            "orient": "top",
            "title": None,
            "symbolStrokeWidth": 3,
        },
        "text": {"color": TEXT, "fontSize": 13},
        "rule": {"color": TEXT},
        "tick": {"color": TEXT},
        "view": {"stroke": None},
        "range": {"category": PALETTE},
        "point": {"filled": True, "size": 70},
    }


def style_axes() -> dict[str, Any]:
    return {
        "axis": {
            "labelColor": TEXT,
            "titleColor": TEXT,
            "gridColor": FAINT,
            "domainColor": FAINT,
            "tickColor": FAINT,
            "labelFontSize": 13,
            "titleFontSize": 13,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "labelAngle": 0,
        },
        "axisX": {
            "grid": False,
            "labelFontSize": 11.5,
            "labelOverlap": "greedy",
            "labelSeparation": 3,
        },
        "axisXQuantitative": {"labelSeparation": 8},
    }
