"""Objectives of --slo: what a request must meet to count as good, e.g. ttft=2,tokens_per_s=10."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

# people wait ten seconds; ten tokens/s outrun a reader
DEFAULT = "ttft=10,tokens_per_s=10"


# A level serves its people if this share of its requests meets every objective.
ENOUGH_RATIO = 0.95
# Of the requests of a level that may be undecided where it is called served.
MOST_UNDECIDED_RATIO = 0.05


class Metric(NamedTuple):
    """What an objective bounds: the column of a request, and which way is better."""

    column: str
    less_is_better: bool


METRICS = {
    "ttft": Metric("ttft_s", True),
    "ttfat": Metric("ttfat_s", True),
    "e2e": Metric("e2e_s", True),
    "tpot": Metric("tpot_s", True),
    "tokens_per_s": Metric("tokens_per_s", False),
}


def is_decided(undecided: int, requests: int) -> bool:
    """Tell whether a level can be judged though some of its requests cannot."""
    return undecided <= MOST_UNDECIDED_RATIO * requests


def known_ratio(level: Mapping[str, Any]) -> float | None:
    """Return the share of good requests of a row of level_summary.

    None where too few can be judged, or the machine slept.
    """
    ended = level["requests"] - level["in_flight"]
    undecided = level["undecided_requests"]
    if level["slept_s"] or not is_decided(undecided or 0, ended):
        return None
    ratio: float | None = level["good_ratio"]
    return ratio


def parse(text: str) -> dict[str, float]:
    """Return name -> bound, in seconds or tokens per second. Raises ValueError."""
    found = {}
    for part in text.split(","):
        name, _, bound = part.partition("=")
        try:
            value = float(bound)
        except ValueError:
            value = math.nan
        if name.strip() not in METRICS or not 0 < value < math.inf:
            raise ValueError(
                f"invalid objective {part.strip()!r}: expected NAME=VALUE "
                f"with a name of {', '.join(METRICS)}"
            )
        found[name.strip()] = value
    return found
