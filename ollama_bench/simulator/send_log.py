"""When tokens were due and when they were really written: the log, and how late the writes were."""

from __future__ import annotations

import collections
import io
import json
from typing import TypedDict

from ollama_bench.simulator.settings import SimulatorError

STEP_NS = 10_000  # resolution of the histogram


class ReplyRecord(TypedDict):
    """One reply in the log; instants are of time.perf_counter_ns()."""

    number: int
    id: str | None  # of the header X-Request-Id
    prompt_prefix: str
    outcome: str | None  # done, refused or disconnected
    read_ns: int
    admitted_ns: int | None
    end_ns: int | None
    due_ns: list[int]
    writes_ns: list[int]


class SendLog:
    """One JSON line per reply, written while nothing streams."""

    def __init__(self, path: str | None) -> None:
        self._records: list[ReplyRecord] = []
        self._file: io.FileIO | None = None
        if path:
            try:
                # unbuffered: a batch of lines is one write
                self._file = io.FileIO(path, "ab")
            except OSError as error:
                raise SimulatorError(
                    f"cannot write --log {path}: {error.strerror}"
                ) from None

    def add(self, record: ReplyRecord) -> None:
        if self._file:
            self._records.append(record)

    def flush(self) -> None:
        if self._file and self._records:
            records, self._records = self._records, []
            self._file.write(
                "".join(
                    json.dumps(record) + "\n" for record in records
                ).encode()
            )

    def close(self) -> None:
        self.flush()
        if self._file:
            self._file.close()


class LatenessHistogram:
    """How late writes were: cheap to add to and to read."""

    def __init__(self) -> None:
        self.n = 0
        self._counts: collections.Counter[int] = collections.Counter()
        self._max_ns = 0

    def add(self, late_ns: int) -> None:
        self._counts[late_ns // STEP_NS] += 1
        self.n += 1
        self._max_ns = max(self._max_ns, late_ns)

    def summarize(self) -> dict[str, float]:
        """Return p50, p99 (rounded up to 10 µs) and max in seconds; nothing before the first."""
        if not self.n:
            return {}
        return {
            "p50": self._percentile(0.50),
            "p99": self._percentile(0.99),
            "max": self._max_ns / 1e9,
        }

    def _percentile(self, share: float) -> float:
        left = share * self.n
        step = 0
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                break
        return (step + 1) * STEP_NS / 1e9
