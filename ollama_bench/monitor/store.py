"""store.py - what the monitor needs of a results file: insert, add and update rows."""

from __future__ import annotations

from typing import Any, Protocol


class Store(Protocol):
    """The writer of results.db, or whatever keeps rows in its place."""

    def insert(self, table: str, row: dict[str, Any], /) -> int:
        """Store a row at once and return its id."""

    def add(self, table: str, row: dict[str, Any], /) -> None:
        """Store a row soon."""

    def update(
        self, table: str, row_id: int, changes: dict[str, Any], /
    ) -> object:
        """Change columns of a row."""
