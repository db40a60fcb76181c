"""journal.py - what the monitor notes as events, and what it tells the user, each kind once."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

from ollama_bench.monitor.store import Store
from ollama_bench.terminal.output import clean_line

# characters shown of a message: a sampler's usage text has pages; the event keeps all
MESSAGE_LENGTH = 200


class Journal:
    """The events of one run, and the lines for its user. Any thread may write."""

    def __init__(
        self,
        store: Store,
        run_id: int,
        origin_ns: int,
        say: Callable[[str], object] | None = None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._origin_ns = origin_ns  # perf_counter_ns when the run began
        self._say = say or print_line
        self._told: set[str] = set()  # kinds

    def note(
        self, kind: str, detail: str, at_ns: int | None = None
    ) -> None:
        """Store an event, of now unless at_ns (perf_counter_ns) says when."""
        at_ns = time.perf_counter_ns() if at_ns is None else at_ns
        row = {
            "run_id": self._run_id,
            "at_ns": at_ns - self._origin_ns,
            "kind": kind,
            "detail": detail,
        }
        self._store.add("event", row)

    def tell(self, kind: str, text: str) -> None:
        """Say one line to the user, once per kind."""
        if kind not in self._told:
            self._told.add(kind)
            self._say(text)

    def note_and_tell(
        self, kind: str, detail: str, at_ns: int | None = None
    ) -> None:
        """Store an event of a power source and say it, too."""
        self.note(kind, detail, at_ns)
        self.tell(kind, f"power: {detail:.{MESSAGE_LENGTH}}")

    def guard(self, kind: str, work: Callable[[], object]) -> None:
        """Do some work; whatever goes wrong in it is one line and never reaches the run."""
        try:
            work()
        except Exception as error:
            message = f"monitor: {kind}: {type(error).__name__}: {error}"
            self.tell(f"{kind} failed", message)


def print_line(text: str) -> None:
    with contextlib.suppress(OSError):  # stderr may be closed
        print(clean_line(text), file=sys.stderr, flush=True)
