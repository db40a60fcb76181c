"""Print a comparison of two studies on the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ollama_bench.analysis.comparison import (
    FEWEST,
    Change,
    Comparison,
    total,
)
from ollama_bench.analysis.conditions import COMPARED
from ollama_bench.analysis.gate import signed
from ollama_bench.analysis.study import Study
from ollama_bench.analysis.wording import digits
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import clean, shorten

HEADING = "\nat once  what            before    after   change  95 % interval      verdict"
LINE_CELLS = 79


def print_comparison(
    before: Study, after: Study, doubts: Sequence[str], found: Comparison
) -> None:
    """Print what is compared, what speaks against it, and every change."""
    print_wrapped(f"from {describe_study(before)}")
    print_wrapped(f"to   {describe_study(after)}")
    for doubt in doubts:
        print_wrapped(f"! {doubt}")
    print(HEADING)
    for n in [*found.shared, None]:
        for line in lines_at(n, found):
            print(line)
    print_unshared(found)
    if any(change.verdict == "unknown" for change in found.changes):
        print(
            f"\nunknown: fewer than {FEWEST} measurements on a side; "
            f"use {name_program('bench')} --repeat {FEWEST}"
        )


def describe_study(study: Study) -> str:
    runs = [
        f"run {run['run_id']} ({shorten(str(run['label']))})"
        for run in study.runs
    ]
    return f"{shorten(study.model)}: {', '.join(runs)}"


def lines_at(n: int | None, found: Comparison) -> list[str]:
    """Return the lines of a level, or of all levels for None."""
    lines = [] if n is None else failure_lines(n, found)
    return lines + [
        change_line(change) for change in found.changes if change.at == n
    ]


def failure_lines(n: int, found: Comparison) -> list[str]:
    """Return a line with how many requests failed at a level, of how many; none if none did."""
    sides = []
    for levels in (found.before.get(n, []), found.after.get(n, [])):
        errors, completed = (
            total(levels, "errors"),
            total(levels, "completed"),
        )
        sides.append((errors, errors + completed))
    if not any(errors for errors, _ in sides):
        return []
    old, new = (f"{errors}/{requests}" for errors, requests in sides)
    return [f"{n:>7}  {'failed':<13} {old:>8} {new:>8}"]


def change_line(change: Change) -> str:
    place, before, after = "all", "", ""
    if change.at is not None:
        place, before, after = (
            str(change.at),
            digits(change.before),
            digits(change.after),
        )
    ratio = "" if change.log_ratio is None else signed(change.ratio)
    interval = ""
    if change.interval is not None:
        interval = " to ".join(map(signed, change.interval))
    what = COMPARED[change.metric]
    figures = f"{before:>8} {after:>8} {ratio:>8}  {interval:<18}"
    return f"{place:>7}  {what:<13} {figures} {change.verdict}"


def print_unshared(found: Comparison) -> None:
    for word, own, other in (
        ("from", found.before, found.after),
        ("to", found.after, found.before),
    ):
        if only := sorted(set(own) - set(other)):
            print_wrapped(
                f"only in {word}: {', '.join(map(str, only))} at once"
            )


def print_wrapped(text: str) -> None:
    print(textwrap.fill(clean(text), LINE_CELLS, subsequent_indent="     "))
