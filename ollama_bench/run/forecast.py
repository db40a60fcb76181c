"""How long a level and a run still take, by what has been measured, and replies without an end.

Everything here is an estimate. Where nothing is known, nothing is said.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from ollama_bench.inputs.settings import LoadSettings
from ollama_bench.run.plan import Level
from ollama_bench.run.record import RunRecord
from ollama_bench.terminal.figures import format_about
from ollama_bench.terminal.picture import (
    Level as ShownLevel,
)
from ollama_bench.terminal.picture import count_requests, measure_elapsed

# less of a level tells too little about the rest
LEAST_FRACTION = 0.1
# a reply without a ceiling is said to be long: past so many times what is usual, or so long
LONG_RATIO, LONG_S = 10, 300.0
# but never one that has run for less
SHORT_S = 30.0
MEASURED = """
SELECT model, cache, asked_prompt_tokens, prompt_mix, concurrency,
  (ended_ns - started_ns) / 1e9 AS seconds,
  (SELECT avg(output_tokens) FROM request
   WHERE level_id = level.id AND status = 'completed') AS reply_tokens
FROM level
WHERE run_id = ? AND status = 'finished' AND coalesce(slept_s, 0) = 0
  AND ended_ns > started_ns"""

# model, cache, asked_prompt_tokens and prompt_mix
Kind = tuple[str, str, int | None, str | None]
KIND = ("model", "cache", "asked_prompt_tokens", "prompt_mix")


class Measured(NamedTuple):
    """A level that is in the file already."""

    concurrency: int
    seconds: float
    reply_tokens: float | None = None  # mean of the completed


def read_measured(record: RunRecord) -> dict[Kind, list[Measured]]:
    """Return the finished levels of a run."""
    found = defaultdict(list)
    for row in record.rows(MEASURED, [record.id]):
        measured = Measured(
            row["concurrency"], row["seconds"], row["reply_tokens"]
        )
        model, cache, tokens, mix = (row[column] for column in KIND)
        found[model, cache, tokens, mix].append(measured)
    return found


def find_kind(level: Level) -> Kind:
    """Return what levels have in common that tell of each other."""
    return (
        level.model,
        level.cache,
        level.asked_prompt_tokens,
        level.prompt_mix,
    )


def predict_s(
    concurrency: int, measured: Sequence[Measured], is_burst: bool
) -> float | None:
    """Return how long a level takes, by levels of the same load; None where they do not tell.

    By one of as many requests at once, else by the line through the two nearest. A burst of
    twice as many takes at most twice as long, and at least as long; a closed loop, which shares
    its requests among more, at most as long and at least half as long.
    """
    by_size = defaultdict(list)
    for one in measured:
        by_size[one.concurrency].append(one.seconds)
    if concurrency in by_size:
        return fmean(by_size[concurrency])
    nearest = sorted(by_size, key=lambda size: abs(size - concurrency))[:2]
    if len(nearest) < 2:
        return None
    near, far = nearest
    near_s, far_s = fmean(by_size[near]), fmean(by_size[far])
    slope = (near_s - far_s) / (near - far)
    ratio = concurrency / near if is_burst else near / concurrency
    low_s, high_s = sorted((near_s, near_s * ratio))
    return min(max(near_s + slope * (concurrency - near), low_s), high_s)


@dataclass(frozen=True)
class Forecast:
    """What can be said of a level while it runs, and of the levels after it."""

    settings: LoadSettings
    level: Level
    measured: Mapping[Kind, Sequence[Measured]]
    # the levels after this one; None: not known
    rest: Sequence[Level] | None
    ceiling: int | None  # tokens of a reply
    warmup_tokens: int | None  # of the reply that loaded the model

    def describe_left(self, shown: ShownLevel) -> str:
        """Return about how long the level and the run still take; "" where it is not known."""
        left_s = self.estimate_left_s(shown)
        if left_s is None or left_s <= 0:
            return ""
        text = f"about {format_about(left_s)} left in this level"
        rest_s = self.estimate_rest_s()
        if rest_s:
            text += f", {format_about(left_s + rest_s)} in the run"
        return text

    def estimate_left_s(self, shown: ShownLevel) -> float | None:
        """Return about how many seconds the level still takes; None: not known."""
        elapsed_s = measure_elapsed(shown)
        planned_s = self._plan_s(self.level)
        fraction = self._measure_fraction(shown)
        left_s = None
        if fraction is not None and fraction >= LEAST_FRACTION:
            left_s = elapsed_s * (1 - fraction) / fraction
        elif planned_s is not None:
            left_s = planned_s - elapsed_s
        deadline_s = self.settings.deadline_s
        if left_s is not None and deadline_s is not None:
            left_s = min(left_s, deadline_s - elapsed_s)
        return left_s

    def estimate_rest_s(self) -> float | None:
        """Return about how many seconds the levels after this one take; None: not known."""
        if self.rest is None:
            return None
        total_s = 0.0
        for level in self.rest:
            planned_s = self._plan_s(level)
            if planned_s is None or level.cache == "warm":
                return None
            total_s += planned_s + self.settings.cooldown_s
        return total_s

    def find_long_reply(self, shown: ShownLevel) -> str:
        """Return a warning where a reply without a ceiling does not end; "" where none is due."""
        if self.ceiling is not None:
            return ""
        usual = self._find_reply_tokens() or self.warmup_tokens
        longest_s, longest = 0.0, 0
        now_ns = time.perf_counter_ns()
        for exchange in shown.exchanges:
            if exchange.sent_ns is None or exchange.ended_ns is not None:
                continue
            passed_s = (now_ns - exchange.sent_ns) / 1e9
            tokens = exchange.reads - 1
            is_longer = usual and tokens > LONG_RATIO * usual
            is_long = is_longer and passed_s > SHORT_S
            if (is_long or passed_s > LONG_S) and tokens >= longest:
                longest_s, longest = passed_s, tokens
        if not longest_s:
            return ""
        return (
            f"a reply has {longest:,} tokens after {longest_s:.0f} s and goes on;"
            " --tokens N gives replies a ceiling"
        )

    def _plan_s(self, level: Level) -> float | None:
        """Return how long a level takes, by its end or by levels that were measured."""
        settings = self.settings
        ends_s = []
        if settings.duration_s is not None:
            ends_s.append(settings.duration_s)
        if settings.rate_per_s and settings.requests:
            ends_s.append(settings.requests / settings.rate_per_s)
        if not ends_s:
            measured = self.measured.get(find_kind(level), [])
            is_burst = settings.kind == "burst"
            seconds = predict_s(level.concurrency, measured, is_burst)
            if seconds is None:
                return None
            ends_s.append(seconds)
        if settings.deadline_s is not None:
            ends_s.append(settings.deadline_s)
        return min(ends_s)

    def _measure_fraction(self, shown: ShownLevel) -> float | None:
        """Return how much of a level's tokens or requests is there; None: not known."""
        settings = self.settings
        if not shown.planned or settings.rate_per_s or settings.duration_s:
            return None
        done = float(count_requests(shown).ended)
        usual = self._find_reply_tokens() or self.ceiling
        if usual:
            for exchange in shown.exchanges:
                if exchange.ended_ns is None:
                    done += min(max(exchange.reads - 1, 0) / usual, 1.0)
        return min(done / shown.planned, 1.0)

    def _find_reply_tokens(self) -> float | None:
        """Return how long replies are, by the nearest level that was measured."""
        measured = [
            one
            for one in self.measured.get(find_kind(self.level), [])
            if one.reply_tokens
        ]
        nearest = min(
            measured,
            key=lambda one: abs(one.concurrency - self.level.concurrency),
            default=None,
        )
        return nearest.reply_tokens if nearest else None
