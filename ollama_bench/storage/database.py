"""A results file that is open: what reading one needs, without sqlite-utils, which loads NumPy.

database.query("SELECT * FROM runs WHERE run_id = ?", [7])    # rows as dicts
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Parameters = Sequence[Any] | Mapping[str, Any]


class Database(Protocol):
    """A results file to read. Whoever writes has a sqlite_utils.Database, which is one, too."""

    @property
    def conn(self) -> sqlite3.Connection: ...

    def query(
        self, sql: str, params: Any = None
    ) -> Iterable[dict[str, Any]]: ...

    def execute(
        self, sql: str, parameters: Any = None
    ) -> sqlite3.Cursor: ...

    def close(self) -> None: ...


class Reader:
    """A results file that nothing is written to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.conn = connection

    def query(
        self, sql: str, params: Parameters | None = None
    ) -> Iterator[dict[str, Any]]:
        """Return rows as dicts; the query has begun."""
        cursor = self.execute(sql, params)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def execute(
        self, sql: str, parameters: Parameters | None = None
    ) -> sqlite3.Cursor:
        return self.conn.execute(sql, parameters or ())

    def close(self) -> None:
        self.conn.close()
