"""Looks whether the queue of an open loop grows, and ends the load early when it does."""

from __future__ import annotations

from array import array

from ollama_bench.load.dispatcher import Dispatcher
from ollama_bench.load.request import Outcome
from ollama_bench.load.result import LevelResult
from ollama_bench.load.watchdog import Watchdog, find_last_heard_ns
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
        # the longest from a question to the end of its reply
        self._longest_ns = 0
        self._last_end_ns = 0  # of a whole reply
        self._seconds = array("d")  # since the level's start
        self._arrived, self._ended = array("q"), array("q")
        self._next_look_s = 0.0
        self._is_over = False

    def note_end(self, outcome: Outcome) -> None:
        """Note a request that has ended."""
        self._first_ended += outcome.task.number <= FIRST
        sent_ns, ended_ns = outcome.sent_ns, outcome.ended_ns
        if outcome.status == "completed" and sent_ns and ended_ns:
            self._longest_ns = max(self._longest_ns, ended_ns - sent_ns)
            self._last_end_ns = max(self._last_end_ns, ended_ns)

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
            self._judge(now_ns)
            return
        self._seconds.append(now_s)
        self._arrived.append(counts.arrived)
        self._ended.append(counts.ended)
        # as long as the warm-up took
        is_long_enough = now_s >= 2 * self._seconds[0]
        if is_long_enough and now_s >= self._next_look_s:
            self._next_look_s = now_s * LOOK_RATIO
            self._judge(now_ns)
            if self._result.is_saturated:
                self._end_early()

    def _judge(self, now_ns: int) -> None:
        samples = self._seconds, self._arrived, self._ended
        slope = measure_slope(*samples)
        if slope is None:
            return
        is_saturated = is_growing(*samples)
        if is_saturated and self._is_silent(now_ns):
            return  # the server has stopped, or stands still
        self._result.queue_slope = slope
        self._result.is_saturated = is_saturated

    def _is_silent(self, now_ns: int) -> bool:
        """Tell whether nothing was heard for longer than any reply took; a full server is heard."""
        heard_ns = [
            find_last_heard_ns(flight, now_ns)
            for flight in list(self._result.exchanges)
        ]
        last_ns = max([self._last_end_ns, *heard_ns])
        return now_ns - last_ns > self._longest_ns

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
