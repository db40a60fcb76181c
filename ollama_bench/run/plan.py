"""Which levels a run consists of, and in which order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ollama_bench.inputs.settings import Cache, RequestSettings, Settings
from ollama_bench.terminal.figures import name_lengths

# asked_prompt_tokens and prompt_mix of a level
AskedLengths = tuple[int | None, str | None]


class Level(NamedTuple):
    """One level to measure; it is measured again as another ``repeat``."""

    model: str
    concurrency: int
    repeat: int
    cache: str
    is_control: int = 0  # 1: the first one again, at the end
    # of made-up prompts: their length, or the lengths of a mixture
    asked_prompt_tokens: int | None = None
    prompt_mix: str | None = None

    @property
    def prompts(self) -> str:
        """What its made-up prompts are called; "" of others."""
        return name_lengths(self.asked_prompt_tokens, self.prompt_mix)


def plan_levels(settings: Settings) -> list[Level]:
    """Return every level in order: as typed, or shuffled by the seed if they are repeated.

    Levels in the order typed are followed by a control, which tells whether the machine changed.
    """
    levels: list[Level] = []
    for model in settings.request.models:
        for repeat in range(1, settings.load.repeat + 1):
            block = [
                Level(model, concurrency, repeat, cache, 0, *lengths)
                for lengths in plan_lengths(settings.request)
                for concurrency in settings.load.levels
                for cache in caches(settings.request.cache)
            ]
            if settings.load.repeat > 1:
                random.Random(
                    f"{settings.load.seed} {model} {repeat}"
                ).shuffle(block)
            levels += block
        if has_control(settings):
            first = settings.load.levels[0]
            cache = caches(settings.request.cache)[0]
            lengths = plan_lengths(settings.request)[0]
            levels.append(Level(model, first, 1, cache, 1, *lengths))
    return levels


def plan_lengths(request: RequestSettings) -> list[AskedLengths]:
    """Return each length that made-up prompts have, and their mixture last; neither of others."""
    found: list[AskedLengths] = [
        (tokens, None) for tokens in request.prompt_tokens
    ]
    if request.mix:
        found.append((None, str(request.mix)))
    return found or [(None, None)]


def has_control(settings: Settings) -> bool:
    """Tell whether there is something to control, and no budget that forbids it."""
    load = settings.load
    return (
        load.kind == "burst"
        and load.repeat == 1
        and len(load.levels) * len(plan_lengths(settings.request)) > 1
        and load.deadline_s is None
        and settings.judging.search_budget_s is None
    )


def count_levels(levels: Iterable[Level]) -> int:
    """Return how many of them are no controls."""
    return sum(not level.is_control for level in levels)


def titles(levels: Sequence[Level]) -> Iterator[tuple[str, Level]]:
    """Yield each level with its place among those that are no control."""
    count = count_levels(levels)
    place = 0
    for level in levels:
        place += not level.is_control
        yield (
            "control" if level.is_control else f"level {place} of {count}",
            level,
        )


def caches(cache: Cache) -> tuple[str, ...]:
    return ("cold", "warm") if cache == "both" else (cache,)


def missing_levels(settings: Settings, done: set[Level]) -> list[Level]:
    """Return the levels still to measure; a search for the capacity may need any of them.

    Where a level is missing, so is the control of its model: it belongs to the end.
    """
    planned = plan_levels(settings)
    if settings.judging.search_budget_s is not None:
        return planned
    models = {
        level.model
        for level in planned
        if level not in done and not level.is_control
    }
    return [
        level
        for level in planned
        if level not in done or level.is_control and level.model in models
    ]
