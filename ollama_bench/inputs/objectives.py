"""Objectives of --slo: what a request must meet to count as good, e.g. ttft=2,tokens_per_s=10."""

from __future__ import annotations

import math
from typing import NamedTuple

# people wait ten seconds; ten tokens/s outrun a reader
DEFAULT = "ttft=10,tokens_per_s=10"


# A level serves its people if this share of its requests meets every objective.
ENOUGH_RATIO = 0.95


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
