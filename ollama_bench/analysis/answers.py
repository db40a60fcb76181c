"""The answers in sentences: how many get what is wished for, and by how much requests missed it.

answer = find_answer(study, objectives, services)
for sentence in answer.first + answer.rest: print(sentence)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ollama_bench.analysis.bottlenecks import (
    describe_gpu,
    find_bottlenecks,
)
from ollama_bench.analysis.capacity import (
    describe_search,
    find_search,
)
from ollama_bench.analysis.comparability import (
    describe_unlike_levels,
    undisturbed_part,
)
from ollama_bench.analysis.crowd import (
    name_count,
    name_crowd,
    say_they_get,
)
from ollama_bench.analysis.drift import describe_drift
from ollama_bench.analysis.energy import describe_efficiency
from ollama_bench.analysis.key_figures import (
    KeyFigures,
    find_key_figures,
    find_tries,
    is_open,
)
from ollama_bench.analysis.offered import (
    describe_arrivals,
    describe_growth,
    describe_offered,
    describe_pool_waits,
    write_rate,
)
from ollama_bench.analysis.people import (
    describe_good,
    describe_people,
    is_people,
)
from ollama_bench.analysis.questions import StudyQuestion, list_questions
from ollama_bench.analysis.service import (
    NO_SERVICE,
    DemandOutcome,
    Service,
    judged_part,
)
from ollama_bench.analysis.study import Row, Study, size_of
from ollama_bench.analysis.traces import describe_trace
from ollama_bench.analysis.trends import (
    describe_best,
    describe_cache,
    describe_law,
    describe_order,
    describe_waits,
    is_best_said,
)
from ollama_bench.analysis.wording import (
    count,
    describe_bounds,
    describe_objective,
    describe_objectives,
    digits,
    exact_percent,
    seconds,
    span,
)
from ollama_bench.inputs.objectives import ENOUGH_RATIO, Objectives

WORST = {  # of a single request: after "at 1, "
    "ttft": "the first token came after {}",
    "ttfat": "the first answer token came after {}",
    "e2e": "the whole reply took {}",
    "tpot": "a token took {}",
    "tokens_per_s": "it got {} tokens/s",
}

# of replies in one chunk
NO_RATE = "the reply came in one piece, so that its speed is not known"
NO_RATES = (
    "the replies came in one piece, so that their speed is not known"
)

NOTHING_JUDGED = (
    "Nothing can be said of how many can be served: no level with a request "
    "came to its end while the machine was awake."
)

Services = Mapping[int, Service]  # by level_id


@dataclass(frozen=True)
class Answer:
    """What is said of a study: first how many, in large type, then the study's questions."""

    first: list[str]  # how many at once
    of: str  # whose figures follow: "With 8 at once"; "" if there are none
    questions: list[StudyQuestion]  # those of the study
    find_rest: Callable[[], list[str]]
    levels: Sequence[Row] = ()  # those that the figures are of

    @cached_property
    def rest(self) -> list[str]:
        """The other sentences: found when asked for, since SciPy loads longer than a first look."""
        return self.find_rest()

    @property
    def lines(self) -> list[str]:
        """Every sentence, the questions as lines."""
        asked = [
            f"{one.asked} {one.answer}"
            + (f": {one.command}" if one.command else "")
            for one in self.questions
        ]
        return [*self.first, self.of, *asked, *self.rest]


def find_answer(
    study: Study, objectives: Objectives, services: Services
) -> Answer:
    """Return the answer; a study without a judged level has an empty one."""
    study = judged_part(study, services)
    key = find_key_figures(study, objectives, services)
    first = [*filter(None, summarize(study, objectives, services))]
    levels = list_repeats(study, key)
    return Answer(
        first,
        describe_level(key, levels),
        list_questions(study, key, levels, objectives, services),
        lambda: list_rest(study, key, objectives, services),
        levels,
    )


def list_rest(
    study: Study,
    key: KeyFigures,
    objectives: Objectives,
    services: Services,
) -> list[str]:
    """Return what is said beside the first sentence and its figures."""
    rest = list_open(study)
    # the levels whose throughputs are compared
    alike = undisturbed_part(study)
    if is_people(study):
        rest = [
            describe_people(
                level,
                services.get(level["level_id"], NO_SERVICE),
                objectives,
                is_told=level is key.level,
            )
            for level in study.levels
        ]
    elif not is_open(study):
        rest = [
            describe_alone(study, key),
            describe_order(study),
            describe_waits(study),
            "" if is_best_said(alike) else describe_best(alike),
            describe_unlike_levels(study),
            describe_law(alike),
            describe_drift(alike),
            describe_efficiency(study),
            describe_cache(study),
            describe_gpu(alike),
        ]
    return [*filter(None, rest), *find_bottlenecks(study)]


def summarize(
    study: Study, objectives: Objectives, services: Services
) -> list[str]:
    """Say how many can be served; of requests that came at a rate, how many were."""
    if not study.levels:
        return [NOTHING_JUDGED]
    if search := find_search(study):
        return [describe_search(search, objectives)]
    if not is_open(study):
        return [describe_capacity(study, objectives, services)]
    has_limits = len({level["concurrency"] for level in study.levels}) > 1
    return [
        describe_rate(
            level,
            objectives,
            services.get(level["level_id"], NO_SERVICE),
            f" with at most {level['concurrency']} in flight"
            if has_limits
            else "",
        )
        for level in study.levels
    ]


def list_repeats(study: Study, key: KeyFigures) -> list[Row]:
    """Return the levels that the key figures are of; each rate is a load of its own."""
    if key.level is None:
        return []
    if is_open(study):
        return [key.level]
    if search := find_search(study):
        return find_tries(study, search)
    return study.by_size()[key.level["concurrency"]]


def describe_level(key: KeyFigures, levels: Sequence[Row]) -> str:
    """Say which level the key figures are of, and of how much they are."""
    if key.level is None:
        return ""
    n, has_rate = key.level["concurrency"], key.level["rate_per_s"]
    where = f"With {name_crowd(n, levels)}"
    if n == 1 and key.level["load"] != "people":
        where = "With 1 request at a time"
    if key.level["load"] == "open":
        where = "At no fixed rate"
        if has_rate:
            arrivals = describe_arrivals(key.level)
            where = f"At {write_rate(key.level)} requests/s{arrivals}"
    return f"{where} ({describe_sample(levels)})"


def describe_rate(
    level: Row, objectives: Objectives, service: Service, limit: str = ""
) -> str:
    """Say how many of the requests that came at a rate were served.

    limit: what tells the level from others of the same rate.
    """
    parts = [
        f"{describe_offered(level)}{limit}",
        describe_good(level, service, objectives),
    ]
    if service.undecided:
        parts.append(describe_undecided(service))
    return f"{'; '.join(parts)}."


def list_open(study: Study) -> list[str]:
    """Say of each level of an open loop what came, how long it waited, and what was late."""
    if not is_open(study) or find_search(study):
        return []
    return [
        sentence
        for level in study.levels
        for sentence in describe_late(level)
    ]


def describe_late(level: Row) -> list[str]:
    found = [*filter(None, [describe_trace(level)])]
    if growth := describe_growth(level):
        found.append(f"{growth[0].upper()}{growth[1:]}.")
    if level["ttft_max_s"] is not None:
        found.append(
            f"The longest wait was {seconds(level['ttft_max_s'])}."
        )
    if level["pool_waits"]:
        found.append(f"{describe_pool_waits(level)}.")
    if level["never_sent"]:
        found.append(
            f"{count(level['never_sent'], 'request')} of "
            f"{level['requests']} came due and had not been sent "
            "when the level ended."
        )
    return found


def describe_sample(levels: Sequence[Row]) -> str:
    """Say of how many requests and measurements a figure is, and how long the replies are."""
    completed = sum(level["judged_completed"] for level in levels)
    if not completed:
        return "no request completed"
    parts = [count(completed, "request")]
    if completed < sum(level["completed"] for level in levels):
        parts[0] += " of the steady part"
    if len(levels) > 1:
        parts[0] += f" in {len(levels)} measurements"
    lengths = [
        level["output_tokens_mean"]
        for level in levels
        if level["output_tokens_mean"] is not None
    ]
    if lengths:
        parts.append(f"replies of {span(lengths)} tokens")
    return ", ".join(parts)


def describe_alone(study: Study, key: KeyFigures) -> str:
    """Say what one gets with the fewest measured; "" where the key figures say all of it."""
    levels = next(iter(study.by_size().values()), [])
    rates = [level["tokens_per_s_mean"] for level in levels]
    rates = [rate for rate in rates if rate is not None]
    # of repeats, only this sentence tells how they differ
    is_said = key.level in levels and len(levels) == 1
    if not rates or is_said:
        return ""
    n = size_of(levels[0])
    waits = [
        level["ttft_mean_s"]
        for level in levels
        if level["ttft_mean_s"] is not None
    ]
    who = f"With {name_count(n, levels)}, the fewest measured, each gets"
    if n == 1:
        who = "One request alone gets"
    return (
        f"{who} {span(rates)} tokens/s and waits {span(waits, seconds)} "
        f"for the first token ({describe_sample(levels)})."
    )


def describe_capacity(
    study: Study, objectives: Objectives, services: Services
) -> str:
    """Say how many can be served: the highest level below which none misses the objectives."""
    wish, served = describe_objectives(objectives), 0
    for n, levels in study.by_size().items():
        found = [
            services.get(level["level_id"], NO_SERVICE) for level in levels
        ]
        short = [service for service in found if not service.is_served]
        if not short:
            served = n
            continue
        if all(service.may_be_served for service in short):
            doubtful = next(
                one for one in short[0].demands if not one.is_decided
            )
            return describe_doubt(n, levels, doubtful, served, wish)
        worst = min(short, key=rank)
        times = ""
        if len(found) > 1:
            times = f"in {len(short)} of {len(found)} measurements, "
        if len(short) > 1 and (n == 1 or any(one.good for one in short)):
            times += "at worst "
        missed = f"{times}{describe_shortfall(worst, objectives)}"
        if served:
            return f"{name_served(served, levels)} {wish}; with {n}, {missed}."
        gets = say_they_get(n, levels)
        if worst.has_no_rates:
            return f"Whether {gets} {wish} cannot be told: {missed}."
        return f"Not even {gets} {wish}: {missed}."
    if not served:
        return ""
    gets = say_they_get(served, study.levels)
    return f"{gets[0].upper()}{gets[1:]} {wish}; more were not measured."


def rank(service: Service) -> tuple[float, float]:
    """Return what is lower for a level that was served worse: of equal shares, the slower."""
    slowest = service.worst.get("tokens_per_s")
    return service.share, math.inf if slowest is None else slowest


def name_served(served: int, levels: Sequence[Row]) -> str:
    gets = say_they_get(served, levels)
    return (
        f"{gets[0].upper()}{gets[1:]}" if served == 1 else f"Up to {gets}"
    )


def describe_doubt(
    n: int,
    levels: Sequence[Row],
    outcome: DemandOutcome,
    served: int,
    wish: str,
) -> str:
    """Say that nobody can tell whether a level meets the objectives, and what is known below."""
    why = f"cannot be told: {describe_undecided(outcome)}"
    do = "does" if n == 1 else "do"
    if served:
        return (
            f"{name_served(served, levels)} {wish}; "
            f"whether {name_crowd(n, levels)} {do} {why}."
        )
    return f"Whether {say_they_get(n, levels)} {wish} {why}."


def describe_undecided(outcome: Service | DemandOutcome) -> str:
    was = "was" if outcome.undecided == 1 else "were"
    return f"{outcome.undecided} of {outcome.ended} {was} cut before it showed"


def describe_shortfall(service: Service, objectives: Objectives) -> str:
    """Say what kept a level from serving its people: failures, or the objectives it missed."""
    parts = []
    short = [one for one in service.demands if not one.is_reached]
    enough = max(
        (one.demand.enough for one in short), default=ENOUGH_RATIO
    )
    allowed = (1 - enough) * service.asked
    failed = service.asked - service.completed
    if failed == service.asked > 0:
        parts.append(
            "it failed" if failed == 1 else f"all {failed} failed"
        )
    elif failed > allowed:
        parts.append(f"{failed} of {service.asked} failed")
    if service.cut > allowed:
        parts.append(
            f"the context cut the prompt or the reply of {service.cut} of {service.asked}"
        )
    for outcome in short:
        parts += describe_demand(outcome, service, objectives)
    if not parts:
        parts.append(
            f"only {short[0].good} of {short[0].asked} got "
            f"{describe_bounds(short[0].demand.names, objectives)}"
            if len(service.demands) > 1
            else f"only {service.good} of {service.asked} got all of that"
        )
    text = " and ".join(parts)
    # where most were served, it is not plain that this is not enough
    is_close = service.good > service.asked / 2
    if not is_close or len({one.demand.enough for one in short}) > 1:
        return text
    who = "all" if enough == 1 else exact_percent(enough)
    return f"{text}; {who} must get that"


def describe_demand(
    outcome: DemandOutcome, service: Service, objectives: Objectives
) -> list[str]:
    """Say which of the objectives of a demand were missed, each by how many."""
    names, enough = outcome.demand
    found = [
        describe_missed(name, objectives[name].bound, service)
        for name in objectives
        if name in names
        and service.completed
        and service.met[name] < enough * service.completed
    ]
    if not outcome.is_decided:
        found.append(describe_undecided(outcome))
    return found


def describe_missed(name: str, bound: float, service: Service) -> str:
    """Say how many met an objective, and the worst that was seen."""
    write = digits if name == "tokens_per_s" else seconds
    worst_seen = service.worst[name]
    worst = write(worst_seen)
    if worst_seen is None:
        return NO_RATE if service.completed == 1 else NO_RATES
    if service.completed == 1:
        return WORST[name].format(worst)
    extreme = "slowest" if name in ("tokens_per_s", "tpot") else "longest"
    met = service.met[name]
    if met and extreme == "slowest" and not service.cut:
        sign = 1 if name == "tpot" else -1
        if sign * worst_seen <= sign * bound:  # all that are known
            return (
                f"the replies of {service.completed - met} of {service.completed} "
                "came in one piece, so that their speed is not known"
            )
    got = f"only {met} of {service.completed} got" if met else "none got"
    return f"{got} {describe_objective(name, bound)} ({extreme} {worst})"
