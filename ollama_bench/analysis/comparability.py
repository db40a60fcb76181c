"""What keeps two studies from being two measurements of the same thing."""

from __future__ import annotations

from sqlite_utils import Database

from ollama_bench.analysis.study import Study

CONDITIONS = {  # column of a level: what its 0 and its 1 mean
    "on_battery": ("on mains", "on battery"),
    "low_power_mode": ("without low power mode", "in low power mode"),
}
LOADS = {"burst": "bursts", "closed": "closed loops", "open": "open loops"}
COUNTED = {
    "server": "tokens",
    "chunks": "chunks",
    "words": "words",
}  # output_tokens_source
MAY_MATTER = "a change may come from that"


def find_doubts(
    database: Database, before: Study, after: Study
) -> list[str]:
    """Return a line for each thing in which the two sides differ, or that spoils one of them."""
    sides = (("from", before), ("to", after))
    found = []
    if simulated := [word for word, study in sides if study.simulated]:
        words = " and ".join(simulated)
        found.append(
            f"{words} simulated: not a measurement of a real machine"
        )
    for word, study in sides:
        found += describe_sleeps(word, study)
    old, new = describe_loads(before), describe_loads(after)
    if old and new and old != new:
        found.append(f"from has {old}, to has {new}: {MAY_MATTER}")
    for column in CONDITIONS:
        old, new = (
            describe_condition(before, column),
            describe_condition(after, column),
        )
        if old and new and old != new:
            found.append(f"from ran {old}, to ran {new}: {MAY_MATTER}")
    old, new = (
        describe_counts(database, before),
        describe_counts(database, after),
    )
    if old and new and old != new:
        found.append(
            f"from counts {old}, to counts {new}: tokens/s and J/token do not compare"
        )
    return found


def describe_sleeps(word: str, study: Study) -> list[str]:
    return [
        f"the machine slept for {level['slept_s']:.0f} s in {word}, "
        f"at {level['concurrency']} at once: that level cannot be trusted and is not compared"
        for level in study.levels
        if level["slept_s"]
    ]


def describe_loads(study: Study) -> str:
    """Return which load the levels are; "" if that is not known of one."""
    kinds: set[tuple[str | None, float | None]] = set()
    for level in study.levels:
        is_open = level["load"] == "open"
        kinds.add((level["load"], level["rate_per_s"] if is_open else None))
    words = []
    for load, rate in sorted(kinds, key=str):
        if load is None:
            return ""
        words.append(
            LOADS[load] + (f" of {rate:g} requests/s" if rate else "")
        )
    return " and ".join(words)


def describe_condition(study: Study, column: str) -> str:
    """Return in which condition the levels ran; "" if that is not known of any."""
    values = {level[column] for level in study.levels} - {None}
    if not values:
        return ""
    partly = "partly " if len(values) > 1 else ""
    return partly + CONDITIONS[column][max(values)]


def describe_counts(database: Database, study: Study) -> str:
    """Return what the output tokens of a study are."""
    marks = ", ".join("?" * len(study.levels))
    rows = database.query(
        f"""
        SELECT DISTINCT output_tokens_source AS source FROM request
        WHERE status = 'completed' AND output_tokens_source IS NOT NULL
          AND level_id IN ({marks}) ORDER BY 1""",
        [level["level_id"] for level in study.levels],
    )
    return " and ".join(COUNTED[row["source"]] for row in rows)
