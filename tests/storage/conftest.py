"""Tests of the results file close every connection that they open."""

import sqlite3

import pytest


@pytest.fixture
def closed(monkeypatch):
    """Close every connection that a test opened."""
    opened, connect = [], sqlite3.connect

    def open_one(*arguments, **options):
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", open_one)
    yield
    for connection in opened:
        connection.close()
