"""Open a results file: create it, check it, or only read it.

database = connect("results.db")                  # create it or check it
database = connect("results.db", readonly=True)   # write nothing
"""

from __future__ import annotations

import contextlib

# sqlite_utils imports it at its first use, when root, who alone may read it, may be gone
import importlib.metadata  # noqa: F401
import math
import os
import pathlib
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import sqlite_utils

from ollama_bench.storage import foreign, schema
from ollama_bench.storage.results_file import (
    APPLICATION_ID,
    VERSION,
    ResultsError,
)

OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
# how long opening waits for a lock of another program
OPEN_PATIENCE_S = 10.0
CHECK_S = 5.0  # how long the check of a file may take, plus ...
CHECKED_BYTES_PER_S = (
    10_000_000  # ... one second for this many bytes of it
)
# steps of SQLite's virtual machine between looks at the clock and at Ctrl-C
CHECK_INSTRUCTIONS = 10_000
LOCK_PAUSE_S = 0.02  # between tries to get a lock
# a running run not seen for this long has died; the view runs says the same
DEAD_AFTER_S = 15.0

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Cursor(sqlite3.Cursor):
    """Raise KeyboardInterrupt where Ctrl-C ended a query, ResultsError where a deadline did."""

    connection: ResultsConnection

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        self._interruptible(super().execute, sql, parameters)
        return self

    def executemany(self, sql: str, rows: Any, /) -> Cursor:
        self._interruptible(super().executemany, sql, rows)
        return self

    def fetchone(self) -> Any:
        return self._interruptible(super().fetchone)

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return self._interruptible(super().fetchmany, size)

    def fetchall(self) -> list[Any]:
        return self._interruptible(super().fetchall)

    def __next__(self) -> Any:
        return self._interruptible(super().__next__)

    def _interruptible(
        self,
        action: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        try:
            return action(*arguments, **options)
        except sqlite3.OperationalError as error:
            if str(error) != "interrupted":
                raise
        raise self.connection.explain_interrupt()


class ResultsConnection(sqlite3.Connection):
    """A connection whose queries end at Ctrl-C, and at a deadline while the file is checked.

    Without this a signal waits for the query: Python runs its handlers between its own steps.
    """

    path = ""
    # False: there was no write-ahead log with rows, so none is to be left behind
    keeps_log = True
    _deadline = math.inf

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    # Those of the base class would make a cursor of the base class.
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.cursor().execute(sql, parameters)
        return cursor

    def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.cursor().executemany(sql, rows)
        return cursor

    def allow_interrupts(self) -> None:
        """Pause queries now and then: signal handlers run, and what they raise ends the query."""
        self.set_progress_handler(
            lambda: time.monotonic() > self._deadline, CHECK_INSTRUCTIONS
        )

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Give queries a deadline: a file made for that purpose could keep them busy forever."""
        size = measure_file(self.path) or 0
        self._deadline = (
            time.monotonic() + CHECK_S + size / CHECKED_BYTES_PER_S
        )
        try:
            yield
        finally:
            self._deadline = math.inf

    def explain_interrupt(self) -> BaseException:
        """Return what a query that was interrupted raises."""
        if time.monotonic() > self._deadline:
            why = "checking it takes too long"
            return ResultsError(
                f"{self.path} cannot be used: {why}; choose another with --db"
            )
        return KeyboardInterrupt()

    def close(self) -> None:
        """Close it, and remove the log that a reader creates beside the file but cannot remove."""
        super().close()
        log = f"{os.path.realpath(self.path)}-wal"
        # with rows it is the log of a run that began meanwhile
        if self.keeps_log or measure_file(log) != 0:
            return
        self.keeps_log = True
        uri = pathlib.Path(self.path).resolve().as_uri() + "?mode=rw"
        # the last one that may write removes it
        with contextlib.suppress(sqlite3.Error):
            last = sqlite3.connect(uri, uri=True, timeout=0)
            with contextlib.closing(last):
                last.execute("SELECT count(*) FROM sqlite_master")


def connect(
    path: str | os.PathLike[str], readonly: bool = False
) -> sqlite_utils.Database:
    """Open a results file, with its tables and views.

    The file is created when it does not exist. With ``readonly`` nothing is written, not even
    views: where the file has others, those of this version are laid over them as TEMP views.

    Raises ResultsError when the file is not ours, of another version, locked, or cannot be read or
    written.
    """
    path = os.fspath(path)
    if (
        not path
        or "\0" in path
        or path == ":memory:"
        or path.startswith("file:")
    ):
        raise ResultsError(
            f"invalid --db {path!r}: expected the name of a file"
        )
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        version = sqlite3.sqlite_version
        raise ResultsError(
            f"SQLite {version} is too old: results.db needs 3.37 or newer"
        )
    if readonly and not os.path.exists(path):
        raise ResultsError(
            f"{path} is not there: measure a run first, or choose a file with --db"
        )
    if not readonly:
        refuse_unwritable(path)
    open_file = open_readonly if readonly else open_for_writing
    until = time.monotonic() + OPEN_PATIENCE_S
    while True:
        try:
            return sqlite_utils.Database(open_file(path))
        except sqlite3.OperationalError as error:
            # SQLite waits by itself, but not where two turn a new file to WAL.
            if "locked" in str(error) and time.monotonic() < until:
                time.sleep(LOCK_PAUSE_S)
                continue
            culprit = (
                " by another program" if "locked" in str(error) else ""
            )
            raise ResultsError(f"{path}: {error}{culprit}") from None
        except sqlite3.DatabaseError:
            message = (
                f"{path} is not an SQLite file: choose another with --db"
            )
            raise ResultsError(message) from None


def refuse_unwritable(path: str) -> None:
    """Raise ResultsError, with a remedy, where writing must fail."""
    if os.path.isdir(path):
        raise ResultsError(f"{path} is a folder: name a file with --db")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        remedy = "create it, or choose another file with --db"
        raise ResultsError(f"folder {folder} does not exist: {remedy}")
    if not os.path.exists(path):
        if not os.access(folder, os.W_OK):
            raise ResultsError(
                f"{folder} is not writable: choose another file with --db"
            )
        return
    if os.access(path, os.W_OK) and os.access(folder, os.W_OK):
        return
    if hasattr(os, "getuid") and os.stat(path).st_uid == 0 != os.getuid():
        remedy = f"sudo chown {os.getuid()} {shlex.quote(path)}*"
        raise ResultsError(f"{path} belongs to root: {remedy}")
    raise ResultsError(
        f"{path} is read-only: choose another file with --db"
    )


def open_connection(
    path: str, uri: str | None = None
) -> ResultsConnection:
    """Open the file of this path, by its URI if there is one."""
    connection = sqlite3.connect(
        uri or path,
        uri=uri is not None,
        timeout=OPEN_PATIENCE_S,
        isolation_level=None,
        check_same_thread=False,
        factory=ResultsConnection,
    )
    connection.path = path
    connection.allow_interrupts()
    return connection


def open_for_writing(path: str) -> ResultsConnection:
    """Open a file of ours, create the tables it lacks and renew its views."""
    connection = open_connection(path)
    try:
        with connection.checking():
            if connection.execute(
                "SELECT count(*) FROM sqlite_master"
            ).fetchone()[0]:
                foreign.refuse_foreign(connection, path, to_write=True)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not schema.is_current(connection):
            connection.execute("BEGIN IMMEDIATE")
            schema.create_missing(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
            # other programs know the file by its first bytes
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        mark_dead_runs(connection)
        # no signal reaches the thread that uses it
        connection.set_progress_handler(None, 0)
    except BaseException:
        connection.close()
        raise
    return connection


def open_readonly(path: str) -> ResultsConnection:
    """Open a file without writing, with the views of this version over any others."""
    uri = pathlib.Path(path).resolve().as_uri() + "?mode=ro"
    has_log = has_rows(f"{os.path.realpath(path)}-wal")
    connection = open_connection(path, uri)
    connection.keeps_log = has_log
    try:
        try:
            with connection.checking():
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            folder = os.path.dirname(os.path.abspath(path))
            if "locked" in str(error) or os.access(folder, os.W_OK):
                raise
            # a read-only folder has no room for the index of a log
            connection.close()
            # without the log of a run that was killed the file tells half the truth
            if has_rows(f"{path}-wal"):
                hidden = f"{path} has rows in {path}-wal that a read-only folder hides"
                raise ResultsError(
                    f"{hidden}: copy both to a writable folder"
                ) from None
            connection = open_connection(path, uri + "&immutable=1")
        connection.execute("PRAGMA trusted_schema = OFF")
        with connection.checking():
            foreign.refuse_foreign(connection, path, to_write=False)
        if not schema.is_verbatim(connection):
            schema.create_temp_views(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def has_rows(log: str) -> bool:
    """Whether a write-ahead log exists and is not empty."""
    return bool(measure_file(log))


def measure_file(path: str) -> int | None:
    """Return how many bytes a file has; None: it is not there, or not any more."""
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def mark_dead_runs(connection: sqlite3.Connection) -> None:
    """Set runs that stopped giving signs of life, and their levels, to interrupted.

    Their pid proves nothing: it may be of another computer or container that shares the file.
    """
    dead = connection.execute(
        "SELECT id FROM run WHERE status = 'running' AND coalesce(seen_unix, started_unix) < ?",
        [time.time() - DEAD_AFTER_S],
    ).fetchall()
    if not dead:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "UPDATE level SET status = 'interrupted' WHERE status = 'running' AND run_id = ?",
        dead,
    )
    connection.executemany(
        "UPDATE run SET status = 'interrupted', live = NULL WHERE id = ?",
        dead,
    )
    connection.execute("COMMIT")
