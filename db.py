"""db.py - opens results.db: its schema, its version, and the one thread that writes it.

    database = db.connect("results.db")                  # make it or check it
    database = db.connect("results.db", readonly=True)   # look, and write nothing
    with db.Writer("results.db") as writer:
        run_id = writer.insert("run", {...})             # committed when it returns
        writer.add("process_sample", {...})              # committed within half a second
"""
from __future__ import annotations

import contextlib
import math
import os
import pathlib
import queue
import shlex
import sqlite3
import sys
import threading
import time
from concurrent.futures import Future, wait
from typing import Callable, Iterable, NamedTuple

import sqlite_utils

import schema

TOOL_VERSION = "1.1.0"  # of the whole tool, stored with every run
VERSION = 1  # of the tables, PRAGMA user_version: stays as long as columns are only added
LONGEST_RUN_NS = 10**16  # 115 days
REPLY_INSTANTS = ("first_byte_ns", "first_text_ns", "first_answer_ns", "last_text_ns")  # between a request's sending and its end,
CLOCK_DOUBT_NS = 10**9  # as far as two clocks agree
APPLICATION_ID = int.from_bytes(b"olbe", "big")  # PRAGMA application_id: the file is ours
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
OPEN_PATIENCE_S = 10.0  # how long opening waits for somebody else's lock
CHECK_S = 5.0  # how long a look at a file may take before it is believed to be none of ours ...
CHECKED_BYTES_PER_S = 10_000_000  # ... and a second more for so many bytes of it
LOOK_EVERY = 10_000  # steps of SQLite's machine between two looks at the clock and at Ctrl-C
LOCK_PAUSE_S = 0.02  # between two tries of it
WRITE_PATIENCE_S = 60.0  # how long a row may wait for a lock or for room on the disk before the writer gives up
KEPT_ENTRIES = 100_000  # that a writer that gave up holds in memory and goes on trying
LAST_TRY_S = 5.0  # how long close() then looks for what still fits
READER_PATIENCE_MS = 500  # how long the end of a run waits for a reader, to fold the log in
COMMIT_EVERY_S = 0.5  # a kill -9 costs at most this much, and what was in the queue
ALIVE_EVERY_S = 2.0  # how often run.seen_unix is renewed
DEAD_AFTER_S = 15.0  # a running run not seen for so long has died; the view runs says the same


class ResultsError(Exception):
    """A results file cannot be used; str() is one line for the user."""


class Cursor(sqlite3.Cursor):
    """Raise KeyboardInterrupt where Ctrl-C ended a query, ResultsError where a deadline did."""

    def execute(self, *arguments):
        return self._heeding(super().execute, *arguments)

    def executemany(self, *arguments):
        return self._heeding(super().executemany, *arguments)

    def fetchone(self):
        return self._heeding(super().fetchone)

    def fetchmany(self, *arguments):
        return self._heeding(super().fetchmany, *arguments)

    def fetchall(self):
        return self._heeding(super().fetchall)

    def __next__(self):
        return self._heeding(super().__next__)

    def _heeding(self, action: Callable, *arguments):
        try:
            return action(*arguments)
        except sqlite3.OperationalError as error:
            if str(error) != "interrupted":
                raise
        raise self.connection.why_ended()


class Connection(sqlite3.Connection):
    """One whose queries end at Ctrl-C, and while it is checked at a deadline too.

    Without it a signal waits for the query: Python runs its handlers between two steps of its own.
    """

    path = ""
    deadline = math.inf
    leaves_log = True  # False: there was none with rows in it, so none is to stay

    def cursor(self, factory=Cursor):
        return super().cursor(factory)

    def execute(self, *arguments):  # its own has a cursor's beside ours
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments):
        return self.cursor().executemany(*arguments)

    def heed(self) -> None:
        """Stop every so often: signal handlers run then, and what they raise ends the query."""
        self.set_progress_handler(lambda: time.monotonic() > self.deadline, LOOK_EVERY)

    @contextlib.contextmanager
    def checked(self):
        """What is asked within has a few seconds: a file made for it could keep us for ever."""
        size = os.path.getsize(self.path) if os.path.exists(self.path) else 0
        self.deadline = time.monotonic() + CHECK_S + size / CHECKED_BYTES_PER_S
        try:
            yield
        finally:
            self.deadline = math.inf

    def close(self) -> None:
        """Close it, and take away the log that a reader makes beside a file but cannot remove."""
        super().close()
        log = f"{os.path.realpath(self.path)}-wal"
        if self.leaves_log or not os.path.exists(log) or os.path.getsize(log):
            return  # the log of a run that came meanwhile
        self.leaves_log = True
        uri = pathlib.Path(self.path).resolve().as_uri() + "?mode=rw"
        with contextlib.suppress(sqlite3.Error):  # the last one that may write removes it
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0)) as last:
                last.execute("SELECT count(*) FROM sqlite_master")

    def why_ended(self) -> BaseException:
        if time.monotonic() > self.deadline:
            why = "checking it takes too long"
            return ResultsError(f"{self.path} cannot be used: {why}; name another file with --db")
        return KeyboardInterrupt()


def connect(path: str | os.PathLike, readonly: bool = False) -> sqlite_utils.Database:
    """Open a results file, with its tables and views.

    The file is made when it is not there. With ``readonly`` nothing is written, not
    even views: those of this version are laid over the file's as TEMP views.

    Raises ResultsError when the file is not ours, of another version, locked, or
    cannot be read or written.
    """
    path = os.fspath(path)
    if not path or "\0" in path or path == ":memory:" or path.startswith("file:"):
        raise ResultsError(f"invalid --db {path!r}: expected the name of a file")
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ResultsError(f"SQLite {sqlite3.sqlite_version} is too old: results.db needs 3.37 or newer")
    if readonly and not os.path.exists(path):
        raise ResultsError(f"{path} is not there: run bench.py first, or name a file with --db")
    if not readonly:
        refuse_unwritable(path)
    until = time.monotonic() + OPEN_PATIENCE_S
    while True:
        try:
            return sqlite_utils.Database(open_readonly(path) if readonly else open_for_writing(path))
        except sqlite3.OperationalError as error:
            locked = "locked" in str(error)
            if locked and time.monotonic() < until:  # SQLite waits by itself, but not where two turn a new file to WAL
                time.sleep(LOCK_PAUSE_S)
                continue
            raise ResultsError(f"{path}: {error}{' by another program' if locked else ''}") from None
        except sqlite3.DatabaseError:
            raise ResultsError(f"{path} is not an SQLite file: name another with --db") from None


def refuse_unwritable(path: str) -> None:
    """Raise ResultsError where writing must fail, with what to type."""
    if os.path.isdir(path):
        raise ResultsError(f"{path} is a folder: name a file with --db")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ResultsError(f"there is no folder {folder}: make it, or name another file with --db")
    if not os.path.exists(path):
        if not os.access(folder, os.W_OK):
            raise ResultsError(f"{folder} is not writable: name another file with --db")
        return
    if os.access(path, os.W_OK) and os.access(folder, os.W_OK):
        return
    if hasattr(os, "getuid") and os.stat(path).st_uid == 0 != os.getuid():
        raise ResultsError(f"{path} belongs to root: sudo chown {os.getuid()} {shlex.quote(path)}*")
    raise ResultsError(f"{path} is read-only: name another file with --db")


def dial(path: str, name: str | None = None) -> Connection:
    """A connection to the file of this path, by an URI where there is one."""
    connection = sqlite3.connect(
        name or path, uri=name is not None, timeout=OPEN_PATIENCE_S, isolation_level=None,
        check_same_thread=False, factory=Connection)
    connection.path = path
    connection.heed()
    return connection


def open_for_writing(path: str) -> Connection:
    """A connection to a file of ours, its tables made and its views renewed."""
    connection = dial(path)
    try:
        with connection.checked():
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                check_ours(connection, path, to_write=True)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not schema.is_current(connection):
            connection.execute("BEGIN IMMEDIATE")
            schema.make(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        mark_the_dead(connection)
        connection.set_progress_handler(None, 0)  # its thread is reached by no signal
    except BaseException:
        connection.close()
        raise
    return connection


def open_readonly(path: str) -> Connection:
    """A connection that cannot write, with this version's views over the file's."""
    uri = pathlib.Path(path).resolve().as_uri() + "?mode=ro"
    log = f"{os.path.realpath(path)}-wal"
    has_rows = os.path.exists(log) and os.path.getsize(log) > 0
    connection = dial(path, uri)
    connection.leaves_log = has_rows
    try:
        try:
            with connection.checked():
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
                raise
            connection.close()  # a read-only folder has no room for the WAL's index
            if os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):  # of a run that was killed: to leave it out would tell half
                raise ResultsError(f"{path} has rows in {path}-wal that a read-only folder hides: copy both to a writable one") from None
            connection = dial(path, uri + "&immutable=1")
        connection.execute("PRAGMA trusted_schema = OFF")
        with connection.checked():
            check_ours(connection, path, to_write=False)
        schema.lay_over(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def check_ours(connection: sqlite3.Connection, path: str, to_write: bool) -> None:
    """Raise ResultsError unless it is a file of this version in which only our own SQL can run."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ResultsError(f"{path} is not a results file of this tool: name another with --db")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise ResultsError(f"{path} is of version {version}, this tool reads {VERSION}: name another with --db")
    if found := schema.foreign(connection, to_write):
        raise ResultsError(f"{path} cannot be used: {found}; name another file with --db")


def refuse_damage(database: sqlite_utils.Database) -> None:
    """Raise ResultsError where a level has no run, or an instant is further from its run or request
    than it can be: charts of it would never end. Tables that cannot be read to their end show too.
    """
    with database.conn.checked():
        orphan = "SELECT 1 FROM level WHERE run_id NOT IN (SELECT id FROM run) LIMIT 1"
        if database.execute(orphan).fetchone():
            raise ResultsError("the file is damaged: a level is of a run that is not there")
        for table in schema.tables().values():
            wrong = " OR ".join(impossible(table)) or f"typeof([{list(table.columns)[-1]}]) = ''"
            if database.execute(f"SELECT 1 FROM [{table.name}] WHERE {wrong} LIMIT 1").fetchone():
                raise ResultsError(
                    f"the file is damaged: its table {table.name} has an instant that no run has")


def impossible(table: schema.Table) -> list[str]:
    """SQL that is true of instants that no run has."""
    names = [name for name in table.columns if name.endswith("_ns")]
    found = [f"[{name}] NOT BETWEEN -{LONGEST_RUN_NS} AND {LONGEST_RUN_NS}" for name in names]
    if table.name == "request":
        span = f"sent_ns - {CLOCK_DOUBT_NS} AND ended_ns + {CLOCK_DOUBT_NS}"
        found += [f"{name} NOT BETWEEN {span}" for name in REPLY_INSTANTS]
    return found


def mark_the_dead(connection: sqlite3.Connection) -> None:
    """Runs that stopped giving signs of life are interrupted, and so are their levels.

    Their pid tells nothing: it may be of another computer or container that shares the file.
    """
    dead = connection.execute(
        "SELECT id FROM run WHERE status = 'running' AND coalesce(seen_unix, started_unix) < ?",
        [time.time() - DEAD_AFTER_S]).fetchall()
    if dead:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE level SET status = 'interrupted' WHERE status = 'running' AND run_id = ?", dead)
        connection.executemany("UPDATE run SET status = 'interrupted' WHERE id = ?", dead)
        connection.execute("COMMIT")


class Entry(NamedTuple):
    """Something to write: a method of the writer, its arguments, and who waits for its result."""

    action: Callable
    arguments: tuple
    future: Future | None = None


class Writer:
    """The one thread that writes a results file.

    Rows come through a queue and are committed together every half second. A lock or
    a full disk makes them wait, not vanish. When WRITE_PATIENCE_S was not enough the
    writer gives up: `failure` says why, whatever returns a result raises it, and rows are
    kept in memory and tried again until close(). That raises ResultsError when some could
    not be written even then, with their number.
    """

    def __init__(self, path: str | os.PathLike, say=None) -> None:
        self.path = os.fspath(path)
        self.run_id: int | None = None  # its seen_unix is kept fresh
        self.rejected = 0  # rows that broke a rule of the schema, and changes of rows that are not there
        self.failure: ResultsError | None = None  # why it gave up
        self._lost = 0  # entries that memory had no room for
        self._kept: list[Entry] = []  # what a writer that gave up could not write yet
        self._say = say or (lambda text: print(text, file=sys.stderr))
        self._said: set[str] = set()
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._database = connect(self.path)
        self._file = os.stat(self.path)
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def add(self, table: str, row: dict) -> None:
        """Store a row within half a second."""
        self.add_many(table, tuple(row), [tuple(row.values())])

    def add_many(self, table: str, columns: tuple[str, ...], rows: Iterable[tuple]) -> None:
        """Store many rows of the same columns within half a second; they are gone through anew at each try."""
        self._queue.put(Entry(self._insert_many, (table, columns, rows)))

    def execute_many(self, sql: str, rows: Iterable[tuple]) -> None:
        """Store what a statement makes of each of many rows within half a second; they are gone through anew at each try."""
        self._queue.put(Entry(self._execute_many, (sql, rows)))

    def update(self, table: str, row_id: int, changes: dict) -> None:
        """Change a row, in order with what was added before; one that is not there counts as rejected."""
        self._queue.put(Entry(self._update, (table, row_id, dict(changes))))

    def insert(self, table: str, row: dict) -> int:
        """Store a row now and return its id. Raises ResultsError, as all do that return a result."""
        return self._now(self._insert_one, (table, row))

    def lookup(self, table: str, key: dict, rest: dict) -> int:
        """The id of the row with a unique key, made now when it is not there, whoever else writes the file."""
        return self._now(self._lookup, (table, key, rest))

    def insert_many(self, table: str, rows: list[dict]) -> list[int]:
        """Store rows now, in one transaction, and return their ids."""
        return self._now(self._insert_each, (table, rows))

    def take_over(self, run_id: int, seen_unix: float | None, row: dict) -> bool:
        """Change a run that is to go on; False where it gave a sign of life since seen_unix."""
        return self._now(self._take_over, (run_id, seen_unix, row))

    def flush(self) -> None:
        """Return when everything said so far is committed."""
        self._now(lambda: None, ())

    def close(self) -> None:
        """Commit the rest, fold the write-ahead log into the file, and close it. Raises ResultsError when rows are lost."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._database.conn.close()
        if self._lost:
            raise ResultsError(f"{self.failure}; {self._lost} entries could not be written")

    def _now(self, action: Callable, arguments: tuple):
        future: Future = Future()
        self._queue.put(Entry(action, arguments, future))
        while not wait([future], ALIVE_EVERY_S).done:
            if not self._thread.is_alive():
                raise self.failure or ResultsError(f"{self.path} is closed")
        return future.result()

    def _insert_many(self, table, columns, rows):
        marks = ", ".join("?" * len(columns))
        self._database.conn.executemany(f"INSERT INTO [{table}] ([{'], ['.join(columns)}]) VALUES ({marks})", rows)

    def _execute_many(self, sql, rows):
        self._database.conn.executemany(sql, rows)

    def _insert_one(self, table, row):
        return self._database[table].insert(row).last_pk

    def _lookup(self, table, key, rest):
        return self._database[table].lookup(key, rest)

    def _insert_each(self, table, rows):
        return [self._insert_one(table, row) for row in rows]

    def _update(self, table, row_id, changes):
        """How many rows have changed: one, or none."""
        names = ", ".join(f"[{name}] = ?" for name in changes)
        return self._database.conn.execute(f"UPDATE [{table}] SET {names} WHERE id = ?", [*changes.values(), row_id]).rowcount

    def _take_over(self, run_id, seen_unix, row):
        names = ", ".join(f"[{name}] = ?" for name in row)
        taken = self._database.conn.execute(
            f"UPDATE run SET {names}"
            " WHERE id = ? AND status IN ('interrupted', 'running', 'finished') AND seen_unix IS ?",
            [*row.values(), run_id, seen_unix]).rowcount
        if taken:
            self._database.conn.execute(
                "UPDATE level SET status = 'interrupted' WHERE status = 'running' AND run_id = ?",
                [run_id])
        return bool(taken)

    def _work(self) -> None:
        alive_at, last = 0.0, False
        while not last:
            batch, last = self._gather()
            if time.monotonic() - alive_at > ALIVE_EVERY_S:
                alive_at = time.monotonic()
                batch += self._sign_of_life()
            if batch:
                self._store(batch)
        if self._kept:
            self._lost += self._rescue(self._kept, time.monotonic() + LAST_TRY_S)
        self._checkpoint()

    def _sign_of_life(self) -> list[Entry]:
        """The run was seen now; before that, what is kept may be written at last."""
        if self._kept and self._rescue(self._kept, 0.0) == 0:
            self._kept = []
        return [] if self.run_id is None or self.failure else [Entry(self._update, ("run", self.run_id, {"seen_unix": time.time()}))]

    def _gather(self) -> tuple[list[Entry], bool]:
        """What came within the next half second, sooner when somebody waits for it; whether it was the last."""
        batch, until = [], time.monotonic() + COMMIT_EVERY_S
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
        """Commit a batch; wait while the file is locked or the disk is full, and give up at last. Raises nothing."""
        until = time.monotonic() + WRITE_PATIENCE_S
        if self.failure is None and not self._is_there():  # what is opened by its name now is another
            self.failure = ResultsError(f"{self.path}: another program has deleted, moved or replaced it while it was written")
        while self.failure is None:
            try:
                return self._commit(batch)
            except sqlite3.OperationalError as error:
                self._complain(f"{self.path}: {error}; trying again for {WRITE_PATIENCE_S:.0f} s")
                if time.monotonic() > until:
                    self._give_up(error)
                else:
                    time.sleep(COMMIT_EVERY_S)
            except Exception as error:  # whatever one row does, the thread lives for the others
                return self._sift(batch, error)
        self._keep(batch)

    def _is_there(self) -> bool:
        """Has the file that is written still its name?"""
        try:
            return os.path.samestat(self._file, os.stat(self.path))
        except FileNotFoundError:
            return False
        except OSError:  # a disk that does not answer: writing will tell
            return True

    def _commit(self, batch: list[Entry]) -> None:
        connection = self._database.conn
        if connection.in_transaction:  # a rollback failed, on a broken disk for instance
            connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [entry.action(*entry.arguments) for entry in batch]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for entry, result in zip(batch, results):
            if entry.future is not None:
                entry.future.set_result(result)
            elif entry.action == self._update and result == 0:
                self._miss(entry.arguments[0])

    def _miss(self, table: str) -> None:
        """A row that was to be changed is not there: somebody has deleted it, or there was no room for it."""
        if self.failure:
            self._lost += 1
        else:
            self._reject(f"a row of {table} that was to be changed is not there any more")

    def _sift(self, batch: list[Entry], error: Exception) -> None:
        """Find the entry that breaks a rule, and keep the others."""
        if len(batch) == 1:
            self._reject(f"a row was rejected: {error}")
            return self._fail(batch, ResultsError(f"{self.path}: a row was rejected: {error}"))
        half = len(batch) // 2
        self._store(batch[:half])
        self._store(batch[half:])

    def _give_up(self, error: Exception) -> None:
        self.failure = ResultsError(f"{self.path}: {error}, for {WRITE_PATIENCE_S:.0f} s now: {remedy(error)}")
        with contextlib.suppress(sqlite3.Error):
            self._database.conn.execute(f"PRAGMA busy_timeout = {READER_PATIENCE_MS}")  # who waits for an answer has waited enough

    def _keep(self, batch: list[Entry]) -> None:
        """After giving up: who waits is told, the rest is held as far as memory is meant to go."""
        self._fail(batch, self.failure)
        silent = [entry for entry in batch if entry.future is None]
        room = KEPT_ENTRIES - len(self._kept)
        self._kept += silent[:room]
        self._lost += len(silent[room:])

    def _rescue(self, entries: list[Entry], until: float) -> int:
        """Commit all that can be: together, or until then in halves, as far as there is room. How many are left."""
        try:
            self._commit(entries)
            return 0
        except Exception as error:
            if len(entries) == 1 or "locked" in str(error) or time.monotonic() > until:
                return len(entries)
        half = len(entries) // 2
        return self._rescue(entries[:half], until) + self._rescue(entries[half:], until)

    def _fail(self, batch: list[Entry], error: ResultsError) -> None:
        for entry in batch:
            if entry.future is not None:
                entry.future.set_exception(error)

    def _reject(self, why: str) -> None:
        self.rejected += 1
        self._complain(f"{self.path}: {why}")

    def _complain(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            with contextlib.suppress(Exception):  # a terminal that has gone is no reason to lose rows
                self._say(text)

    def _checkpoint(self) -> None:
        try:
            self._database.conn.execute(f"PRAGMA busy_timeout = {READER_PATIENCE_MS}")
            self._database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # somebody is reading, or the disk is full: the log is folded in at the next opening


def remedy(error: Exception) -> str:
    """What to do about a file that could not be written."""
    remedies = {"locked": "end the program that holds it", "full": "make room on its disk"}
    return next((said for word, said in remedies.items() if word in str(error)), "look at the file and its disk")
