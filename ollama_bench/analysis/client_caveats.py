"""What to know of this client's own part in the figures of a study."""

from __future__ import annotations

import re

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import name_place
from ollama_bench.analysis.study import Row, Study
from ollama_bench.terminal.command_line import name_program

MOST_UNSURE_S = 1e-3  # of the clocks of several processes
FIGURE = re.compile(r"\d+(?:\.\d+)?")


def client_limits(study: Study) -> list[Caveat]:
    """Find levels of which the client was the bottleneck, told once for each kind of limit."""
    groups: dict[str, list[Row]] = {}
    for level in study.levels:
        if level["client_limited"] and not level["slept_s"]:
            kind = FIGURE.sub("", level["client_limited_why"])
            groups.setdefault(kind, []).append(level)
    return [
        Caveat(
            f"{name_place(levels)} this client was the bottleneck "
            f"({describe_worst(levels)})",
            "The server may be faster than shown",
            f"Run {name_program('bench')} on another machine, or with a lower level",
        )
        for levels in groups.values()
    ]


def describe_worst(levels: list[Row]) -> str:
    """Return the reason of the level with the highest figures, and which level that is."""
    worst = max(
        levels,
        key=lambda level: [
            float(figure)
            for figure in FIGURE.findall(level["client_limited_why"])
        ],
    )
    reason: str = worst["client_limited_why"]
    if all(level["client_limited_why"] == reason for level in levels):
        return reason
    return f"{name_place([worst])}: {reason}"


def unsure_clocks(study: Study) -> list[Caveat]:
    """Find levels of several processes whose clocks do not agree to a millisecond."""
    return [
        Caveat(
            f"{name_place([level])} the clocks of the workers agree to "
            f"{level['clock_uncertainty_s'] * 1e3:.1f} ms only",
            "Waits and speeds are right, but not which of two requests came first",
            "Use workers nearer to this machine, or a network that is less busy",
        )
        for level in study.levels
        if (level["clock_uncertainty_s"] or 0) > MOST_UNSURE_S
    ]
