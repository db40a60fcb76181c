"""Rows to write into a results file, and to read from one."""

import sqlite3


def count(path, table):
    with sqlite3.connect(path) as connection:
        found = connection.execute(
            f"SELECT count(*) FROM {table}"
        ).fetchone()[0]
    connection.close()
    return found


S = 1_000_000_000  # nanoseconds in a second


def level(
    database,
    level_id=1,
    concurrency=2,
    started_ns=0,
    ended_ns=10 * S,
    **columns,
):
    database["level"].insert(
        {
            "id": level_id,
            "run_id": 1,
            "model": "m",
            "concurrency": concurrency,
            "status": "finished",
            "started_ns": started_ns,
            "ended_ns": ended_ns,
            **columns,
        }
    )


def request(
    database,
    number,
    sent=0.0,
    first=None,
    last=None,
    tokens=None,
    status="completed",
    level_id=1,
    **columns,
):

    def ns(at):
        return None if at is None else int(at * S)

    database["request"].insert(
        {
            "level_id": level_id,
            "target_id": 1,
            "number": number,
            "status": status,
            "sent_ns": ns(sent),
            "first_text_ns": ns(first),
            "last_text_ns": ns(last),
            "ended_ns": ns(last or sent),
            "output_tokens": tokens,
            **columns,
        }
    )


def one(database, view, where="1"):
    rows = list(database.query(f"SELECT * FROM {view} WHERE {where}"))
    assert len(rows) == 1
    return rows[0]
