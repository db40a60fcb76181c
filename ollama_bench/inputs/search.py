"""The options of a search for the capacity: filled in, and checked together."""

from __future__ import annotations

from typing import Any

from ollama_bench.inputs import options

BUDGET_S = 600.0
# of each search: the options of what it decides by itself
DECIDES = {
    "find_rate": (
        "find_capacity",
        "rate",
        "requests",
        "duration",
        "think_time",
        "trace",
        "ramp",
    ),
    "find_capacity": ("rate",),
}

Values = dict[str, Any]  # option name: converted value


def complete_search(values: Values) -> None:
    """Fill in the budget of a search for the capacity; the others have none."""
    values["search_budget"] = None
    if not (values["find_capacity"] or values["find_rate"]):
        return
    values["search_budget"] = values["budget"] or BUDGET_S
    values["budget"] = None
    search = "find_rate" if values["find_rate"] else "find_capacity"
    for name in DECIDES[search]:
        if values[name]:
            flags = [options.BY_NAME[one].flag for one in (search, name)]
            raise ValueError(f"{' and '.join(flags)} exclude each other")


def check_search(values: Values) -> None:
    """Refuse what a search decides by itself, or cannot do."""
    flag = "--find-rate" if values["find_rate"] else "--find-capacity"
    if values["repeat"] > 1:
        raise ValueError(
            f"{flag} repeats what it must: --repeat {values['repeat']} is for LEVELS"
        )
    if values["cache"] == "both":
        raise ValueError(
            f"{flag} needs one cache: use --cache cold or --cache warm"
        )
