"""What an open loop offered, and what of it was answered."""

from __future__ import annotations

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import count, digits, interval, seconds

# how the error of a request begins that waited when its level was saturated
NOT_AWAITED = "not awaited"
LOWER_RATE = "Lower --rate"


def describe_offered(level: Row) -> str:
    """Say how many requests a second were offered and answered, and whether it was saturated."""
    rate = level["rate_per_s"]
    offered, answered = level["offered_per_s"], level["answered_per_s"]
    if offered is None and rate is not None and not level["saturated"]:
        # too few for a rate of what was answered: the last replies take their time
        return (
            f"{level['completed']} of {level['requests']} requests were answered, "
            f"offered at {write_rate(level)} requests/s"
        )
    if offered is None:
        offered, answered = rate, level["requests_per_s"]
    elif level["saturated"]:
        # with what was answered after the last one was due: a full server's rate
        answered = max(answered, level["requests_per_s"] or 0)
    if offered is None:
        return f"At no fixed rate, {digits(answered)} requests/s were answered"
    asked = ""
    is_typed = rate is not None and level["trace"] is None
    if is_typed and digits(rate) != digits(offered):
        asked = f" (--rate {rate:g})"
    saturated = " (saturated)" if level["saturated"] else ""
    return (
        f"Of {digits(offered)} requests/s offered{asked}, "
        f"{digits(answered)} were answered{saturated}"
    )


def write_rate(level: Row) -> str:
    """Write the requests a second that were meant to come: as typed, or a trace's mean."""
    rate: float = level["rate_per_s"]
    return f"{rate:g}" if level.get("trace") is None else digits(rate)


def describe_pool_waits(level: Row) -> str:
    """Say how many requests of an open loop found no place when they were due."""
    places = level["concurrency"]
    taken = "the only place" if places == 1 else f"all {places} places"
    return (
        f"{count(level['pool_waits'], 'request')} found {taken} taken when due "
        "(their wait counts from then)"
    )


def describe_saturation(level: Row) -> str:
    """Say that a level was saturated, and by how much, as a line under it."""
    if text := describe_growth(level):
        return f"saturated: {text}"
    text = describe_offered(level).replace(" (saturated)", "")
    return f"saturated: {text[0].lower()}{text[1:]}"


def describe_gone(level: Row) -> str:
    """Say that the server stopped in the middle of a level; "" where it did not."""
    gone_s = level.get("server_gone_s")
    if gone_s is None:
        return ""
    was = "" if level["saturated"] else ": it failed, it was not saturated"
    return (
        "the server answered nothing more after "
        f"{seconds(gone_s)} of the level{was}"
    )


def describe_growth(level: Row) -> str:
    """Say by how much the queue of a saturated level grew; "" where that is not known."""
    value, low = (
        level["queue_growth_per_s"],
        level["queue_growth_low_per_s"],
    )
    if not level["saturated"] or low is None or low <= 0:
        return ""
    surely = interval(low, level["queue_growth_high_per_s"], digits)
    grew = f"{digits(value)} requests/s"
    if surely:
        grew += f" ({surely})"
    rate = level["rate_per_s"] or level["offered_per_s"]
    return (
        f"the queue grew by {grew}: "
        f"the server cannot keep up with {digits(rate)} requests/s"
    )


def describe_arrivals(level: Row) -> str:
    """Say how the times between arrivals vary, after their rate; "" for Poisson arrivals."""
    if level["trace"] is not None:
        return f" on average, as in {level['trace']}"
    cv = level["arrival_cv"]
    if cv is None or cv == 1:
        return ""
    if not cv:
        return " at even gaps"
    return f" {'in bursts' if cv > 1 else 'evenly'} (gamma, CV {cv:g})"


def lost_servers(study: Study) -> list[Caveat]:
    """Return the levels in the middle of which the server stopped."""
    return [
        Caveat(
            gone,
            "What came later has failed, and tells nothing of that rate",
            "Look into the server's log, start it again and measure again",
        )
        for level in study.levels
        if (gone := describe_gone(level))
    ]


def find_probes(study: Study) -> set[int]:
    """Return the ids of the levels of a search: it looks for what is too much."""
    return {
        level["level_id"] for level in study.levels if level.get("trial")
    }


def is_too_much(outcome: Row) -> bool:
    """Tell whether requests were not sent, or not awaited, because too many came."""
    example = outcome["example"] or ""
    return outcome["status"] == "not_sent" or example.startswith(
        NOT_AWAITED
    )


def saturated_levels(study: Study) -> list[Caveat]:
    """Return the levels whose queue was seen to grow, though no search looked for that."""
    probes = find_probes(study)
    return [
        Caveat(
            growth,
            "The longer such a level, the longer its waits; it was ended early",
            LOWER_RATE,
        )
        for level in study.levels
        if (growth := describe_growth(level))
        and level["level_id"] not in probes
    ]
