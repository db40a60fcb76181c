"""Settings of the Python interpreter while a level runs: what may delay its threads."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

# Threads that make requests ready or digest replies yield this soon to those that receive and send.
LIVE_SWITCH_S = 0.0005
# Nothing is urgent any more: many short turns of the thread that writes results would only cost.
DIGESTING_SWITCH_S = 0.1
# Objects that stayed since the last collection, beyond those of requests in flight.
MOST_GARBAGE = 500_000


class Interpreter:
    """Keeps the garbage collector and the switching of threads out of the way of streams."""

    def __init__(self) -> None:
        self._switch_s = sys.getswitchinterval()

    @contextlib.contextmanager
    def tuned(self, is_burst: bool) -> Iterator[None]:
        """Collect no garbage for now, and in a load that goes on switch threads sooner."""
        gc.collect()
        gc.freeze()  # later collections look at new objects only
        # a collection would stop all threads for tens of milliseconds
        gc.disable()
        if not is_burst:
            sys.setswitchinterval(LIVE_SWITCH_S)
        try:
            yield
        finally:
            sys.setswitchinterval(self._switch_s)
            gc.enable()
            gc.unfreeze()

    def favor_digesting(self) -> None:
        """No stream is left: switch threads seldom."""
        sys.setswitchinterval(DIGESTING_SWITCH_S)

    def favor_streams(self) -> None:
        """Streams come in again: switch threads as usual."""
        sys.setswitchinterval(self._switch_s)

    def collect_if_needed(self) -> None:
        """Collect garbage if so much has gathered that memory would be short."""
        if gc.get_count()[0] > MOST_GARBAGE:
            gc.collect()
