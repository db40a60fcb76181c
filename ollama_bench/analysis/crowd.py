"""What the number of a level counts: requests at once, people who think, or requests/s of a search.

name_count(4, study.levels)      4 at once, 4 people, up to 4 at once
name_place(levels)                   at 1, 2 and 4 at once, with 4 people, at 0.5 requests/s
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ollama_bench.analysis.offered import write_rate
from ollama_bench.analysis.study import Row, Size
from ollama_bench.analysis.wording import join, seconds

AT_ONCE, PEOPLE, RATE = "at once", "people", "requests/s"


def noun(levels: Sequence[Row]) -> str:
    """Return what these levels count, to stand above or after their numbers."""
    if levels and all(level.get("load") == "people" for level in levels):
        return PEOPLE
    if levels and all(level.get("probe_rate_per_s") for level in levels):
        return RATE
    return AT_ONCE


def name_axis(crowd: str) -> str:
    """Return a noun as it stands under an axis: "requests at once", "people", "requests/s"."""
    return f"requests {crowd}" if crowd == AT_ONCE else crowd


def name_count(count: Size, levels: Sequence[Row]) -> str:
    """Write a number of what these levels count, or several as a text."""
    if noun(levels) == PEOPLE:
        return "1 person" if str(count) == "1" else f"{count} people"
    if noun(levels) == RATE:
        number = count if isinstance(count, str) else f"{count:.12g}"
        return f"{number} requests/s"
    is_limit = bool(levels) and all(
        level.get("load") == "open" for level in levels
    )
    return f"{'up to ' if is_limit else ''}{count} at once"


def name_loads(levels: Sequence[Row]) -> str:
    """Write which levels these are: "1, 2 and 4 at once", by their rates if they have some."""
    if all(level.get("rate_per_s") for level in levels):
        rates = {
            level["rate_per_s"]: write_rate(level) for level in levels
        }
        listed = join([rates[rate] for rate in sorted(rates)])
        return f"{listed} requests/s"
    numbers = sorted({level["concurrency"] for level in levels})
    return name_count(join([*map(str, numbers)]), levels)


def name_place(levels: Sequence[Row]) -> str:
    """Write where in a study something was seen: "at 4 at once", "with 4 people"."""
    return f"{preposition(levels)} {name_loads(levels)}"


def name_places(
    counts: Size | Iterable[Size], levels: Sequence[Row]
) -> str:
    """Write the same of numbers; levels: some whose kind tells what they count."""
    numbers = [*counts] if isinstance(counts, Iterable) else [counts]
    named = name_count(join([*map(str, numbers)]), levels)
    return f"{preposition(levels)} {named}"


def preposition(levels: Sequence[Row]) -> str:
    return "with" if noun(levels) == PEOPLE else "at"


def name_crowd(count: int, levels: Sequence[Row]) -> str:
    """Write a number of these as those who are served, with how long people think."""
    think_time_s = levels[0].get("think_time_s") if levels else None
    if think_time_s is None:
        return "one at a time" if count == 1 else f"{count} at once"
    think = "thinks" if count == 1 else "think"
    return (
        f"{name_count(count, levels)} who {think} {seconds(think_time_s)}"
    )


def say_they_get(count: int, levels: Sequence[Row]) -> str:
    """Write so many of these levels as the subject of "... get replies"."""
    return f"{name_crowd(count, levels)} {'gets' if count == 1 else 'get'}"
