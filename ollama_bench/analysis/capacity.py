"""What a search for the capacity has found, again from the loads that it tried."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from ollama_bench.analysis.crowd import name_crowd, say_they_get
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import (
    count,
    describe_bounds,
    describe_objectives,
    digits,
    seconds,
)
from ollama_bench.inputs.objectives import Objectives
from ollama_bench.statistics.capacity_search import (
    LONG_S,
    Capacity,
    CapacitySearch,
    restore_trial,
)
from ollama_bench.statistics.load_scales import STEP, CountScale, RateScale

# a reply of so many is short
SHORT_TOKENS = 32


@dataclass(frozen=True)
class CapacityAnswer:
    """What a search found, and the levels in which it looked."""

    capacity: Capacity
    levels: list[Row]  # in the order in which they were tried
    probes: int

    @property
    def is_rate(self) -> bool:
        """Tell whether it is in requests/s, not in people or requests at once."""
        return bool(self.levels[0]["load"] == "open")

    @property
    def is_shown(self) -> bool:
        """Tell whether it is sure of what is served, or that nothing is; else it looks so."""
        return self.capacity.value is not None or not self.capacity.likely

    @property
    def count(self) -> int | None:
        """Return how many people, or requests at once, are served; None: unknown, or a rate.

        0: not even the fewest that were tried.
        """
        found = self.capacity
        is_known = found.value is not None or found.missed is not None
        if self.is_rate or not (is_known or found.likely):
            return None
        return int(found.value or found.likely)

    def find_level(self) -> Row:
        """Return the last try of the highest load that was shown to be served.

        Else of the highest that looks good, else of the lowest.
        """
        sizes = [find_size(level) for level in self.levels]
        found = self.capacity
        size = found.low or found.likely or min(sizes)
        tried = [one for one in self.levels if find_size(one) == size]
        return tried[-1]


def find_size(level: Row) -> float:
    """Return the load of a level of a search."""
    return float(json.loads(level["trial"])["size"])


def find_search(study: Study) -> CapacityAnswer | None:
    """Return what the newest search of a study has found; None: there was none.

    A search for the most that meet other objectives says nothing of these.
    """
    tried = [level for level in study.levels if level.get("trial")]
    if not tried or study.is_rejudged:
        return None
    newest = max(level["run_id"] for level in tried)
    levels = [level for level in tried if level["run_id"] == newest]
    levels.sort(key=lambda level: int(level["level_id"]))
    trials = [restore_trial(json.loads(one["trial"])) for one in levels]
    sizes = [trial.size for trial in trials]
    load = levels[0]["load"]
    step = STEP if load == "people" else 0.0
    scale: CountScale | RateScale = CountScale(int(max(sizes)), step)
    if load == "open":
        scale = RateScale(sizes[0])
    search = CapacitySearch(scale)
    for trial in trials:
        search.add(trial)
    return CapacityAnswer(search.find_capacity(), levels, len(trials))


def describe_search(answer: CapacityAnswer, objectives: Objectives) -> str:
    """Say the number, its interval, what was missed above it, and the time that it took."""
    found = answer.capacity
    wish = describe_objectives(objectives)
    took = f"{count(answer.probes, 'probe')}, {seconds(found.seconds)}"
    if not found.low and not found.likely and found.missed is None:
        return (
            f"Whether {name(answer, min(map(find_size, answer.levels)))} {wish} "
            f"was not resolved ({took}): a longer --budget would tell."
        )
    if not found.low and found.likely:
        return describe_likely(answer, objectives, took)
    if not found.low:
        lowest = found.missed or 0.0
        missed = describe_missing(answer, objectives)
        if found.low == 0:
            return f"Not even {name(answer, lowest)} {wish}: {missed} ({took})."
        return (
            f"Fewer than {name_size(answer, lowest)} "
            f"get {wish}: {missed} ({took})."
        )
    if found.missed is None:
        return (
            f"At least {name(answer, found.low)} {wish}; "
            f"{describe_more(answer)} ({took})."
        )
    surely = f"{write_interval(answer)}{write_guess(answer)}"
    missed = describe_missing(answer, objectives)
    return (
        f"{name_most(answer)} {wish} ({surely}); "
        f"with {name_number(answer, found.missed)}, {missed} ({took})."
        f"{describe_unresolved(answer)}"
    )


def describe_more(answer: CapacityAnswer) -> str:
    """Say what is known of more than what is shown, where nothing was missed."""
    likely, low = answer.capacity.likely, answer.capacity.low or 0.0
    if likely <= low:
        return "more were not tried, or not resolved"
    return f"{name_number(answer, likely)} too as far as was seen, which is not shown at 95 %"


def describe_likely(
    answer: CapacityAnswer, objectives: Objectives, took: str
) -> str:
    """Say what looks good, where the budget was spent before anything was shown."""
    found = answer.capacity
    wish = describe_objectives(objectives)
    higher = "more were not measured to an end"
    above = [one for one in found.unresolved if one > found.likely]
    if above:
        higher = f"{name_number(answer, above[0])} looks missed"
    if found.missed is not None:
        missed = describe_missing(answer, objectives)
        higher = f"with {name_number(answer, found.missed)}, {missed}"
    return (
        f"{name(answer, found.likely)} {wish} as far as was seen, which is "
        f"not shown at 95 % ({took}): {describe_help(answer)}; {higher}."
    )


def describe_help(answer: CapacityAnswer) -> str:
    """Say what would show what looks good."""
    found = answer.capacity
    if not found.more_s:
        return "a longer --budget would show it"
    if found.more_s <= LONG_S:
        return f"about {seconds(found.more_s)} more would show it"
    level = answer.find_level()
    budget = round_up(found.seconds + found.more_s)
    text = f"that takes hours (--budget {budget})"
    rate = level.get("requests_per_s")
    if rate and not answer.is_rate:
        text = f"at {digits(rate)} requests/s {text}"
    if lasts_by_its_reply(level):
        text += ", less with shorter replies (--tokens)"
    return text


def lasts_by_its_reply(level: Row) -> bool:
    """Tell whether long replies take most of the time from one question to the next."""
    wait_s = level.get("ttft_mean_s") or 0.0
    reply_s = (level.get("e2e_mean_s") or 0.0) - wait_s
    other_s = wait_s + (level.get("think_time_s") or 0.0)
    tokens = level.get("output_tokens_mean") or 0.0
    return reply_s > other_s and tokens > SHORT_TOKENS


def round_up(value: float) -> int:
    """Return two significant digits."""
    unit = int(10 ** max(0, len(f"{value:.0f}") - 2))
    return math.ceil(value / unit) * unit


def write_interval(answer: CapacityAnswer) -> str:
    """Write the interval of the capacity, with its confidence."""
    found = answer.capacity
    low, high = found.low or 0.0, found.missed or 0.0
    if not answer.is_rate:
        high -= 1
    ends = (
        digits(low) if low == high else f"{digits(low)} to {digits(high)}"
    )
    return f"95 %: {ends}"


def write_guess(answer: CapacityAnswer) -> str:
    """Write where in a wide interval the capacity is most likely; "" where the number says it."""
    guess, value = answer.capacity.guess, answer.capacity.value
    if guess is None or value is None or digits(guess) == digits(value):
        return ""
    return f", most likely {digits(guess)}"


def describe_missing(
    answer: CapacityAnswer, objectives: Objectives
) -> str:
    """Say which objective was missed just above the capacity."""
    names = [one for one in answer.capacity.binding if one in objectives]
    if not names:
        return "too few requests met that"
    return f"too few got {describe_bounds(names, objectives)}"


def describe_unresolved(answer: CapacityAnswer) -> str:
    """Say what stayed open, and how much longer it would take."""
    found = answer.capacity
    if not found.unresolved:
        return ""
    sizes = [name_number(answer, size) for size in found.unresolved]
    more = ""
    if found.more_s:
        more = f": about {seconds(found.more_s)} more would tell"
        if found.more_s > LONG_S:
            more = ": an hour more would not tell"
    return f" Not resolved: {', '.join(sizes)}{more}."


def name(answer: CapacityAnswer, size: float) -> str:
    """Write a load as the subject of a sentence."""
    if answer.is_rate:
        return f"{digits(size)} requests/s get"
    return say_they_get(int(size), answer.levels)


def name_most(answer: CapacityAnswer) -> str:
    """Write what was found as the subject of a sentence that it begins."""
    text = name(
        answer, answer.capacity.value or answer.capacity.low or 0.0
    )
    if answer.count == 1:
        return f"{text[0].upper()}{text[1:]}"
    return f"Up to {text}"


def name_size(answer: CapacityAnswer, size: float) -> str:
    if answer.is_rate:
        return f"{digits(size)} requests/s"
    return name_crowd(int(size), answer.levels)


def name_number(answer: CapacityAnswer, size: float) -> str:
    return digits(size) if answer.is_rate else f"{size:.0f}"
