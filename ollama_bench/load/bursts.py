"""When the requests of a load in bursts may leave: all at one instant, when none is in flight."""

from __future__ import annotations

from ollama_bench.load.arrivals import ArrivalQueue
from ollama_bench.load.spec import LevelSpec


class Bursts:
    """What has left of a burst; the dispatcher's gate guards it."""

    def __init__(self, spec: LevelSpec, arrivals: ArrivalQueue) -> None:
        self._is_on, self._workers = spec.in_bursts, spec.workers
        self._arrivals = arrivals
        self._left = 0  # requests of this burst that have not left

    def may_send(self, in_flight: int) -> bool:
        """Tell whether the burst goes on, or the next one may begin: all ended, all are ready."""
        if self._left or not self._is_on:
            return True
        arrivals = self._arrivals
        is_last = arrivals.next_due_s is None
        needed = len(arrivals) if is_last else self._workers
        return not in_flight and arrivals.ready_count >= needed

    def count_sent(self) -> bool:
        """Count a request that leaves; tell whether it is the first of its burst."""
        if not self._is_on:
            return False
        is_first = not self._left
        self._left = (self._left or self._workers) - 1
        return is_first
