"""What a run does now, as JSON, for the page of a run that is looked at while it runs.

The writer's thread asks for it twice a second and stores it in run.live. Every request in flight
stands in it: the table request learns of a request's instants when it has ended.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from statistics import fmean

from ollama_bench.terminal.picture import (
    Exchange,
    Level,
    count_requests,
    count_tokens,
)
from ollama_bench.terminal.screen import Console

MOST_STREAMS = 400  # that are told one by one: the newest
PACE_S = 5.0  # tokens per second are those of so many seconds


class LiveState:
    """Reads what the screen was told last. For one thread, which may be any."""

    def __init__(self, screen: Console, origin_ns: int) -> None:
        self._screen, self._origin_ns = screen, origin_ns
        self._level: Level | None = None
        # instants, tokens of the level so far, requests that streamed
        self._history: deque[tuple[int, int, int]] = deque()

    def describe(self) -> str:
        """Return the state as JSON."""
        now_ns = time.perf_counter_ns()
        screen, level = self._screen, self._screen.level
        return json.dumps(
            {
                "at_s": self._to_s(now_ns),
                "doing": screen.doing,
                "level": level and self._describe_level(level, now_ns),
            },
            separators=(",", ":"),
        )

    def _describe_level(
        self, level: Level, now_ns: int
    ) -> dict[str, object]:
        counts = count_requests(level)
        tokens = count_tokens(level)
        pace = self._measure_pace(level, now_ns, tokens, counts.streaming)
        return {
            "started_s": self._to_s(level.started_ns),
            "until_s": level.until_s,
            "planned": level.planned,
            "waiting": counts.waiting,
            "streaming": counts.streaming,
            "ended": counts.ended,
            "tokens": tokens,
            "tokens_per_s": pace,
            "tokens_per_s_each": self._measure_each(pace),
            "left": self._screen.describe_left(level),
            "streams": self._list_streams(level.exchanges),
        }

    def _measure_pace(
        self, level: Level, now_ns: int, tokens: int, streaming: int
    ) -> float | None:
        """Return the tokens per second of the last seconds; None where it began just now."""
        if level is not self._level:
            self._level = level
            self._history.clear()
        self._history.append((now_ns, tokens, streaming))
        while now_ns - self._history[0][0] > PACE_S * 1e9:
            self._history.popleft()
        then_ns, before, _ = self._history[0]
        if now_ns == then_ns:
            return None
        # a reply that ended may have fewer tokens than reads
        return max(tokens - before, 0) * 1e9 / (now_ns - then_ns)

    def _measure_each(self, pace: float | None) -> float | None:
        """Return the pace of a stream: of as many as streamed in that time on average."""
        mean = fmean(streaming for _, _, streaming in self._history)
        return pace / mean if pace and mean else None

    def _list_streams(
        self, exchanges: Sequence[Exchange]
    ) -> list[list[float | None]]:
        """Return number, sent, first token and end of the newest that are sent."""
        # a copy: another thread changes the list
        newest = list(exchanges)[-MOST_STREAMS:]
        return [
            [
                exchange.task.number,
                self._to_s(exchange.sent_ns),
                self._to_s(exchange.first_ns),
                self._to_s(exchange.ended_ns),
            ]
            for exchange in newest
            if exchange.sent_ns is not None
        ]

    def _to_s(self, instant_ns: int | None) -> float | None:
        """Return seconds since the run began."""
        if instant_ns is None:
            return None
        return round((instant_ns - self._origin_ns) / 1e9, 3)
