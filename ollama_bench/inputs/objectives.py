"""objectives.py - what --slo may wish for: ttft=2,tokens_per_s=10,e2e=60."""
from __future__ import annotations

import math

DEFAULT = "ttft=10,tokens_per_s=10"  # ten seconds is how long one stays with it; ten tokens/s outrun a reader
COLUMNS = {  # what may be named: the column of a request, and whether less of it is better
    "ttft": ("ttft_s", True), "ttfat": ("ttfat_s", True), "e2e": ("e2e_s", True), "tpot": ("tpot_s", True),
    "tokens_per_s": ("tokens_per_s", False),
}


def parse(text: str) -> dict[str, float]:
    """name -> bound. Raises ValueError with what is meant."""
    found = {}
    for part in text.split(","):
        name, _, bound = part.partition("=")
        try:
            value = float(bound)
        except ValueError:
            value = math.nan
        if name.strip() not in COLUMNS or not 0 < value < math.inf:
            raise ValueError(f"{part.strip()!r} is no objective: NAME=VALUE is meant, with a name of {', '.join(COLUMNS)}")
        found[name.strip()] = value
    return found
