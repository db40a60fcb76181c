"""What runs in a worker of a fleet that watches its machine: the monitor of a run elsewhere.

    watch = MachineWatch(ports=[11434])
    watch.take("")  # -> Seen: rows whose instants are of this process's clock
    watch.stop()

It is bench.py's own monitor. What that would store is kept until the coordinator asks for it.
"""

from __future__ import annotations

import collections
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ollama_bench.fleet.agent import SILENT_S
from ollama_bench.monitor.latest_figures import LatestFigures
from ollama_bench.monitor.monitor import Coverage, Monitor
from ollama_bench.power.sources import find_sources

# what the coordinator may wish before it is told what was seen
MARK, RELEASE = "mark", "release"
LOOK_S = 1.0  # between two looks whether the coordinator is still there


class BoxedRow(NamedTuple):
    """A row that is to be added, inserted or changed."""

    table: str
    columns: dict[str, Any]
    # of an inserted row, by which later ones mean it; 0: nobody does
    number: int = 0


class RowBox:
    """Keeps what a monitor stores, until it is fetched. Any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[BoxedRow] = []
        self._numbers = itertools.count(1)

    def insert(self, table: str, row: dict[str, Any]) -> int:
        with self._lock:
            number = next(self._numbers)
            self._rows.append(BoxedRow(table, row, number))
        return number

    def add(self, table: str, row: dict[str, Any]) -> None:
        with self._lock:
            self._rows.append(BoxedRow(table, row))

    def update(
        self, table: str, row_id: int, changes: dict[str, Any]
    ) -> None:
        with self._lock:
            self._rows.append(BoxedRow(table, changes, row_id))

    def take(self) -> list[BoxedRow]:
        """Return what has come since the last call."""
        with self._lock:
            rows, self._rows = self._rows, []
        return rows


@dataclass(frozen=True)
class Seen:
    """What a worker has seen of its machine since it was asked last, by its own clock."""

    rows: list[BoxedRow]
    said: list[str]  # lines for the user
    coverage: list[Coverage]
    latest: LatestFigures
    is_ready: bool  # every source that works has given a sample
    has_ended: bool  # nothing more is seen


class MachineWatch:
    """Watches this machine until stop(), or until nobody has asked for SILENT_S."""

    def __init__(self, ports: Sequence[int]) -> None:
        """ports: of the servers that run here."""
        self._box = RowBox()
        # the monitor's threads append
        self._said: collections.deque[str] = collections.deque()
        self._asked_s = time.monotonic()
        self._stopped = threading.Event()
        # its instants are those of the clock, until the coordinator counts
        # them from the run's begin
        self._monitor = Monitor(
            self._box,
            run_id=0,
            origin_ns=0,
            sources=find_sources(),
            ports=ports,
            say=self._said.append,
        )
        self._monitor.start()
        threading.Thread(
            target=self._look, name="watch", daemon=True
        ).start()

    def take(self, wish: str) -> Seen:
        """Return what was seen since the last call, after what is wished was done."""
        self._asked_s = time.monotonic()
        if wish == MARK:
            self._monitor.mark()
        elif wish == RELEASE:
            self._monitor.release(time.perf_counter_ns())
        # before the rows: it must not reach beyond them
        coverage = self._monitor.list_coverage()
        is_ready = self._monitor.has_first_sample()
        return Seen(
            self._box.take(),
            [self._said.popleft() for _ in range(len(self._said))],
            coverage,
            self._monitor.latest(),
            is_ready,
            self._stopped.is_set(),
        )

    def stop(self) -> None:
        """End all threads and samplers. May be called twice."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._monitor.stop()

    def _look(self) -> None:
        """End the watch where the coordinator is gone."""
        while not self._stopped.wait(LOOK_S):
            if time.monotonic() - self._asked_s > SILENT_S:
                self.stop()
