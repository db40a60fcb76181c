"""What an open loop offered, and what of it was answered."""

from __future__ import annotations

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import count, digits


def describe_offered(level: Row) -> str:
    """Say how many requests a second were offered and answered, and whether that is overload."""
    rate = level["rate_per_s"]
    offered, answered = level["offered_per_s"], level["answered_per_s"]
    if offered is None and rate is not None and not level["overloaded"]:
        # too few for a rate of what was answered: the last replies take their time
        return (
            f"{level['completed']} of {level['requests']} requests were answered, "
            f"offered at {write_rate(level)} requests/s"
        )
    if offered is None:
        offered, answered = rate, level["requests_per_s"]
    elif level["overloaded"]:
        # with what was answered after the last one was due: a full server's rate
        answered = max(answered, level["requests_per_s"] or 0)
    if offered is None:
        return (
            f"At no fixed rate, {digits(answered)} requests/s were answered"
        )
    asked = ""
    is_typed = rate is not None and level["trace"] is None
    if is_typed and digits(rate) != digits(offered):
        asked = f" (--rate {rate:g})"
    overload = " (overload)" if level["overloaded"] else ""
    return (
        f"Of {digits(offered)} requests/s offered{asked}, "
        f"{digits(answered)} were answered{overload}"
    )


def write_rate(level: Row) -> str:
    """Write the requests a second that were meant to come: as typed, or a trace's mean."""
    rate: float = level["rate_per_s"]
    return f"{rate:g}" if level["trace"] is None else digits(rate)


def describe_pool_waits(level: Row) -> str:
    """Say how many requests of an open loop found no place when they were due."""
    places = level["concurrency"]
    taken = "the only place" if places == 1 else f"all {places} places"
    return (
        f"{count(level['pool_waits'], 'request')} found {taken} taken when due "
        "(their wait counts from then)"
    )


def describe_overload(level: Row) -> str:
    """Say by how much a level was overloaded, as a line under it."""
    text = describe_offered(level).replace(" (overload)", "")
    return f"overload: {text[0].lower()}{text[1:]}"
