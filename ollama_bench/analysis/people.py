"""Levels of people, who think between a reply and their next question: how they fared."""

from __future__ import annotations

from ollama_bench.analysis.caveat import Caveat
from ollama_bench.analysis.crowd import PEOPLE, name_crowd, noun
from ollama_bench.analysis.service import Service
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wasted import describe_wasted
from ollama_bench.analysis.wording import (
    describe_bounds,
    describe_objectives,
    digits,
    join,
    seconds,
)
from ollama_bench.inputs.objectives import Objectives


def is_people(study: Study) -> bool:
    """Return whether concurrency counts people, not requests at once."""
    return noun(study.levels) == PEOPLE


def describe_people(
    level: Row, service: Service, objectives: Objectives, is_told: bool
) -> str:
    """Say how often people asked, and what they got, unless that is told already."""
    n = level["concurrency"]
    # those that were not answered as well
    lasted_s = level["duration_s"]
    asked = level["requests"] / lasted_s if lasted_s else None
    verb = "asks" if n == 1 else "ask"
    parts = [f"{name_crowd(n, [level])} {verb} {digits(asked)} requests/s"]
    if level["in_flight_mean"] is not None:
        parts.append(
            f"{digits(level['in_flight_mean'])} are in flight on average, "
            f"{level['in_flight_peak']} at most"
        )
    if level["tokens_per_s_mean"] is not None and not is_told:
        parts.append(
            f"each gets {digits(level['tokens_per_s_mean'])} tokens/s and waits "
            f"{seconds(level['ttft_mean_s'])} (longest {seconds(level['ttft_max_s'])}; "
            f"n = {level['judged_completed']})"
        )
    if level["abandoned"]:
        parts.append(
            f"{level['abandoned']} of {level['requests']} left without a first token "
            f"after {seconds(level['patience_s'])}"
        )
        parts += filter(None, [describe_wasted(level)])
    parts.append(describe_good(level, service, objectives))
    return f"{'; '.join(parts)}."


def describe_good(
    level: Row, service: Service, objectives: Objectives
) -> str:
    """Say how many of the judged requests of a level got what each demand asks for."""
    wish = describe_objectives(objectives)
    ended = level["requests"] - level["in_flight"]
    part = " of the steady part" if service.ended < ended else ""
    if len(service.demands) < 2:
        return f"{service.good} of {service.ended}{part} got {wish}"
    return join(
        [
            f"{outcome.good} of {outcome.ended}{part} got "
            f"{describe_bounds(outcome.demand.names, objectives)}"
            for outcome in service.demands
        ]
    )


def broken_law(study: Study) -> list[Caveat]:
    """Return the levels whose people, requests and times do not fit together."""
    return [
        Caveat(
            f"with {name_crowd(level['concurrency'], [level])}, people are "
            f"{level['people_law']:.2f} times requests/s x (response time + think time) "
            f"({level['people_law_low']:.2f} to {level['people_law_high']:.2f})",
            "In a steady level it is 1: this one was not steady, or requests went missing",
            "Use a longer --duration, and do not trust this level's requests/s",
        )
        for level in study.levels
        if level["people_law_low"] is not None
        and not level["people_law_low"] <= 1 <= level["people_law_high"]
    ]
