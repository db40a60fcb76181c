"""How sure it is that a level meets the objectives: the share of its good requests, and what more
requests would tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ollama_bench.analysis.service import DemandOutcome, Service
from ollama_bench.analysis.study import Row, Study, read_arguments
from ollama_bench.analysis.wording import (
    count,
    describe_bounds,
    exact_percent,
)
from ollama_bench.inputs.objectives import ENOUGH_RATIO, Objectives
from ollama_bench.statistics.share import (
    ShareEstimate,
    estimate_burst_share,
    estimate_share,
    share_interval,
)

# so many times what was measured is no advice any more
MOST_TIMES = 100
# of requests that are worth fewer it is said how many
ALIKE_RATIO = 0.5
LOOPS = ("closed", "open", "people")


def estimate_good(
    outcomes: Sequence[DemandOutcome], load: str
) -> ShareEstimate | None:
    """Return the share of good requests over the repeats of a level; None without requests."""
    parts = [outcome.strains for outcome in outcomes if outcome.strains]
    good = [[strain <= 1 for strain in strains] for strains in parts]
    if load not in LOOPS:
        return estimate_burst_share(good, strains=parts)
    found = [
        estimate_share(part, strain=strains)
        for part, strains in zip(good, parts, strict=True)
    ]
    independent = sum(one.independent for one in found if one)
    if not independent:
        return None
    return share_interval(
        sum(map(sum, good)),
        sum(map(len, good)),
        independent,
        independent - 1,
    )


def describe_certainty(
    study: Study,
    levels: Sequence[Row],
    services: Mapping[int, Service],
    objectives: Objectives,
) -> str:
    """Say how many requests of a level were good, and how sure their share is.

    Of several demands, it is said of the one that is shown least. Of a search the answer itself
    says how sure it is.
    """
    has_said = any(level.get("trial") for level in levels)
    if has_said and not study.is_rejudged:
        return ""
    demands = [
        services[level["level_id"]].demands
        for level in levels
        if level["level_id"] in services
    ]
    found = [
        (estimate, outcomes)
        for outcomes in zip(*demands, strict=True)
        if (estimate := estimate_good(outcomes, levels[0]["load"]))
    ]
    if not found:
        return ""
    estimate, outcomes = min(
        found, key=lambda pair: pair[0].low / pair[1][0].demand.enough
    )
    text = describe_worth(estimate, outcomes, levels[0]["load"])
    enough = outcomes[0].demand.enough
    if len(found) > 1:
        names = describe_bounds(outcomes[0].demand.names, objectives)
        text += f" got {names}"
    text += f": a share of {write_range(estimate, enough)}"
    needed = advise_more(study, levels, estimate, enough)
    if not needed:
        return text
    return f"{text}; {needed} would show {exact_percent(enough)}"


def describe_worth(
    estimate: ShareEstimate, outcomes: Sequence[DemandOutcome], load: str
) -> str:
    """Say how many requests were good, and what they are worth."""
    good = sum(outcome.good for outcome in outcomes)
    asked = sum(outcome.asked for outcome in outcomes)
    text = f"{good} of {asked}"
    if load not in LOOPS and len(outcomes) == 1 and asked > 1:
        text += " in this burst"
    if estimate.independent < ALIKE_RATIO * asked:
        worth = count(int(estimate.independent), "independent one")
        text += f", worth {worth}"
    return text


def write_range(
    estimate: ShareEstimate, enough: float = ENOUGH_RATIO
) -> str:
    """Return the interval; one that is not above what is enough is not rounded to it."""
    low = round(100 * estimate.low)
    if estimate.low < enough:
        low = min(low, math.ceil(100 * enough) - 1)
    high = round(100 * estimate.high)
    if estimate.share == 1:
        return f"at least {low} %"
    return (
        f"at most {high} %" if not estimate.share else f"{low} to {high} %"
    )


def advise_more(
    study: Study,
    levels: Sequence[Row],
    estimate: ShareEstimate,
    enough: float,
) -> str:
    """Return the option with which a level whose share is high enough would be shown to be served.

    "" where it is shown, where the share is too low or too near, or nobody can fire it again.
    """
    needed = count_needed(estimate.share, enough)
    arguments = read_arguments(study)
    if estimate.low >= enough or needed is None or not arguments:
        return ""
    if arguments[-1].get("trace"):
        return ""  # what it has is what comes
    deadline_s = arguments[-1].get("deadline")
    longest_s: float = max(level["duration_s"] or 0.0 for level in levels)
    if isinstance(deadline_s, float) and longest_s >= deadline_s:
        return ""  # more requests are not begun
    times = needed / estimate.independent
    if times > MOST_TIMES or any(
        run["source"] == "import" for run in study.runs
    ):
        return ""
    if levels[0]["load"] not in LOOPS:
        return f"--repeat {math.ceil(len(levels) * times)}"
    most = max(level["requests"] for level in levels)
    asked = arguments[-1].get("requests")
    # else it was the time that ended them
    if asked and (most >= asked or not arguments[-1].get("duration")):
        return f"--requests {round_up(most * times)}"
    longest = max(level["duration_s"] or 0 for level in levels)
    return f"--duration {round_up(longest * times)}"


def count_needed(share: float, enough: float = ENOUGH_RATIO) -> int | None:
    """Return how many independent requests show that such a share is enough; None: far too many."""
    if share <= enough:
        return None
    needed = 1
    while needed < 100_000:
        if show_least(share, needed) >= enough:
            return needed
        needed = math.ceil(needed * 1.05)
    return None


def show_least(share: float, count: int) -> float:
    """Return the lower end of the interval of such a share of so many independent requests."""
    return share_interval(
        count if share == 1 else share * count, count, count
    ).low


def round_up(number: float) -> int:
    """Return a number of two digits that is as large."""
    step = 1
    while number / step > 100:
        step *= 10
    return math.ceil(number / step) * step
