"""The answers in sentences: how many can be served, and by how much requests missed the objectives.

for sentence in answer(study, objectives, services): print(sentence)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ollama_bench.analysis.bottlenecks import (
    describe_gpu,
    find_bottlenecks,
)
from ollama_bench.analysis.comparability import (
    describe_unlike_levels,
    undisturbed_part,
)
from ollama_bench.analysis.drift import describe_drift
from ollama_bench.analysis.energy import describe_efficiency
from ollama_bench.analysis.offered import (
    describe_offered,
    describe_pool_waits,
)
from ollama_bench.analysis.people import describe_people, is_people
from ollama_bench.analysis.service import (
    NO_SERVICE,
    Objectives,
    Service,
)
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.trends import (
    describe_best,
    describe_cache,
    describe_law,
    describe_order,
    describe_throughput,
    describe_waits,
)
from ollama_bench.analysis.wording import (
    describe_objectives,
    digits,
    name_crowd,
    percent,
    seconds,
    span,
)
from ollama_bench.inputs.objectives import ENOUGH_RATIO

REACHED = {  # after "only 5 of 24"
    "ttft": "had the first token within {} s",
    "ttfat": "had the first answer token within {} s",
    "e2e": "ended within {} s",
    "tpot": "took {} s or less per token",
    "tokens_per_s": "reached {} tokens/s",
}

Services = Mapping[int, Service]  # by level_id


def answer(
    study: Study, objectives: Objectives, services: Services
) -> list[str]:
    """Return the answers in sentences."""
    found = summarize(study, objectives, services)
    # the levels whose throughputs are compared
    alike = undisturbed_part(study)
    if not (is_open(study) or is_people(study)):
        found += [
            describe_order(study),
            describe_throughput(alike),
            describe_waits(study),
            describe_best(alike),
            describe_unlike_levels(study),
            describe_law(alike),
            describe_drift(alike),
            describe_efficiency(study),
            describe_cache(study),
            describe_gpu(alike),
        ]
    return [
        sentence for sentence in found + find_bottlenecks(study) if sentence
    ]


def summarize(
    study: Study, objectives: Objectives, services: Services
) -> list[str]:
    """Return the answer in short: what one gets alone, and how many can be served."""
    if is_open(study):
        return [
            describe_rate(
                level,
                objectives,
                services.get(level["level_id"], NO_SERVICE),
            )
            for level in study.levels
        ]
    if is_people(study):
        wish = describe_objectives(objectives)
        sentences = [describe_capacity(study, objectives, services)]
        for level in study.levels:
            service = services.get(level["level_id"], NO_SERVICE)
            sentences.append(describe_people(level, service, wish))
    else:
        sentences = [
            describe_alone(study),
            describe_capacity(study, objectives, services),
        ]
    return [sentence for sentence in sentences if sentence]


def is_open(study: Study) -> bool:
    """Return whether requests arrived at a rate: then concurrency is only a limit, not the load."""
    return any(level["load"] == "open" for level in study.levels)


def describe_rate(
    level: Row, objectives: Objectives, service: Service
) -> str:
    """Say how requests that arrived at a rate fared."""
    parts = [describe_offered(level)]
    if level["tokens_per_s_mean"] is not None:
        speed, wait = (
            digits(level["tokens_per_s_mean"]),
            seconds(level["ttft_mean_s"]),
        )
        longest = seconds(level["ttft_max_s"])
        parts.append(
            f"each answered one gets {speed} tokens/s and waits {wait} "
            f"(longest {longest}; {describe_sample([level])})"
        )
    wish = describe_objectives(objectives)
    parts.append(f"{service.good} of {service.ended} were served {wish}")
    if service.undecided:
        parts.append(describe_undecided(service))
    if level["pool_waits"]:
        parts.append(describe_pool_waits(level))
    if level["never_sent"]:
        parts.append(
            f"{level['never_sent']} of them were never sent before the level ended"
        )
    return f"{'; '.join(parts)}."


def describe_sample(levels: Sequence[Row]) -> str:
    """Say of how many requests and measurements a figure is, and how long the replies are."""
    count = sum(level["completed"] for level in levels)
    times = f" in {len(levels)} measurements" if len(levels) > 1 else ""
    lengths = [
        level["output_tokens_mean"]
        for level in levels
        if level["output_tokens_mean"] is not None
    ]
    replies = f"; replies of {span(lengths)} tokens" if lengths else ""
    return f"n = {count}{times}{replies}"


def describe_alone(study: Study) -> str:
    levels = next(iter(study.by_concurrency().values()), [])
    rates = [level["tokens_per_s_mean"] for level in levels]
    rates = [rate for rate in rates if rate is not None]
    if not rates:
        return ""
    n = levels[0]["concurrency"]
    waits = [
        level["ttft_mean_s"]
        for level in levels
        if level["ttft_mean_s"] is not None
    ]
    who = f"With {n} at once, the fewest measured, each gets"
    if n == 1:
        who = "One request alone gets"
    return (
        f"{who} {span(rates)} tokens/s and waits {span(waits, seconds)} "
        f"({describe_sample(levels)})."
    )


def describe_capacity(
    study: Study, objectives: Objectives, services: Services
) -> str:
    """Say how many can be served: the highest level below which none misses the objectives."""
    wish = describe_objectives(objectives)
    served, pace = 0, ""
    for n, levels in study.by_concurrency().items():
        found = [
            services.get(level["level_id"], NO_SERVICE) for level in levels
        ]
        short = [service for service in found if not service.is_served]
        if not short:
            served, pace = n, describe_pace(levels)
            continue
        worst = min(short, key=lambda service: service.share)
        if all(service.may_be_served for service in short):
            return describe_doubt(
                n, levels, short[0], served, f"{wish}{pace}", wish
            )
        times = (
            f"in {len(short)} of {len(found)} measurements, "
            if len(found) > 1
            else ""
        )
        missed = (
            f"{times}{describe_shortfall(worst, objectives)}; "
            f"{percent(ENOUGH_RATIO)} must be served"
        )
        if served:
            are = "is" if served == 1 else "are"
            return (
                f"Up to {name_crowd(served, levels)} {are} served {wish}{pace}; "
                f"at {n}, {missed}."
            )
        are = "is" if n == 1 else "are"
        return f"Not even {name_crowd(n, levels)} {are} served {wish}: {missed}."
    are = "is" if served == 1 else "are"
    return (
        f"{name_crowd(served, study.levels)} {are} served {wish}{pace}; more were not measured."
        if served
        else ""
    )


def describe_doubt(
    n: int,
    levels: Sequence[Row],
    service: Service,
    served: int,
    known: str,
    wish: str,
) -> str:
    """Say that nobody can tell whether a level meets the objectives, and what is known below."""
    why = f"at {name_crowd(n, levels)}, {describe_undecided(service)}"
    if not served:
        return f"How many get replies {wish} cannot be told: {why}."
    are = "is" if served == 1 else "are"
    return (
        f"{name_crowd(served, levels)} {are} served {known}; "
        f"whether more are cannot be told: {why}."
    )


def describe_pace(levels: Sequence[Row]) -> str:
    """Say how many requests were completed a second; nothing where that is not known."""
    rates = [
        level["requests_per_s"]
        for level in levels
        if level["requests_per_s"] is not None
    ]
    return f" ({span(rates)} requests/s)" if rates else ""


def describe_undecided(service: Service) -> str:
    return f"{service.undecided} of {service.ended} were cut before it could be told"


def describe_shortfall(service: Service, objectives: Objectives) -> str:
    """Say what kept a level from serving its people: failures, or the objectives it missed."""
    parts = []
    failed = service.asked - service.completed
    if failed > (1 - ENOUGH_RATIO) * service.asked:
        parts.append(f"{failed} of {service.asked} failed")
    if service.cut > (1 - ENOUGH_RATIO) * service.asked:
        parts.append(
            f"the context cut the prompt or the reply of {service.cut} of {service.asked}"
        )
    for name, bound in objectives.items():
        if (
            service.completed
            and service.met[name] < ENOUGH_RATIO * service.completed
        ):
            parts.append(
                f"{count_met(service, name)} {describe_reached(name, bound, service)}"
            )
    if not service.is_decided:
        parts.append(describe_undecided(service))
    if parts:
        return " and ".join(parts)
    return f"only {service.good} of {service.asked} met every objective"


def count_met(service: Service, name: str) -> str:
    met = service.met[name]
    return (
        f"only {met} of {service.completed}"
        if met
        else f"none of {service.completed}"
    )


def describe_reached(name: str, bound: float, service: Service) -> str:
    """Say what a request does that meets an objective, and the worst that was seen."""
    worst = service.worst[name]
    extreme = (
        f"slowest {digits(worst)}"
        if name == "tokens_per_s"
        else f"longest {seconds(worst)}"
    )
    return f"{REACHED[name].format(digits(bound))} ({extreme})"
