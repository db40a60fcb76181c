"""One timer for everything that is due: a timer per stream costs too much."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

LONGEST_TURN_NS = (
    5_000_000  # of writing, before the sockets get their turn
)

Action = Callable[[int], None]


class Agenda:
    """Call actions when they are due, in order, from one heap and one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[int, int, Action]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ns: int | None = None
        self._ties = itertools.count()

    def at(self, due_ns: int, action: Action) -> None:
        """Call action(due_ns) at that instant of time.perf_counter_ns()."""
        heapq.heappush(self._heap, (due_ns, next(self._ties), action))
        if self._armed_ns is None or due_ns < self._armed_ns:
            self._arm()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._armed_ns = None
        if self._heap:
            self._armed_ns = self._heap[0][0]
            delay_s = max(0, self._armed_ns - time.perf_counter_ns()) / 1e9
            self._timer = self._loop.call_later(delay_s, self._run)

    def _run(self) -> None:
        # nothing due can be earlier: no arming while this runs
        self._armed_ns = 0
        heap = self._heap
        until_ns = time.perf_counter_ns() + LONGEST_TURN_NS
        while heap and heap[0][0] <= min(time.perf_counter_ns(), until_ns):
            due_ns, _, action = heapq.heappop(heap)
            action(due_ns)
        self._arm()
