"""Which levels a run consists of, and in which order."""

from __future__ import annotations

import random
from typing import NamedTuple

from ollama_bench.inputs.settings import Cache, Settings


class Level(NamedTuple):
    """One level to measure; it is measured again as another ``repeat``."""

    model: str
    concurrency: int
    repeat: int
    cache: str


def plan_levels(settings: Settings) -> list[Level]:
    """Return every level in order: as typed, or shuffled by the seed if they are repeated."""
    levels: list[Level] = []
    for model in settings.request.models:
        for repeat in range(1, settings.load.repeat + 1):
            block = [
                Level(model, concurrency, repeat, cache)
                for concurrency in settings.load.levels
                for cache in caches(settings.request.cache)
            ]
            if settings.load.repeat > 1:
                random.Random(
                    f"{settings.load.seed} {model} {repeat}"
                ).shuffle(block)
            levels += block
    return levels


def caches(cache: Cache) -> tuple[str, ...]:
    return ("cold", "warm") if cache == "both" else (cache,)


def missing_levels(settings: Settings, done: set[Level]) -> list[Level]:
    """Return the levels still to measure; a search for the capacity may need any of them."""
    planned = plan_levels(settings)
    if settings.judging.find_capacity:
        return planned
    return [level for level in planned if level not in done]
