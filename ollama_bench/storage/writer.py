"""The one thread that writes a results file.

with Writer("results.db") as writer:
    run_id = writer.insert("run", {...})             # committed when it returns
    writer.add("process_sample", {...})              # committed within half a second
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import ResultsError

# how long a row may wait for a lock or for space on the disk
WRITE_PATIENCE_S = 60.0
# entries that a writer that has given up keeps in memory and tries again
KEPT_ENTRIES = 100_000
LAST_TRY_S = 5.0  # how long close() then looks for what still fits
# how long the end waits for a reader, to fold the log in
READER_PATIENCE_MS = 500
# a kill -9 costs at most this much, and what was in the queue
COMMIT_EVERY_S = 0.5
# how often run.live is renewed: with each batch, unless it came early
LIVE_EVERY_S = 0.4
ALIVE_EVERY_S = 2.0  # how often run.seen_unix is renewed at least

Row = Mapping[str, object]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Entry(NamedTuple):
    """Something to write: a method of the writer, its arguments, and who waits for its result."""

    action: Callable[..., object]
    arguments: tuple[object, ...]
    future: Future[Any] | None = None


class Writer:
    """Write a results file from any thread.

    Rows come through a queue and are committed together every half second. A lock or a full disk
    makes them wait, not vanish. When WRITE_PATIENCE_S was not enough the writer gives up:
    ``failure`` says why, whatever returns a result raises it, and rows are kept in memory and tried
    again until close(). That raises ResultsError with their number when some could not be written
    even then.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        say: Callable[[str], object] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.run_id: int | None = None  # its seen_unix is kept fresh
        # returns what goes on now, for run.live; None: nobody tells
        self.describe_now: Callable[[], str] | None = None
        # rows that broke a rule of the schema, and changes of absent rows
        self.rejected = 0
        self.failure: ResultsError | None = None  # why it gave up
        self._lost = 0  # entries that memory had no room for
        # what a writer that gave up could not write yet
        self._kept: list[Entry] = []
        self._say = say or print_error
        self._said: set[str] = set()
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._database = connect(self.path)
        self._file = os.stat(self.path)
        self._thread = threading.Thread(
            target=self._work, name="writer", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What callers ask for, from any thread.

    def add(self, table: str, row: Row) -> None:
        """Store a row within half a second."""
        self.add_many(table, tuple(row), [tuple(row.values())])

    def add_many(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
    ) -> None:
        """Store many rows of the same columns within half a second.

        The rows are iterated again at each try.
        """
        self._queue.put(Entry(self._insert_many, (table, columns, rows)))

    def execute_many(
        self, sql: str, rows: Iterable[Sequence[object]]
    ) -> None:
        """Execute a statement for each of many rows within half a second.

        The rows are iterated again at each try.
        """
        self._queue.put(Entry(self._execute_many, (sql, rows)))

    def update(self, table: str, row_id: int, changes: Row) -> None:
        """Change a row, in order with what was added before; an absent one counts as rejected."""
        self._queue.put(
            Entry(self._update, (table, row_id, dict(changes)))
        )

    def insert(self, table: str, row: Row) -> int:
        """Store a row now and return its id. Raises ResultsError, like all that return a result."""
        return self._call(self._insert_one, table, row)

    def lookup(self, table: str, key: Row, rest: Row) -> int:
        """Return the id of the row with a unique key; create it now, whoever else writes."""
        return self._call(self._lookup, table, key, rest)

    def take_over(
        self, run_id: int, seen_unix: float | None, row: Row
    ) -> bool:
        """Change a run that is to be resumed; return False if it was seen alive after seen_unix."""
        return self._call(self._take_over, run_id, seen_unix, row)

    def flush(self) -> None:
        """Return when everything said so far is committed."""
        self._call(lambda: None)

    def close(self) -> None:
        """Commit the rest, fold the write-ahead log into the file, and close it.

        Raises ResultsError when rows are lost.
        """
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._database.conn.close()
        if self._lost:
            raise ResultsError(
                f"{self.failure}; {self._lost} entries could not be written"
            )

    def _call(
        self,
        action: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Run an action in the writer's thread and return its result once it is committed."""
        future: Future[Result] = Future()
        self._queue.put(Entry(action, arguments, future))
        while not wait([future], ALIVE_EVERY_S).done:
            if not self._thread.is_alive():
                raise self.failure or ResultsError(
                    f"{self.path} is closed"
                )
        return future.result()

    # Actions, run by the writer's thread within a transaction.

    def _insert_many(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
    ) -> None:
        marks = ", ".join("?" * len(columns))
        names = "], [".join(columns)
        self._database.conn.executemany(
            f"INSERT INTO [{table}] ([{names}]) VALUES ({marks})", rows
        )

    def _execute_many(
        self, sql: str, rows: Iterable[Sequence[object]]
    ) -> None:
        self._database.conn.executemany(sql, rows)

    def _insert_one(self, table: str, row: Row) -> int:
        return cast(
            int, self._database.table(table).insert(dict(row)).last_pk
        )

    def _lookup(self, table: str, key: Row, rest: Row) -> int:
        return cast(
            int, self._database.table(table).lookup(dict(key), dict(rest))
        )

    def _update(self, table: str, row_id: int, changes: Row) -> int:
        """Return how many rows have changed: one, or none."""
        names = ", ".join(f"[{name}] = ?" for name in changes)
        cursor = self._database.conn.execute(
            f"UPDATE [{table}] SET {names} WHERE id = ?",
            [*changes.values(), row_id],
        )
        changed: int = cursor.rowcount
        return changed

    def _take_over(
        self, run_id: int, seen_unix: float | None, row: Row
    ) -> bool:
        names = ", ".join(f"[{name}] = ?" for name in row)
        execute = self._database.conn.execute
        taken = execute(
            f"UPDATE run SET {names}"
            " WHERE id = ? AND status IN ('interrupted', 'running', 'finished') AND seen_unix IS ?",
            [*row.values(), run_id, seen_unix],
        )
        if taken.rowcount:
            execute(
                "UPDATE level SET status = 'interrupted' WHERE status = 'running' AND run_id = ?",
                [run_id],
            )
        return bool(taken.rowcount)

    # The writer's thread.

    def _work(self) -> None:
        alive_at = told_at = 0.0
        is_last = False
        while not is_last:
            batch, is_last = self._collect()
            now = time.monotonic()
            is_due = now - alive_at > ALIVE_EVERY_S
            if is_due:
                alive_at = now
                self._retry_kept()
            tells = self.describe_now and now - told_at > LIVE_EVERY_S
            if is_due or tells:
                told_at = now
                batch += self._list_signs_of_life()
            if batch:
                self._store(batch)
        if self._kept:
            self._lost += self._commit_what_fits(
                self._kept, time.monotonic() + LAST_TRY_S
            )
        self._checkpoint()

    def _retry_kept(self) -> None:
        """Write what was kept, if that is possible by now."""
        if self._kept and self._commit_what_fits(self._kept, 0.0) == 0:
            self._kept = []

    def _list_signs_of_life(self) -> list[Entry]:
        """Return the entry that says that the run was seen now, if there is a run."""
        if self.run_id is None or self.failure:
            return []
        changes: dict[str, object] = {"seen_unix": time.time()}
        if describe_now := self.describe_now:
            # nothing that is merely shown may stop the writing
            with contextlib.suppress(Exception):
                changes["live"] = describe_now()
        return [Entry(self._update, ("run", self.run_id, changes))]

    def _collect(self) -> tuple[list[Entry], bool]:
        """Return what comes within the next half second, and whether it is the last.

        Return sooner when somebody waits for a result.
        """
        batch: list[Entry] = []
        until = time.monotonic() + COMMIT_EVERY_S
        while (left := until - time.monotonic()) > 0:
            try:
                entry = self._queue.get(timeout=left)
            except queue.Empty:
                break
            if entry is None:
                return batch, True
            batch.append(entry)
            if entry.future is not None:
                break
        return batch, False

    def _store(self, batch: list[Entry]) -> None:
        """Commit a batch; wait while the file is locked or the disk full, give up at last.

        Raises nothing.
        """
        until = time.monotonic() + WRITE_PATIENCE_S
        if self.failure is None and not self._has_its_name():
            what = "another program has deleted, moved or replaced it during the run"
            self.failure = ResultsError(f"{self.path}: {what}")
        while self.failure is None:
            try:
                return self._commit(batch)
            except sqlite3.OperationalError as error:
                self._complain(
                    f"{self.path}: {error}; trying again for {WRITE_PATIENCE_S:.0f} s"
                )
                if time.monotonic() > until:
                    self._give_up(error)
                else:
                    time.sleep(COMMIT_EVERY_S)
            except Exception as error:
                # whatever one row does, the thread lives for the others
                return self._isolate(batch, error)
        self._keep(batch, self.failure)

    def _has_its_name(self) -> bool:
        """Whether the file that is written still has its name; another would be opened by it."""
        try:
            return os.path.samestat(self._file, os.stat(self.path))
        except FileNotFoundError:
            return False
        except OSError:  # a disk that does not answer: writing will show
            return True

    def _commit(self, batch: list[Entry]) -> None:
        connection = self._database.conn
        # a rollback failed, on a broken disk for instance
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [entry.action(*entry.arguments) for entry in batch]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for entry, result in zip(batch, results, strict=True):
            if entry.future is not None:
                entry.future.set_result(result)
            elif entry.action == self._update and result == 0:
                self._miss(entry.arguments[0])

    def _miss(self, table: object) -> None:
        """Count the change of a row that somebody has deleted, or for which there was no room."""
        if self.failure:
            self._lost += 1
        else:
            self._reject(
                f"a row of {table} that was to be changed no longer exists"
            )

    def _isolate(self, batch: list[Entry], error: Exception) -> None:
        """Find the entry that breaks a rule, and keep the others."""
        if len(batch) == 1:
            self._reject(f"a row was rejected: {error}")
            fail_batch(
                batch,
                ResultsError(f"{self.path}: a row was rejected: {error}"),
            )
            return
        half = len(batch) // 2
        self._store(batch[:half])
        self._store(batch[half:])

    def _give_up(self, error: Exception) -> None:
        waited = f"{self.path}: {error}, for {WRITE_PATIENCE_S:.0f} s now"
        self.failure = ResultsError(f"{waited}: {find_remedy(error)}")
        # whoever waits for an answer has waited enough
        with contextlib.suppress(sqlite3.Error):
            self._database.conn.execute(
                f"PRAGMA busy_timeout = {READER_PATIENCE_MS}"
            )

    def _keep(self, batch: list[Entry], failure: ResultsError) -> None:
        """After giving up: tell those who wait, hold the rest as far as memory allows."""
        fail_batch(batch, failure)
        silent = [entry for entry in batch if entry.future is None]
        room = KEPT_ENTRIES - len(self._kept)
        self._kept += silent[:room]
        self._lost += len(silent[room:])

    def _commit_what_fits(self, entries: list[Entry], until: float) -> int:
        """Commit all, or until then in halves what there is room for; return how many are left."""
        try:
            self._commit(entries)
            return 0
        except Exception as error:
            if (
                len(entries) == 1
                or "locked" in str(error)
                or time.monotonic() > until
            ):
                return len(entries)
        half = len(entries) // 2
        left = self._commit_what_fits(entries[:half], until)
        return left + self._commit_what_fits(entries[half:], until)

    def _reject(self, why: str) -> None:
        self.rejected += 1
        self._complain(f"{self.path}: {why}")

    def _complain(self, text: str) -> None:
        """Say it once."""
        if text not in self._said:
            self._said.add(text)
            # a terminal that is gone loses no rows
            with contextlib.suppress(Exception):
                self._say(text)

    def _checkpoint(self) -> None:
        # Somebody may be reading, or the disk be full: the log is folded in at the next opening.
        with contextlib.suppress(sqlite3.Error):
            self._database.conn.execute(
                f"PRAGMA busy_timeout = {READER_PATIENCE_MS}"
            )
            self._database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fail_batch(batch: list[Entry], error: ResultsError) -> None:
    """Tell those who wait for a result."""
    for entry in batch:
        if entry.future is not None:
            entry.future.set_exception(error)


def print_error(text: str) -> None:
    print(text, file=sys.stderr)


def find_remedy(error: Exception) -> str:
    """Return what to do about a file that could not be written."""
    text = str(error)
    if "locked" in text:
        return "end the program that holds it"
    if "full" in text:
        return "make room on its disk"
    return "check the file and its disk"
