"""A row of the table run, and how many rows a table has."""

import sqlite3

RUN = {
    "source": "bench",
    "status": "running",
    "started_unix": 1e9,
    "arguments": "{}",
    "tool_version": "0",
}


def count(path, table):
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return found
