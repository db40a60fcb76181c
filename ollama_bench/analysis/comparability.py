"""What keeps two sides, or two levels of one run, from being two measurements of the same thing.

    for difference in find_differences(database, before, after): difference.text, difference.levels

A level of which something is said here is shown and not judged: --fail-if cannot tell there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlite_utils import Database

from ollama_bench.analysis.bottlenecks import others_cpu_share
from ollama_bench.analysis.crowd import name_loads, name_place
from ollama_bench.analysis.machine_caveats import OTHERS_CPU_RATIO
from ollama_bench.analysis.offered import describe_arrivals
from ollama_bench.analysis.study import Row, Study, read_arguments, size_of
from ollama_bench.analysis.trends import has_unlike_replies
from ollama_bench.analysis.wording import digits, join, span

CONDITIONS = {  # column of a level: what its 0 and its 1 mean
    "on_battery": ("on mains", "on battery"),
    "low_power_mode": ("without low power mode", "in low power mode"),
}
LOADS = {
    "burst": "bursts",
    "closed": "closed loops",
    "open": "open loops",
    "people": "people",
}
COUNTED = {
    "server": "tokens",
    "chunks": "chunks",
    "words": "words",
}  # output_tokens_source
MAY_MATTER = "a change may come from that"
# arguments of a run that say what each request is; what they are called
ASKED = {
    "tokens": "--tokens",
    "prompt": "--prompt",
    "prompts": "--prompts",
    "prompts_sha256": "the content of --prompts",
    "prompt_tokens": "--prompt-tokens",
    "mix": "--mix",
    "trace": "--trace",
    "trace_sha256": "the content of --trace",
    "trace_speed": "--trace-speed",
    "think": "--think",
    "requests": "--requests",
    "duration": "--duration",
    "ramp": "--ramp",
}
# column of a level: their mean tokens
LENGTHS = {
    "replies": "output_tokens_mean",
    "prompts": "prompt_tokens_mean",
}
# the mean lengths of two levels, longer to shorter: beyond this it is told
UNLIKE_LENGTH_RATIO = 1.25
LONGEST_VALUE = 30  # characters


@dataclass(frozen=True)
class Difference:
    """Something in which two sides are unlike, or that spoils one of them, and where."""

    text: str
    levels: frozenset[
        int
    ]  # concurrencies; none: it is told and blocks nothing


def find_differences(
    database: Database, before: Study, after: Study
) -> list[Difference]:
    """Return what differs between two sides beside what was measured, at which levels."""
    shared = frozenset(before.by_size()) & frozenset(after.by_size())
    found = [
        Difference(text, shared)
        for text in (
            *compare_arguments(before, after),
            compare_words(
                before,
                after,
                describe_loads,
                f"the load was {{}} before, {{}} after: {MAY_MATTER}",
            ),
            compare_words(
                before,
                after,
                describe_caches,
                f"prompts met a {{}} before, a {{}} after: {MAY_MATTER}",
            ),
            compare_words(
                before,
                after,
                lambda study: describe_counts(database, study),
                "{} were counted before, {} after: tokens/s and J/token do not compare",
            ),
            *(
                compare_condition(before, after, column)
                for column in CONDITIONS
            ),
        )
        if text
    ]
    if before.simulated != after.simulated:
        which = "before" if before.simulated else "after"
        found.append(Difference(describe_simulated([which]), shared))
    elif before.simulated:
        text = describe_simulated(["before", "after"])
        found.append(Difference(text, frozenset()))
    found += [
        Difference(text, frozenset())
        for text in compare_places(before, after)
        if text
    ]
    for word, study in (("before", before), ("after", after)):
        found += find_cut_levels(word, study)
        found += find_disturbances(word, study)
    return found + compare_lengths(before, after)


def reasons_by_level(
    differences: Sequence[Difference],
) -> dict[int, list[str]]:
    """Return what is unlike at each level."""
    reasons: dict[int, list[str]] = {}
    for difference in differences:
        for n in difference.levels:
            reasons.setdefault(n, []).append(difference.text)
    return reasons


def describe_simulated(words: Sequence[str]) -> str:
    sides = " and ".join(words)
    return f"{sides}: simulated, not a measurement of a real machine"


def compare_words(
    before: Study,
    after: Study,
    describe: Callable[[Study], str],
    sentence: str,
) -> str:
    """Return in a sentence how two sides are described; "" if alike or one is not known."""
    old, new = describe(before), describe(after)
    return sentence.format(old, new) if old and new and old != new else ""


def compare_places(before: Study, after: Study) -> list[str]:
    """Return which other machine or server it was: it may be what is compared."""
    places = [
        compare_words(
            before,
            after,
            describe_machines,
            "it ran on {} before, on {} after",
        )
    ]
    # each simulator has a port of its own
    if not before.simulated or not after.simulated:
        places.append(
            compare_words(
                before,
                after,
                describe_hosts,
                "it asked {} before, {} after",
            )
        )
    return places


def compare_condition(before: Study, after: Study, column: str) -> str:
    return compare_words(
        before,
        after,
        lambda study: describe_condition(study, column),
        f"the machine ran {{}} before, {{}} after: {MAY_MATTER}",
    )


def compare_arguments(before: Study, after: Study) -> list[str]:
    """Return the options that asked something else on the other side."""
    old, new = read_asked(before), read_asked(after)
    found = []
    for name, option in ASKED.items():
        # what a run does not say is not known, and null is its default
        is_known = all(name in run for run in old + new)
        sides = [describe_values(side, name) for side in (old, new)]
        if is_known and sides[0] != sides[1]:
            found.append(
                f"{option} was {sides[0]} before, {sides[1]} after"
            )
    return found


def read_asked(study: Study) -> list[dict[str, object]]:
    """Return what each run was told; of lengths of prompts only the one that the study is of."""
    lengths: dict[str, object] = {
        "prompt_tokens": study.asked_prompt_tokens,
        "mix": study.prompt_mix,
    }
    if not any(lengths.values()):
        lengths = {}
    return [{**run, **lengths} for run in read_arguments(study)]


def describe_values(runs: Sequence[dict[str, object]], name: str) -> str:
    values = {run.get(name) for run in runs if is_plain(run.get(name))}
    words = sorted(
        "not set" if value is None else str(value)[:LONGEST_VALUE]
        for value in values
    )
    return " and ".join(words)


def is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def find_cut_levels(word: str, study: Study) -> list[Difference]:
    """Return the levels that are not compared, because they slept or have no end."""
    found = []
    for level in study.levels:
        if level["slept_s"]:
            text = (
                f"{word}: the machine slept for {level['slept_s']:.0f} s "
                f"{name_place([level])}, which is not compared"
            )
        elif level["status"] != "finished":
            text = (
                f"{word}: {name_loads([level])} was interrupted, "
                "and is not compared"
            )
        else:
            continue
        found.append(Difference(text, frozenset()))
    return found


def find_disturbances(word: str, study: Study) -> list[Difference]:
    """Return what disturbed the levels of one side."""
    found: dict[str, list[Row]] = {}
    for level in study.levels:
        for reason in disturbances(study, level):
            found.setdefault(reason, []).append(level)
    return [
        Difference(
            f"{word}: {reason} {name_place(levels)}",
            frozenset(size_of(level) for level in levels),
        )
        for reason, levels in found.items()
    ]


def disturbances(study: Study, level: Row) -> list[str]:
    """Return what, beside the server, made the figures of a level."""
    found = []
    if level.get("client_limited"):
        found.append("this client was the bottleneck")
    # a simulated server's speed does not depend on other programs
    if level.get("mean_cpu_ratio") is not None and not study.simulated:
        share = others_cpu_share(study, level)
        if share >= OTHERS_CPU_RATIO:
            found.append("other programs took CPU time")
    return found


def undisturbed_part(study: Study) -> Study:
    """Drop the levels and controls that something beside the server disturbed."""
    levels, controls = (
        [level for level in rows if not disturbances(study, level)]
        for rows in (study.levels, study.controls)
    )
    return replace(study, levels=levels, controls=controls)


def describe_unlike_levels(study: Study) -> str:
    """Say why levels of one study are not alike, and what that means; "" if they are."""
    groups = study.by_size()
    if len(groups) < 2:
        return ""
    reasons = [
        find.text.removeprefix("it: ")
        for find in find_disturbances("it", study)
    ]
    means = (
        mean_length(levels, LENGTHS["replies"])
        for levels in groups.values()
    )
    lengths = [*filter(None, means)]
    if lengths and is_unlike_length(min(lengths), max(lengths)):
        reasons.append(f"mean replies have {span(lengths)} tokens")
    for describe in (describe_loads, describe_caches):
        words = describe(study)
        if " and " in words:
            reasons.append(words)
    if not reasons:
        return ""
    meaning = MAY_MATTER
    if has_unlike_replies(study):
        meaning = "their throughput is not compared"
    return f"The levels are not alike ({'; '.join(reasons)}): {meaning}."


def compare_lengths(before: Study, after: Study) -> list[Difference]:
    """Return where replies or prompts of one side are longer than those of the other."""
    found: dict[str, dict[int, str]] = {what: {} for what in LENGTHS}
    new_levels = after.by_size()
    for n, old_levels in before.by_size().items():
        for what, column in LENGTHS.items():
            old, new = (
                mean_length(levels, column)
                for levels in (old_levels, new_levels.get(n, []))
            )
            if old and new and is_unlike_length(old, new):
                found[what][n] = f"{digits(old)} against {digits(new)}"
    return [
        Difference(
            f"{what} have {describe_lengths(lengths)} tokens",
            frozenset(lengths),
        )
        for what, lengths in found.items()
        if lengths
    ]


def describe_lengths(lengths: dict[int, str]) -> str:
    return join([f"{text} at {n}" for n, text in lengths.items()])


def is_unlike_length(one: float, other: float) -> bool:
    return max(one, other) > UNLIKE_LENGTH_RATIO * min(one, other)


def mean_length(levels: Sequence[Row], column: str) -> float | None:
    """Return the mean tokens of the completed requests; None if not known of one level."""
    whole, requests = 0.0, 0
    for level in levels:
        if not level["completed"]:
            continue
        if level[column] is None:
            return None
        whole += level[column] * level["completed"]
        requests += level["completed"]
    return whole / requests if requests else None


def describe_loads(study: Study) -> str:
    """Return which load the levels are; "" if that is not known of one."""
    kinds: set[tuple[str | None, str]] = set()
    for level in study.levels:
        more = ""
        if level["load"] == "open" and level["rate_per_s"]:
            more = f" of {level['rate_per_s']:.4g} requests/s"
            more += describe_arrivals(level)
        elif level["load"] == "people":
            more = f" who think {level['think_time_s']:g} s ({level['think_law']})"
        kinds.add((level["load"], more))
    words = []
    for load, more in sorted(kinds, key=str):
        if load is None:
            return ""
        words.append(LOADS[load] + more)
    return " and ".join(words)


def describe_caches(study: Study) -> str:
    """Return whether prompts were new to the server; "" if that is not known of one level."""
    caches = {level["cache"] for level in study.levels}
    if None in caches or not caches:
        return ""
    return " and ".join(f"{cache} cache" for cache in sorted(caches))


def describe_machines(study: Study) -> str:
    """Return which computers the runs were on; "" if that is not known of one."""
    machines = {
        ", ".join(
            dict.fromkeys(
                run[column]
                for column in ("chip", "gpu", "os")
                if run.get(column)
            )
        )
        for run in study.runs
    }
    return "" if "" in machines else " and ".join(sorted(machines))


def describe_hosts(study: Study) -> str:
    """Return the addresses of the servers."""
    return " and ".join(
        sorted({target["host"] for target in study.targets})
    )


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
