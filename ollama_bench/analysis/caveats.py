"""What to know before trusting the figures of a study.

for caveat in find_caveats(study): caveat.seen, caveat.meaning, caveat.remedy
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from ollama_bench.analysis.bottlenecks import (
    THE_SERVER,
    is_short_of_slots,
    name_service,
)
from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.client_caveats import (
    client_limits,
    unsure_clocks,
)
from ollama_bench.analysis.crowd import name_place
from ollama_bench.analysis.energy_caveats import ENERGY_CHECKS
from ollama_bench.analysis.hosts import lost_hosts, mixed_hosts
from ollama_bench.analysis.import_caveats import IMPORT_CHECKS
from ollama_bench.analysis.machine_caveats import (
    heat,
    other_programs,
    power_saving,
    unseen_server,
)
from ollama_bench.analysis.offered import (
    LOWER_RATE,
    NOT_AWAITED,
    find_probes,
    is_too_much,
    lost_servers,
    saturated_levels,
)
from ollama_bench.analysis.people import broken_law
from ollama_bench.analysis.slot_advice import (
    advise_slots,
    is_on_this_machine,
    is_spilled,
)
from ollama_bench.analysis.study import (
    P95_FLOOR,
    P99_FLOOR,
    Row,
    Study,
    read_arguments,
)
from ollama_bench.analysis.traces import shares_blocks
from ollama_bench.analysis.wasted import wasted_work
from ollama_bench.analysis.wording import (
    count,
    join,
    percent,
    seconds,
    span,
)
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import shorten

SLOW_LOAD_S = 1.0  # a model in memory is found in milliseconds
# of the prompt's tokens; a chat template alone caches a few
CACHED_RATIO = 0.1
# longest to shortest reply: beyond this levels do different work
VARYING_RATIO = 2.0
# against requests that ended so
HELPS = {
    "not_sent": "Lower --rate or --trace-speed, or raise the level",
    "abandoned": "Take fewer people, or raise --patience",
    "cancelled": "Lower the level, or raise --deadline",
    "stalled": "Lower the level, raise --stall, or look into the server's log",
}
LONGER_BUDGET = "Raise --budget, or name lower LEVELS"
START_AGAIN = "A quick run is not resumed: start it again"
HELPS_ELSE = "Lower the level, or look into the server's log"
# a server that is only busy or slow answers with these
BUSY_STATUSES = (408, 429)


def find_caveats(study: Study) -> list[Caveat]:
    """Return what to know before trusting the figures, gravest first."""
    return [caveat for check in CHECKS for caveat in check(study)]


def failures(study: Study) -> list[Caveat]:
    return [
        Caveat(
            describe_failures(study, status, rows),
            "Each counts as an error and in no speed or wait",
            remedy,
        )
        for (concurrency, status, remedy), rows in group_failures(
            study
        ).items()
    ]


def find_help(
    status: str,
    http_status: int | None,
    rows: list[Row],
    in_quick_run: bool,
) -> str:
    """Return what helps against requests that ended so."""
    if status == "cancelled" and any(
        row["example"] == "interrupted" for row in rows
    ):
        if in_quick_run:
            return START_AGAIN
        return f"{name_program('bench')} --resume sends that level again"
    if status == "cancelled" and any(
        (row["example"] or "").startswith(NOT_AWAITED) for row in rows
    ):
        return LOWER_RATE
    if status == "cancelled" and in_quick_run:
        return LONGER_BUDGET
    is_refused = (
        status == "http_error"
        and 400 <= (http_status or 0) < 500
        and http_status not in BUSY_STATUSES
    )
    if is_refused:
        return (
            "Change what is asked: no other level makes the server take it"
        )
    return HELPS.get(status, HELPS_ELSE)


def group_failures(study: Study) -> dict[tuple[int, str, str], list[Row]]:
    """Group failures by level, status and what helps, over the repeats of a level.

    Without those that a search looked for.
    """
    groups: dict[tuple[int, str, str], list[Row]] = {}
    probes = find_probes(study)
    for row in sorted(study.outcomes, key=lambda row: row["concurrency"]):
        if row["level_id"] in probes and is_too_much(row):
            continue
        remedy = find_help(
            row["status"], row["http_status"], [row], is_quick(study)
        )
        key = row["concurrency"], row["status"], remedy
        groups.setdefault(key, []).append(row)
    return groups


def describe_failures(study: Study, status: str, rows: list[Row]) -> str:
    failed = count(sum(row["requests"] for row in rows), "request")
    words = status.replace("_", " ")
    codes = sorted({row["http_status"] or 0 for row in rows} - {0, 200})
    if len(codes) > 1:
        words += f" {join([*map(str, codes)])}"
    example = next(
        (f": {row['example']}" for row in rows if row["example"]), ""
    )
    ids = {row["level_id"] for row in rows}
    levels = [one for one in study.levels if one["level_id"] in ids]
    return f"{failed} {name_place(levels)} failed ({words}{example})"


def cut_prompts(study: Study) -> list[Caveat]:
    cut = [level for level in study.levels if level["prompts_cut"]]
    if not cut:
        return []
    lengths = [level["prompt_tokens_mean"] for level in cut]
    prompts = count(sum(level["prompts_cut"] for level in cut), "prompt")
    return [
        Caveat(
            f"the server cut {prompts} {name_place(cut)} "
            f"(it counted {span(lengths)} tokens)",
            "Waits and speeds are those of shorter prompts, which do not count as served",
            "Use a larger context (--option num_ctx=N) or shorter prompts",
        )
    ]


def cut_by_context(study: Study) -> list[Caveat]:
    cut = [level for level in study.levels if level["replies_cut"]]
    if not cut:
        return []
    replies = count(sum(level["replies_cut"] for level in cut), "reply")
    return [
        Caveat(
            f"{replies} ended at the end of the context {name_place(cut)}",
            "Shorter than the model's own, and not counted as served",
            "Use a larger context (--option num_ctx=N), shorter prompts or a lower --tokens",
        )
    ]


def unfinished(study: Study) -> list[Caveat]:
    with_levels = {level["run_id"] for level in study.levels}
    return [
        Caveat(
            f"run {run['run_id']} is {run['status']}",
            "The levels it finished are shown"
            if run["run_id"] in with_levels
            else "It finished no level",
            START_AGAIN
            if is_quick(study)
            else f"{name_program('bench')} --resume continues it",
        )
        for run in study.runs
        if run["status"] != "finished"
    ]


def sleeps(study: Study) -> list[Caveat]:
    return [
        Caveat(
            f"the machine slept for {seconds(level['slept_s'])} "
            f"in the level {name_place([level])}",
            "None of its figures can be trusted, and it does not count as served",
            "Leave the lid open, connect mains power; "
            f"{name_program('bench')} --resume measures it again",
        )
        for level in study.levels
        if level["slept_s"]
    ]


def other_runs(study: Study) -> list[Caveat]:
    """Find runs of the same file that loaded the server while it was measured."""
    return [
        Caveat(
            f"run {row['run_id']} loaded the same server "
            f"from {clock_time(row['from_unix'])} "
            f"to {clock_time(row['to_unix'])} UTC",
            "Waits and speeds are those of both loads together",
            "Measure again when the other run has ended",
        )
        for row in study.other_runs
    ]


def clock_time(unix_s: float) -> str:
    moment = datetime.fromtimestamp(unix_s, timezone.utc)
    return f"{moment:%H:%M:%S}"


def other_models(study: Study) -> list[Caveat]:
    """Find levels whose replies name another model than was asked for."""
    groups: dict[str, list[Row]] = {}
    for level in study.levels:
        if name := level["other_model"]:
            groups.setdefault(name, []).append(level)
    return [
        Caveat(
            f"replies {name_place(levels)} name the model {shorten(name)!r}, "
            f"not {study.name!r}",
            "The figures are those of the model that answered, whatever it was asked for as",
            "Use --model with a name that the server lists",
        )
        for name, levels in groups.items()
    ]


def spills(study: Study) -> list[Caveat]:
    seen = [
        f"{percent(target['vram_bytes'] / target['size_bytes'])} of the model is in GPU memory "
        f"at {target['host']}"
        for target in study.targets
        if is_spilled(target) and not lacks_gpu(study, target)
    ]
    return [
        Caveat(
            text,
            "The rest runs on the processor, several times slower",
            "Use a smaller model, context or number of slots",
        )
        for text in dict.fromkeys(seen)
    ]


def lacks_gpu(study: Study, target: Row) -> bool:
    """Return whether the model runs on a machine that has no GPU: nothing can be outside it."""
    return bool(
        not target["vram_bytes"]
        and is_on_this_machine(target)
        and study.machine
        and not study.machine["gpu"]
    )


def slots(study: Study) -> list[Caveat]:
    short = [level for level in study.levels if is_short_of_slots(level)]
    if not short:
        return []
    most = max(level["peak_streaming"] for level in short)
    who = max(map(name_service, short), key=len)
    return [
        Caveat(
            f"{who} answered at most {most} at a time {name_place(short)}",
            "It has fewer slots than were asked for; the other requests wait in its queue"
            if who == THE_SERVER
            else "They have fewer slots than were asked for; the others wait in their queues",
            advise_slots(study, most),
        )
    ]


def cold_starts(study: Study) -> list[Caveat]:
    cold = [
        level
        for level in study.levels
        if (level["max_load_s"] or 0) > SLOW_LOAD_S
    ]
    if not cold:
        return []
    longest = seconds(max(level["max_load_s"] for level in cold))
    return [
        Caveat(
            f"a request waited {longest} for the model to load {name_place(cold)}",
            "The model was loaded during the level, or another one had replaced it",
            "Use --warmup N to load it before",
        )
    ]


def cache_hits(study: Study) -> list[Caveat]:
    """Find levels whose prompts came from the cache though they were not to."""
    hits = [
        level
        for level in study.levels
        if level["cache"] != "warm"
        and is_cached(level)
        and not shares_blocks(level)
    ]
    cold = [level for level in hits if level["cache"] == "cold"]
    shared = [level for level in hits if level["cache"] != "cold"]
    found = [
        (
            cold,
            "It is what stands before each prompt's own text, as a chat template does",
            "Longer prompts make that part small",
        ),
        (
            shared,
            "Prefill and time to first token are better than for new prompts",
            "Use --cache cold to give each prompt a prefix of its own",
        ),
    ]
    return [
        Caveat(
            f"a part of the prompts came from the cache {name_place(levels)}",
            meaning,
            remedy,
        )
        for levels, meaning, remedy in found
        if levels
    ]


def is_cached(level: Row) -> bool:
    tokens = level["prompt_tokens"]
    return (
        bool(tokens)
        and (level["cached_tokens"] or 0) > CACHED_RATIO * tokens
    )


def cut_replies(study: Study) -> list[Caveat]:
    if is_quick(study):
        return []
    cut = [
        level
        for level in study.levels
        if 0 < (level["cut_by_length"] or 0) < level["completed"]
        and level["trace"] is None
    ]
    if not cut:
        return []
    return [
        Caveat(
            f"some replies, not all, were cut at the token limit {name_place(cut)}",
            "Short and long replies share a level",
            "Use a lower --tokens to make them alike",
        )
    ]


def is_quick(study: Study) -> bool:
    """Return whether all runs found their own levels: few requests, and replies that are cut."""
    runs = read_arguments(study)
    return bool(runs) and all(run.get("budget") for run in runs)


def varying_lengths(study: Study) -> list[Caveat]:
    least = [
        level["min_output_tokens"]
        for level in study.levels
        if level["min_output_tokens"] and level["trace"] is None
    ]
    most = [
        level["max_output_tokens"]
        for level in study.levels
        if level["max_output_tokens"] and level["trace"] is None
    ]
    if not least or max(most) <= VARYING_RATIO * min(least):
        return []
    return [
        Caveat(
            f"replies have {min(least):,} to {max(most):,} tokens",
            "Levels with longer replies do more work",
            "Use --tokens N or a fixed seed (--option seed=1) to make them more alike",
        )
    ]


def few_requests(study: Study) -> list[Caveat]:
    if is_quick(study):
        return []
    few = [
        level
        for level in study.levels
        if level["judged_completed"] < P95_FLOOR
    ]
    if not few:
        return []
    is_part = any(
        level["judged_completed"] < level["completed"] for level in few
    )
    part = " in the steady part" if is_part else ""
    return [
        Caveat(
            f"fewer than {P95_FLOOR} requests completed{part} {name_place(few)}",
            f"A percentile needs {P95_FLOOR} (p95) or {P99_FLOOR} (p99) requests of one level, "
            "else it is blank",
            "Read the mean and the longest wait there",
        )
    ]


CHECKS: tuple[Callable[[Study], list[Caveat]], ...] = (
    lost_servers,
    saturated_levels,
    mixed_hosts,
    lost_hosts,
    failures,
    cut_prompts,
    cut_by_context,
    unfinished,
    sleeps,
    other_runs,
    other_models,
    client_limits,
    unsure_clocks,
    broken_law,
    wasted_work,
    other_programs,
    unseen_server,
    spills,
    slots,
    cold_starts,
    heat,
    power_saving,
    cache_hits,
    cut_replies,
    varying_lengths,
    *IMPORT_CHECKS,
    *ENERGY_CHECKS,
    few_requests,
)
