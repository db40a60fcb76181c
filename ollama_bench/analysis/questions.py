"""The four questions of the original study, each with its answer in figures, and how sure it is.

for question in list_questions(study, key, levels, objectives, services):
    print(question.asked, question.answer, question.command)
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ollama_bench.analysis.capacity import find_search, write_interval
from ollama_bench.analysis.certainty import describe_certainty
from ollama_bench.analysis.comparability import undisturbed_part
from ollama_bench.analysis.crowd import name_crowd
from ollama_bench.analysis.intervals import independent_means, interval_of
from ollama_bench.analysis.key_figures import (
    Estimate,
    KeyFigures,
    estimate,
    is_open,
    mean_of,
)
from ollama_bench.analysis.offered import describe_gone
from ollama_bench.analysis.people import is_people
from ollama_bench.analysis.service import NO_SERVICE, Service
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.trends import describe_throughput
from ollama_bench.analysis.wording import (
    describe_bounds,
    digits,
    interval,
    seconds,
)
from ollama_bench.inputs import objectives as known_objectives
from ollama_bench.inputs.objectives import Objectives
from ollama_bench.terminal.command_line import (
    join_arguments,
    name_command,
    name_command_as_root,
)

SPEEDS = ("tokens_per_s", "tpot")
# options of a run that name what is measured
KEPT = (
    *("--host", "--balance", "--api", "--model", "--config"),
    *("--prompt", "--prompts", "--tokens", "--think", "--option"),
    *("--cache",),
)
# and how it is asked: of levels, for a search finds the load itself
KEPT_OF_LEVELS = (
    *("--requests", "--duration", "--think-time", "--patience", "--ramp"),
    *("--fleet", "--watch"),
)
NOT_MEASURED = "not measured"
CANNOT_BE_TOLD = "cannot be told"
AS_SEEN = "as far as was seen, not shown at 95 %"
RESULTS = "results.db"  # where none is named
CURVE = "1,2,4,8"  # levels of a run that shows what concurrency changes


class StudyQuestion(NamedTuple):
    """A question as it was asked, and what is known."""

    asked: str
    answer: str  # figures with their units
    command: str = ""  # measures what is not known


def list_questions(
    study: Study,
    key: KeyFigures,
    levels: Sequence[Row],
    objectives: Objectives,
    services: Mapping[int, Service],
) -> list[StudyQuestion]:
    """Return the four questions, and how sure the answer is; none of a study without levels.

    key, levels: the figures, and the repeats of the level that they are of.
    """
    if not levels:
        return []
    return [
        StudyQuestion(
            "How many tokens/s do I get?", describe_speed(key, levels)
        ),
        ask_rate(study, key, levels, objectives, services),
        ask_curve(study, key, objectives),
        ask_power(study, key, levels, objectives),
        *ask_certainty(study, levels, objectives, services),
    ]


def describe_speed(key: KeyFigures, levels: Sequence[Row]) -> str:
    """Say how fast each is answered, how fast all together, and after what wait."""
    together = mean_of(levels, "output_tokens_per_s")
    is_several = any(level["concurrency"] > 1 for level in levels)
    # of a load that goes on, the others are of its steady part
    goes_on = any(level["load"] not in ("burst", None) for level in levels)
    whole = " over the whole level" if goes_on else ""
    parts = [
        write_estimate(key.tokens_per_s, digits, " tokens/s each"),
        f"{digits(together)} all together{whole}"
        if is_several and together is not None
        else "",
        write_estimate(key.wait_s, seconds, " until the first token"),
    ]
    known = [*filter(None, parts)]
    return ", ".join(known) if known else "no request completed"


def ask_rate(
    study: Study,
    key: KeyFigures,
    levels: Sequence[Row],
    objectives: Objectives,
    services: Mapping[int, Service],
) -> StudyQuestion:
    """Ask how many requests a second are served; a burst tells only how many it makes."""
    names = [name for name in SPEEDS if name in objectives]
    wish = describe_bounds(names or objectives, objectives)
    asked = (
        "How many requests/s can I serve with reasonable throughput "
        f"({wish.removeprefix('at least ')})?"
    )
    if is_open(study):
        return StudyQuestion(asked, describe_rates(study, services))
    rate = estimate(
        levels,
        "requests_per_s",
        interval_of(independent_means(levels, "requests_per_s")),
    )
    if rate is None or not rate.value:
        return StudyQuestion(asked, "none")
    if key.at_once is None:
        return StudyQuestion(asked, CANNOT_BE_TOLD)
    if not key.at_once:
        return StudyQuestion(asked, f"fewer than {digits(rate.value)}")
    made = write_estimate(rate, digits, " requests/s")
    crowd = name_crowd(key.at_once, levels)
    search = find_search(study)
    if search is not None and not search.is_shown:
        crowd += f", {AS_SEEN}"
    if is_people(study):
        return StudyQuestion(asked, f"{made}, of {crowd}")
    return StudyQuestion(
        asked,
        f"{made} with {crowd}; at random times: {NOT_MEASURED}",
        name_measuring(study, objectives, "--find-rate"),
    )


def describe_rates(study: Study, services: Mapping[int, Service]) -> str:
    """Say which of the rates that were offered are served."""
    search = find_search(study)
    if search is not None and search.capacity.value:
        rate = digits(search.capacity.value)
        return f"{rate} requests/s ({write_interval(search)})"
    if search is not None and search.capacity.likely:
        rate = digits(search.capacity.likely)
        return f"{rate} requests/s {AS_SEEN}"
    if search is not None:
        missed = search.capacity.missed
        return f"fewer than {digits(missed)}" if missed else CANNOT_BE_TOLD
    served, short = [], []
    for level in study.levels:
        asked = level["rate_per_s"] or level["requests_per_s"]
        # by chance it may have been less than was asked for
        rate = min(asked, level["offered_per_s"] or asked)
        service = services[level["level_id"]]
        if service.is_served:
            answered = level["answered_per_s"]
            served.append(min(rate, answered or rate))
        elif not service.may_be_served and not describe_gone(level):
            short.append(rate)
    if served:
        return f"{digits(max(served))} requests/s"
    return f"fewer than {digits(min(short))}" if short else CANNOT_BE_TOLD


def ask_curve(
    study: Study, key: KeyFigures, objectives: Objectives
) -> StudyQuestion:
    """Ask what more at once changes, and say what limits it."""
    asked = "How does concurrency change throughput?"
    limit = f"limited by {key.limit}" if key.limit else ""
    said = (
        ""
        if is_open(study)
        else describe_throughput(undisturbed_part(study))
    )
    if said:
        return StudyQuestion(asked, "; ".join(filter(None, [said, limit])))
    if len(study.by_size()) > 1 and not is_open(study):
        return StudyQuestion(asked, "the levels cannot be compared")
    return StudyQuestion(
        asked,
        "; ".join(filter(None, [NOT_MEASURED, limit])),
        name_measuring(study, objectives, CURVE),
    )


def ask_power(
    study: Study,
    key: KeyFigures,
    levels: Sequence[Row],
    objectives: Objectives,
) -> StudyQuestion:
    asked = "How much power is used?"
    if said := describe_power(key):
        return StudyQuestion(asked, said)
    if any(level["power_source"] for level in levels):
        said = "not known: samples cover too little of the time"
        return StudyQuestion(asked, said)
    machine = study.machine or {}
    if "--no-monitor" in find_words(study):
        command = name_measuring(study, objectives, CURVE)
    elif any(row["watcher"] for row in study.targets):
        # what bench.py's own machine is does not matter
        said = f"{NOT_MEASURED}: no power was read on the server's machine"
        return StudyQuestion(asked, said)
    elif machine.get("virtual"):
        said = f"{NOT_MEASURED}: a virtual machine has no power sensors"
        return StudyQuestion(asked, said)
    elif "Windows" in str(machine.get("os")):
        # only a GPU's driver tells there, to everybody
        command = name_command("doctor")
    else:
        command = name_measuring(study, objectives, CURVE, as_root=True)
    return StudyQuestion(asked, NOT_MEASURED, command)


def ask_certainty(
    study: Study,
    levels: Sequence[Row],
    objectives: Objectives,
    services: Mapping[int, Service],
) -> list[StudyQuestion]:
    """Ask how sure the first sentence is; nothing where that is not known."""
    said = describe_certainty(study, levels, services, objectives)
    if said and any(
        services.get(level["level_id"], NO_SERVICE).has_no_rates
        for level in levels
    ):
        said = CANNOT_BE_TOLD
    asked = "How sure is it that they are served?"
    return [StudyQuestion(asked, said)] if said else []


def describe_power(key: KeyFigures) -> str:
    parts = [
        f"{digits(value)} {unit}"
        for value, unit in (
            (key.watts, "W"),
            (key.joules_per_token, "J/token"),
        )
        if value is not None
    ]
    of = f" ({key.watts_of} alone)" if parts and key.watts_of else ""
    return ", ".join(parts) + of


def write_estimate(
    found: Estimate | None, write: Callable[[float], str], unit: str
) -> str:
    """Write a mean and its 95 % interval, where that is known."""
    if found is None:
        return ""
    text = f"{write(found.value)}{unit}"
    surely = interval(found.low, found.high, write)
    return f"{text} ({surely})" if surely else text


def name_measuring(
    study: Study,
    objectives: Objectives,
    levels: str,
    as_root: bool = False,
) -> str:
    """Return the command that measures these levels where the newest run measured."""
    typed = find_words(study)
    words = [levels, *list_slo(objectives), *list_lengths(study)]
    kept: tuple[str, ...] = KEPT
    flags = ["--demo"]
    if levels == CURVE:
        kept, flags = KEPT + KEPT_OF_LEVELS, ["--demo", "--fleet-insecure"]
    for place, word in enumerate(typed):
        if word == "--db" or word.startswith("--db="):
            continue
        if word.startswith(tuple(f"{option}=" for option in kept)):
            words += [] if is_refused(word.split("=", 1)) else [word]
        elif word in kept and not is_refused(typed[place : place + 2]):
            words += typed[place : place + 2]
        elif word in flags:
            words.append(word)
    words += list_file(typed, study.file)
    command = name_command_as_root() if as_root else name_command("bench")
    return f"{command} {join_arguments(words)}"


def list_file(typed: Sequence[str], file: str) -> list[str]:
    """Return the option for the results file, as it was typed, or of that which is read.

    A merged file has runs of others, and what is measured next is looked for in it.
    """
    named = [
        [word] if word != "--db" else [*typed[place : place + 2]]
        for place, word in enumerate(typed)
        if word == "--db" or word.startswith("--db=")
    ]
    asked = named[-1] if named else []
    path = asked[-1].removeprefix("--db=") if asked else RESULTS
    if not file or os.path.basename(path) == os.path.basename(file):
        return asked
    try:
        return ["--db", os.path.relpath(file)]
    except ValueError:  # on another drive of Windows
        return ["--db", file]


def is_refused(option: Sequence[str]) -> bool:
    """Tell whether an option does not go with what is measured next.

    So many requests may never make the highest level of the curve, and a search has one cache.
    """
    highest = CURVE.rpartition(",")[2]
    name, value = option[0], option[-1]
    are_too_few = value.isdecimal() and int(value) < int(highest)
    return (name == "--requests" and are_too_few) or (
        name == "--cache" and value == "both"
    )


def list_lengths(study: Study) -> list[str]:
    """Return the options that ask for prompts as long."""
    if study.prompt_mix is not None:
        return ["--mix", study.prompt_mix]
    if study.asked_prompt_tokens is None:
        return []
    return ["--prompt-tokens", str(study.asked_prompt_tokens)]


def find_words(study: Study) -> list[str]:
    """Return the newest run's command line; an imported run has only its model."""
    command = study.runs[-1]["command"] if study.runs else None
    if not command:
        return ["--model", study.model]
    try:
        return shlex.split(command)
    except ValueError:  # of Windows, or written by another program
        return str(command).split()


def list_slo(objectives: Objectives) -> list[str]:
    text = known_objectives.write(objectives)
    return [] if text == known_objectives.DEFAULT else ["--slo", text]
