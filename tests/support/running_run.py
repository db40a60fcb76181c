"""A results file in which a run goes on: its second level has streams that have not ended."""

import contextlib
import json
import sqlite3
import time

from tests.support import made_up_results

STREAMS = [
    # number, sent, first token, end: one waits, one is answered, one has just ended
    [1, 10.0, None, None],
    [2, 10.0, 11.0, None],
    [3, 10.0, 10.5, 12.5],
]
LATE_S = 60.0  # it is alive so long as nobody looks at it
STATE = {
    "at_s": 13.0,
    "doing": "tiny:7b: level 2 of 2, 4 at once",
    "level": {
        "started_s": 10.0,
        "until_s": None,
        "planned": 4,
        "waiting": 1,
        "streaming": 1,
        "ended": 2,
        "tokens": 90,
        "tokens_per_s": 40.0,
        "left": "about 3 s left in this level",
        "streams": STREAMS,
    },
}


def write(path, model="tiny:7b", state=STATE, seen_unix=None):
    """Add a run with a finished level of one request, and one of four that goes on."""
    [run_id] = made_up_results.write(
        path, model, levels=(1, 4), started_unix=time.time() - 13
    )
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        (level_id,) = file.execute(
            "SELECT max(id) FROM level WHERE run_id = ?", [run_id]
        ).fetchone()
        file.execute(
            "UPDATE level SET status = 'running', ended_ns = NULL WHERE id = ?",
            [level_id],
        )
        file.execute(
            "UPDATE request SET status = 'in_flight', sent_ns = NULL, ended_ns = NULL,"
            " first_text_ns = NULL, last_text_ns = NULL, output_tokens = NULL"
            " WHERE level_id = ? AND number < 4",
            [level_id],
        )
        # instants of made-up rows are those of their level
        file.execute(
            "UPDATE request SET sent_ns = 10e9, first_text_ns = 11e9,"
            " last_text_ns = 12e9, ended_ns = 12e9"
            " WHERE level_id = ? AND number = 4",
            [level_id],
        )
        tell(file, run_id, state, seen_unix)
    return run_id


def tell(file, run_id, state, seen_unix=None):
    """Store what the run does now, as the writer does twice a second."""
    file.execute(
        "UPDATE run SET status = 'running', ended_ns = NULL, live = ?, seen_unix = ?"
        " WHERE id = ?",
        [
            state and json.dumps(state),
            seen_unix or time.time() + LATE_S,
            run_id,
        ],
    )


def end(path, run_id):
    """Let the run have ended."""
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute(
            "UPDATE run SET status = 'finished', live = NULL WHERE id = ?",
            [run_id],
        )
        file.execute(
            "UPDATE level SET status = 'finished' WHERE run_id = ?",
            [run_id],
        )
