"""Looks whether the queue of an open loop grows, and ends the load early when it does."""

from __future__ import annotations

from array import array

from ollama_bench.load.dispatcher import Dispatcher
from ollama_bench.load.request import Outcome
from ollama_bench.load.result import LevelResult
from ollama_bench.load.watchdog import Watchdog
from ollama_bench.statistics.saturation import is_growing, measure_slope

SAMPLE_S = 0.05  # at least between two samples
# each look comes when so much more time has passed
LOOK_RATIO = 1.05
# The warm-up is over when all but one of so many first requests have ended: one reply may have no
# end. The longest of the others lasts nearly three times the mean of an exponential law.
FIRST = 20
# why those are cancelled who wait for a first token when the load is ended
NOT_AWAITED = "not awaited: the level was saturated"


class QueueWatch:
    """The requests of an open loop that have come and have not ended, over time.

    Only the conductor's thread calls it.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        result: LevelResult,
        watchdog: Watchdog,
    ) -> None:
        self._dispatcher = dispatcher
        self._result = result
        self._watchdog = watchdog
        self._first_ended = 0  # of the first requests
        self._seconds = array("d")  # since the level's start
        self._arrived, self._ended = array("q"), array("q")
        self._next_look_s = 0.0
        self._is_over = False

    def note_end(self, outcome: Outcome) -> None:
        """Note a request that has ended."""
        self._first_ended += outcome.task.number <= FIRST

    def look(self, now_ns: int) -> None:
        """Take a sample, and end the load where the queue grows."""
        started_ns = self._result.started_ns
        is_warm = self._first_ended >= FIRST - 1
        if self._is_over or started_ns is None or not is_warm:
            return
        now_s = (now_ns - started_ns) / 1e9
        if self._seconds and now_s < self._seconds[-1] + SAMPLE_S:
            return
        counts = self._dispatcher.count_queue()
        if counts is None:  # nothing more comes
            self._is_over = True
            self._judge()
            return
        self._seconds.append(now_s)
        self._arrived.append(counts.arrived)
        self._ended.append(counts.ended)
        # as long as the warm-up took
        is_long_enough = now_s >= 2 * self._seconds[0]
        if is_long_enough and now_s >= self._next_look_s:
            self._next_look_s = now_s * LOOK_RATIO
            self._judge()
            if self._result.is_saturated:
                self._end_early()

    def _judge(self) -> None:
        samples = self._seconds, self._arrived, self._ended
        self._result.queue_slope = measure_slope(*samples)
        if self._result.queue_slope is not None:
            self._result.is_saturated = is_growing(*samples)

    def _end_early(self) -> None:
        """Send nothing more; who still waits for a first token is not awaited."""
        self._is_over = True
        slope = self._result.queue_slope
        assert slope is not None
        why = (
            f"the queue grew by {slope.value:.2g} requests/s "
            f"({slope.low:.2g} to {slope.high:.2g})"
        )
        self._dispatcher.end_early(why)
        self._watchdog.cut_waiting(NOT_AWAITED)
