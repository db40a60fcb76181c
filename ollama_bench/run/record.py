"""A run in the results file: its row, its clock, and what was stored of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer

Row = dict[str, Any]

LEVEL_ROWS = """
SELECT level_summary.*, mean_w, mean_gpu_mhz, joules_per_output_token,
  gpu_power_w, gpu_joules_per_output_token
FROM level_summary LEFT JOIN energy_summary USING (level_id)"""


def read_rows(
    path: str, sql: str, values: Iterable[object] = ()
) -> list[Row]:
    """Return rows of the results file as it is now. Raises ResultsError."""
    database = connect(path, readonly=True)
    try:
        return list(database.query(sql, list(values)))
    except sqlite3.Error as error:
        raise ResultsError(f"{path}: {error}") from None
    finally:
        database.conn.close()


class RunRecord:
    """One row of the table run, and the clock that its instants are read from.

    ``origin_ns`` is time.perf_counter_ns at the run's zero, ``started_unix`` the same in seconds
    since 1970.
    """

    def __init__(
        self,
        run_id: int,
        writer: Writer,
        path: str,
        origin_ns: int,
        started_unix: float,
    ) -> None:
        self.id, self.writer, self.path = run_id, writer, path
        self.origin_ns, self.started_unix = origin_ns, started_unix

    def now_ns(self) -> int:
        """Nanoseconds since the run's zero."""
        return time.perf_counter_ns() - self.origin_ns

    def rows(self, sql: str, values: Iterable[object] = ()) -> list[Row]:
        """Return rows of the results file, with everything written so far."""
        self.writer.flush()
        return read_rows(self.path, sql, values)

    def update(self, columns: Mapping[str, object]) -> None:
        self.writer.update("run", self.id, dict(columns))

    def note(self, kind: str, detail: str) -> None:
        """Store that something happened now."""
        row = {
            "run_id": self.id,
            "at_ns": self.now_ns(),
            "kind": kind,
            "detail": detail,
        }
        self.writer.add("event", row)

    def level(self, level_id: int) -> Row | None:
        """Return a level's figures and watts; None if another program has deleted it."""
        found = self.rows(f"{LEVEL_ROWS} WHERE level_id = ?", [level_id])
        return found[0] if found else None

    def levels(self) -> list[Row]:
        """Return the figures of every level that counts, in the order they were measured."""
        condition = "level_summary.run_id = ? AND NOT superseded AND NOT is_control"
        return self.rows(
            f"{LEVEL_ROWS} WHERE {condition} ORDER BY level_id", [self.id]
        )

    def close(self, status: str) -> None:
        """Store how the run ended. Raises ResultsError."""
        now_ns = self.now_ns()
        # the clock was set meanwhile
        moved_s = time.time() - self.started_unix - now_ns / 1e9
        self.writer.describe_now = None
        columns = {
            "status": status,
            "live": None,
            "ended_ns": now_ns,
            "seen_unix": time.time(),
        }
        self.update({**columns, "clock_step_s": moved_s})
        self.writer.flush()
