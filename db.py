"""db.py - opens results.db: its schema, its version, and the one thread that writes it.

    database = db.connect("results.db")                  # make it or check it
    database = db.connect("results.db", readonly=True)   # look, and write nothing
    with db.Writer("results.db") as writer:
        run_id = writer.insert("run", {...})             # committed when it returns
        writer.add("process_sample", {...})              # committed within half a second
"""
from __future__ import annotations

import os
import pathlib
import queue
import sqlite3
import sys
import threading
import time
from concurrent.futures import Future

import psutil
import sqlite_utils

SCHEMA = pathlib.Path(__file__).with_name("schema.sql")
TOOL_VERSION = "1.0.0"  # of the whole tool, stored with every run
VERSION = 1  # of the tables; PRAGMA user_version
APPLICATION_ID = int.from_bytes(b"olbe", "big")  # PRAGMA application_id: the file is ours
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
OPEN_PATIENCE_S = 10.0  # how long opening waits for somebody else's lock
LOCK_PAUSE_S = 0.02  # between two tries of it
WRITE_PATIENCE_S = 60.0  # how long a row may wait for a lock or for room on the disk
READER_PATIENCE_MS = 500  # how long the end of a run waits for a reader, to fold the log in
COMMIT_EVERY_S = 0.5  # a kill -9 costs at most this much, and what was in the queue
ALIVE_EVERY_S = 2.0  # how often run.seen_unix is renewed
DEAD_AFTER_S = 15.0  # a running run not seen for so long has died; the view runs says the same


class ResultsError(Exception):
    """A results file cannot be used; str() is one line for the user."""


def connect(path: str | os.PathLike, readonly: bool = False) -> sqlite_utils.Database:
    """Open a results file, with its tables and views.

    The file is made when it is not there. With ``readonly`` nothing is written, not
    even views: those of this version are laid over the file's as TEMP views.

    Raises ResultsError when the file is not ours, of another version, locked, or
    cannot be read or written.
    """
    path = os.fspath(path)
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
        raise ResultsError(f"{path} belongs to root: sudo chown {os.getuid()} {path}*")
    raise ResultsError(f"{path} is read-only: name another file with --db")


def open_for_writing(path: str) -> sqlite3.Connection:
    """A connection to a file of ours, its tables made and its views renewed."""
    connection = sqlite3.connect(path, timeout=OPEN_PATIENCE_S, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            check_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not is_current(connection):
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        mark_the_dead(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_readonly(path: str) -> sqlite3.Connection:
    """A connection that cannot write, with this version's views over the file's."""
    uri = pathlib.Path(path).resolve().as_uri() + "?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=OPEN_PATIENCE_S, isolation_level=None, check_same_thread=False)
    try:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
                raise
            connection.close()  # a read-only folder has no room for the WAL's index
            connection = sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        check_ours(connection, path)
        for statement in statements():
            if "CREATE VIEW" in statement:
                connection.execute(statement.replace("CREATE VIEW", "CREATE TEMP VIEW", 1))
    except BaseException:
        connection.close()
        raise
    return connection


def check_ours(connection: sqlite3.Connection, path: str) -> None:
    """Raise ResultsError unless the file is a results file of this version."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ResultsError(f"{path} is not a results file of this tool: name another with --db")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise ResultsError(f"{path} is of version {version}, this tool reads {VERSION}: name another with --db")


def statements() -> list[str]:
    """schema.sql, one statement an entry."""
    found, text = [], ""
    for line in SCHEMA.read_text(encoding="utf-8").splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text.strip())
            text = ""
    return found


def is_current(connection: sqlite3.Connection) -> bool:
    """Does the file hold every table, index and view just as schema.sql says?"""
    stored = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master")}
    wanted = [s[s.index("CREATE ") :].rstrip(";").replace("IF NOT EXISTS ", "") for s in statements() if "CREATE " in s]
    return all(sql in stored for sql in wanted)


def mark_the_dead(connection: sqlite3.Connection) -> None:
    """Runs that stopped giving signs of life are interrupted, and so are their levels."""
    running = connection.execute("SELECT id, coalesce(seen_unix, started_unix), pid FROM run WHERE status = 'running'")
    dead = [(run_id,) for run_id, seen_unix, pid in running.fetchall()
            if seen_unix < time.time() - DEAD_AFTER_S or pid is not None and not psutil.pid_exists(pid)]
    if dead:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE level SET status = 'interrupted' WHERE status = 'running' AND run_id = ?", dead)
        connection.executemany("UPDATE run SET status = 'interrupted' WHERE id = ?", dead)
        connection.execute("COMMIT")


class Writer:
    """The one thread that writes a results file.

    Rows come through a queue and are committed together every half second. A lock or
    a full disk makes them wait, not vanish: ``insert``, ``flush`` and ``close`` raise
    ResultsError when WRITE_PATIENCE_S was not enough.
    """

    def __init__(self, path: str | os.PathLike, say=None) -> None:
        self.path = os.fspath(path)
        self.run_id: int | None = None  # its seen_unix is kept fresh
        self.rejected = 0  # rows that broke a rule of the schema
        self._say = say or (lambda text: print(text, file=sys.stderr))
        self._said: set[str] = set()
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._database = connect(self.path)
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def add(self, table: str, row: dict) -> None:
        """Store a row within half a second."""
        self._queue.put((self._insert_many, (table, tuple(row), [tuple(row.values())]), None))

    def add_many(self, table: str, columns: tuple[str, ...], rows: list[tuple]) -> None:
        """Store many rows of the same columns within half a second."""
        self._queue.put((self._insert_many, (table, columns, rows), None))

    def update(self, table: str, row_id: int, changes: dict) -> None:
        """Change a row, in order with what was added before."""
        self._queue.put((self._update, (table, row_id, dict(changes)), None))

    def insert(self, table: str, row: dict) -> int:
        """Store a row now and return its id."""
        return self._now(self._insert_one, (table, row))

    def lookup(self, table: str, key: dict, rest: dict) -> int:
        """The id of the row with a unique key, made now when it is not there, whoever else writes the file."""
        return self._now(self._lookup, (table, key, rest))

    def insert_many(self, table: str, rows: list[dict]) -> list[int]:
        """Store rows now, in one transaction, and return their ids."""
        return self._now(self._insert_each, (table, rows))

    def flush(self) -> None:
        """Return when everything said so far is committed."""
        self._now(lambda: None, ())

    def close(self) -> None:
        """Commit the rest, fold the write-ahead log into the file, and close it."""
        if not self._thread.is_alive():
            return
        try:
            self.flush()
        finally:
            self._queue.put(None)
            self._thread.join()
            self._database.conn.close()

    def _now(self, action, arguments):
        future: Future = Future()
        self._queue.put((action, arguments, future))
        return future.result()

    def _insert_many(self, table, columns, rows):
        marks = ", ".join("?" * len(columns))
        self._database.conn.executemany(f"INSERT INTO [{table}] ([{'], ['.join(columns)}]) VALUES ({marks})", rows)

    def _insert_one(self, table, row):
        return self._database[table].insert(row).last_pk

    def _lookup(self, table, key, rest):
        return self._database[table].lookup(key, rest)

    def _insert_each(self, table, rows):
        return [self._insert_one(table, row) for row in rows]

    def _update(self, table, row_id, changes):
        self._database[table].update(row_id, changes)

    def _work(self) -> None:
        alive_at = 0.0
        while True:
            batch, last = self._gather()
            if self.run_id is not None and time.monotonic() - alive_at > ALIVE_EVERY_S:
                alive_at = time.monotonic()
                batch.append((self._update, ("run", self.run_id, {"seen_unix": time.time()}), None))
            if batch:
                self._store(batch)
            if last:
                self._checkpoint()
                return

    def _gather(self) -> tuple[list, bool]:
        """What came within the next half second, sooner when somebody waits for it."""
        batch, until = [], time.monotonic() + COMMIT_EVERY_S
        while (left := until - time.monotonic()) > 0:
            try:
                item = self._queue.get(timeout=left)
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
            if item[2] is not None:
                break
        return batch, False

    def _store(self, batch: list) -> None:
        """Commit a batch; wait while the file is locked or the disk is full."""
        until = time.monotonic() + WRITE_PATIENCE_S
        while True:
            try:
                self._commit(batch)
                return
            except sqlite3.OperationalError as error:
                self._complain(f"{self.path}: {error}; trying again for {WRITE_PATIENCE_S:.0f} s")
                if time.monotonic() > until:
                    self._fail(batch, ResultsError(f"{self.path}: {error}: {len(batch)} entries could not be written"))
                    return
                time.sleep(COMMIT_EVERY_S)
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                if len(batch) > 1:  # find the one that breaks a rule, keep the others
                    for item in batch:
                        self._store([item])
                    return
                self.rejected += 1
                self._complain(f"{self.path}: a row was rejected: {error}")
                self._fail(batch, error)
                return

    def _commit(self, batch: list) -> None:
        connection = self._database.conn
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [action(*arguments) for action, arguments, _ in batch]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for (_, _, future), result in zip(batch, results):
            if future is not None:
                future.set_result(result)

    def _fail(self, batch: list, error: Exception) -> None:
        for _, _, future in batch:
            if future is not None:
                future.set_exception(error)

    def _complain(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _checkpoint(self) -> None:
        try:
            self._database.conn.execute(f"PRAGMA busy_timeout = {READER_PATIENCE_MS}")
            self._database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError:
            pass  # somebody is reading: the log is folded in at the next opening
