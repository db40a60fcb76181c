"""Objectives of --slo: what requests must meet, e.g. ttft=2,tokens_per_s=10, and how many of them.

Those without a share of their own are met together by 95 % of a level's requests; ttft=2@99 is
judged alone: 99 % must meet it. A level is served where each of these demands is reached:

    demands = list_demands(parse("ttft=2@99,tpot=0.1,e2e=60"))
    for demand in demands: print(demand.names, demand.enough)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# people wait ten seconds; ten tokens/s outrun a reader
DEFAULT = "ttft=10,tokens_per_s=10"


# A level serves its people if this share of its requests meets the objectives together.
ENOUGH_RATIO = 0.95
# Of the requests of a level that may be undecided where it is called served.
MOST_UNDECIDED_RATIO = 0.05


class Metric(NamedTuple):
    """What an objective bounds: the column of a request, and which way is better."""

    column: str
    less_is_better: bool


class Objective(NamedTuple):
    """A bound in seconds or tokens per second, and the share that must keep it, 0 to 1.

    None: it is met together with the others that have no share of their own.
    """

    bound: float
    share: float | None = None


class Demand(NamedTuple):
    """Objectives that a request meets together, and which share of a level's requests must."""

    names: tuple[str, ...]  # short names, of METRICS
    enough: float  # 0 to 1


METRICS = {
    "ttft": Metric("ttft_s", True),
    "ttfat": Metric("ttfat_s", True),
    "e2e": Metric("e2e_s", True),
    "tpot": Metric("tpot_s", True),
    "tokens_per_s": Metric("tokens_per_s", False),
}

Objectives = Mapping[str, Objective]  # by short name


def list_demands(objectives: Objectives) -> list[Demand]:
    """Return what a level must reach to be served, each judged by itself."""
    together = tuple(
        name for name, (_, share) in objectives.items() if share is None
    )
    alone = [
        Demand((name,), share)
        for name, (_, share) in objectives.items()
        if share is not None
    ]
    return [Demand(together, ENOUGH_RATIO), *alone] if together else alone


def is_decided(
    undecided: int, requests: int, enough: float = ENOUGH_RATIO
) -> bool:
    """Tell whether a level can be judged though some of its requests cannot."""
    most = min(MOST_UNDECIDED_RATIO, 1 - enough)
    return undecided <= most * requests


def find_reach(demands: Iterable[Mapping[str, Any]]) -> float | None:
    """Return how far a level reached what is demanded: from 1 on it was served.

    demands: its rows of demand_summary. The reach of a demand is the share of its good requests
    / the share that is enough, and that of the level is the least. None where too few could be
    judged, or the machine slept.
    """
    known, is_unknown = [], False
    for row in demands:
        enough = ENOUGH_RATIO if row["share"] is None else row["share"]
        if row["slept_s"] or not is_decided(
            row["undecided_requests"], row["requests"], enough
        ):
            is_unknown = True
        elif row["good_ratio"] is not None:
            known.append(row["good_ratio"] / enough)
    least = min(known, default=None)
    # one that is missed is enough
    return None if is_unknown and (least is None or least >= 1) else least


def parse(text: str) -> dict[str, Objective]:
    """Return the objectives by their short names, in their order. Raises ValueError."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        bound, at, percent = value.partition("@")
        objective = Objective(
            parse_number(bound),
            # exactly what a count / 1000 is
            round(parse_number(percent) / 100, 12) if at else None,
        )
        if (
            name.strip() not in METRICS
            or not 0 < objective.bound < math.inf
        ):
            raise ValueError(
                f"invalid objective {part.strip()!r}: expected NAME=VALUE, "
                f"a number above 0 for one of {', '.join(METRICS)}"
            )
        if at and not 0 < (objective.share or 0) <= 1:
            raise ValueError(
                f"invalid objective {part.strip()!r}: expected a percentage "
                f"above 0 and up to 100 after @"
            )
        if name.strip() in found:
            raise ValueError(
                f"invalid objective {part.strip()!r}: expected {name.strip()} only once"
            )
        found[name.strip()] = objective
    return found


def parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write(objectives: Objectives) -> str:
    """Return objectives as --slo takes them."""
    return ",".join(
        f"{name}={write_one(objective)}"
        for name, objective in objectives.items()
    )


def write_one(objective: Objective) -> str:
    bound = f"{objective.bound:g}"
    if objective.share is None:
        return bound
    return f"{bound}@{100 * objective.share:g}"
