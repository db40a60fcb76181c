"""How figures are written in sentences, caveats and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ollama_bench.analysis.study import Row
from ollama_bench.inputs.objectives import Objectives
from ollama_bench.terminal.figures import format_duration as short_time

OBJECTIVES = {  # after "gets" and "got"
    "tokens_per_s": "at least {} tokens/s",
    "tpot": "a token every {} s",
    "ttft": "the first token within {} s",
    "ttfat": "the first answer token within {} s",
    "e2e": "the whole reply within {} s",
}


def seconds(value: float | None) -> str:
    """Write a duration as the tables of the terminal do."""
    return short_time(value)


def name_run(run: Row) -> str:
    """Return a run of the view runs as "1", or as "1 (before)" where it has a label."""
    number, label = str(run["run_id"]), str(run["label"])
    # what the file calls a run without a label
    is_unnamed = label == f"{run['source']} {number}"
    return number if is_unnamed else f"{number} ({label})"


def digits(value: float | None) -> str:
    """Write three significant digits, whole numbers in full, a dash for unknown."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.2g}"


def percent(ratio: float) -> str:
    value = round(ratio * 100, 1)
    is_whole = value >= 10 or value == int(value)
    return f"{value:.0f} %" if is_whole else f"{value} %"


def span(
    values: Sequence[float], write: Callable[[float], str] = digits
) -> str:
    """Write the least and the most, with a shared unit once, such as "82 to 100 %"."""
    low, high = write(min(values)), write(max(values))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    if unit and high.endswith(f" {unit}"):
        low = number
    return f"{low} to {high}"


def interval(
    low: float | None, high: float | None, write: Callable[[float], str]
) -> str:
    """Write a 95 % interval; "" where it is unknown, or as written has no width."""
    if low is None or high is None or write(low) == write(high):
        return ""
    return f"95 %: {span((low, high), write)}"


def join(parts: Sequence[str]) -> str:
    """Join words as in a sentence: "1, 2 and 4"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 request", "3 replies"."""
    if number == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {many}"


def list_levels(levels: Sequence[Row]) -> str:
    """Write the concurrencies of some levels, such as "1, 2 and 4"."""
    return join(
        [
            str(n)
            for n in sorted({level["concurrency"] for level in levels})
        ]
    )


def describe_objective(name: str, bound: float) -> str:
    return OBJECTIVES[name].format(digits(bound))


def describe_objectives(objectives: Objectives) -> str:
    """Write objectives as the end of "each gets ...", speed first, and shares of their own."""
    return join(
        [
            describe_objective(name, objectives[name].bound)
            + describe_share(objectives[name].share)
            for name in OBJECTIVES
            if name in objectives
        ]
    )


def describe_bounds(names: Iterable[str], objectives: Objectives) -> str:
    """Write some of the objectives as the end of "each gets ...", without their shares."""
    chosen = set(names)
    return join(
        [
            describe_objective(name, objectives[name].bound)
            for name in OBJECTIVES
            if name in chosen
        ]
    )


def describe_share(share: float | None) -> str:
    """Write the share that an objective has of its own, to follow it."""
    if share is None:
        return ""
    return " (all of them)" if share == 1 else f" ({exact_percent(share)})"


def exact_percent(share: float) -> str:
    """Write a share as it was typed: 99.95 % is not 100 %."""
    return f"{100 * share:g} %"
