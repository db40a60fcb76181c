"""How late any thread of this process can be, and whether the process stood still."""

from __future__ import annotations

import bisect
import threading
import time
from array import array

from ollama_bench.platforms import sleep_clock

HEARTBEAT_S = 0.02
# a beat this late: the process was stopped, or the machine slept
STOOD_STILL_S = 0.5


class Heartbeat:
    """A thread that only sleeps; how late it wakes is how late any thread here can be.

    A beat that is very late, by the clock that goes on while the machine sleeps, means that this
    process stood still. Its thread alone writes the fields; they are appended to, so that other
    threads may read them while it runs.
    """

    def __init__(self) -> None:
        # (from, to), instants of time.perf_counter_ns
        self.pauses: list[tuple[int, int]] = []
        self.last_pause_end_ns = 0
        # how long each was, by the clock that goes on in a sleep
        self._pauses_ns: list[int] = []
        self._beats_ns = array("q")  # the instant of each beat
        self._late_ns = array("q")  # how late each was
        self._is_stopped = False  # the owner's; the thread only reads it
        self._thread = threading.Thread(
            target=self._beat, name="heartbeat", daemon=True
        )
        self._thread.start()

    def _beat(self) -> None:
        beat_ns = int(HEARTBEAT_S * 1e9)
        while not self._is_stopped:
            before_ns, continuous_before_ns = (
                time.perf_counter_ns(),
                sleep_clock.continuous_ns(),
            )
            time.sleep(HEARTBEAT_S)
            now_ns = time.perf_counter_ns()
            late_ns = now_ns - before_ns - beat_ns
            continuous_late_ns = (
                sleep_clock.continuous_ns()
                - continuous_before_ns
                - beat_ns
            )
            pause_ns = max(late_ns, continuous_late_ns)
            if pause_ns > STOOD_STILL_S * 1e9:
                self._pauses_ns.append(pause_ns)
                self.pauses.append((before_ns, now_ns))
                self.last_pause_end_ns = now_ns
            self._late_ns.append(max(0, late_ns))
            self._beats_ns.append(now_ns)

    def find_late_ns(self, start_ns: int, end_ns: int) -> array[int]:
        """Return how late each beat between two instants was."""
        first = bisect.bisect_left(self._beats_ns, start_ns)
        last = bisect.bisect_right(self._beats_ns, end_ns)
        return self._late_ns[first:last]

    def measure_paused_s(self, start_ns: int, end_ns: int) -> float:
        """Return how long this process stood still between two instants, in seconds.

        It can be more than the time between them: of a sleep that their clock does not see.
        """
        paused_ns = 0
        for (pause_start_ns, pause_end_ns), pause_ns in zip(
            self.pauses, self._pauses_ns, strict=False
        ):
            if pause_end_ns > start_ns and pause_start_ns < end_ns:
                before_ns = max(0, start_ns - pause_start_ns)
                after_ns = max(0, pause_end_ns - end_ns)
                paused_ns += max(0, pause_ns - before_ns - after_ns)
        return paused_ns / 1e9

    def stop(self) -> None:
        """End the thread."""
        self._is_stopped = True
        self._thread.join()
