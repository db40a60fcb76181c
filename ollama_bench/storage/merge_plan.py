"""Which runs of several results files go into one: each once, in its latest state.

A run is known again by its start, what wrote it and its arguments, which --resume does not change;
an imported one by what it was read from. Where two files have it, the digest of its rows tells
whether they are the same. If not, one was copied before the run went on, and the later one is
taken: it was seen last, else its status is nearer to the end, else it has more levels.
"""

from __future__ import annotations

import collections
import os
import sqlite3
from collections.abc import Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlite_utils import Database

from ollama_bench.storage.connection import connect
from ollama_bench.storage.damage import refuse_damage
from ollama_bench.storage.digest import digest_run
from ollama_bench.storage.results_file import ResultsError

# of a run that is in two files: the later is nearer to its end
STATUSES = ("running", "interrupted", "failed", "finished")
RUNS = """
SELECT id, import_key, source, started_unix, arguments, seen_unix, status,
  (SELECT count(*) FROM level WHERE run_id = run.id) AS levels
FROM run ORDER BY id"""


class RunState(NamedTuple):
    """A run as it is in one of the files."""

    file: int  # place of the file among the inputs
    run_id: int  # in that file
    key: Hashable  # the same in every file that has the run
    # how far it came: a later state of a run is greater
    reached: tuple[float, int, int]


@dataclass
class PlannedRun:
    """A run of the merged file."""

    number: int  # in the merged file
    taken: RunState
    same: list[RunState] = field(default_factory=list)
    other: list[RunState] = field(default_factory=list)


def plan_merge(paths: Sequence[str]) -> list[PlannedRun]:
    """Return the runs to be copied, in the order of the files and of their runs there.

    Raises ResultsError where a file is damaged or not ours.
    """
    groups: dict[Hashable, list[RunState]] = {}
    for place, path in enumerate(paths):
        for state in read_states(path, place):
            groups.setdefault(state.key, []).append(state)
    return [
        choose_state(number, states, paths)
        for number, states in enumerate(groups.values(), 1)
    ]


def choose_state(
    number: int, states: Sequence[RunState], paths: Sequence[str]
) -> PlannedRun:
    """Return the run in its latest state; of equals that of the first file."""
    latest = max(state.reached for state in states)
    planned = PlannedRun(
        number,
        next(state for state in states if state.reached == latest),
    )
    for state in states:
        if state is planned.taken:
            continue
        is_same = state.reached == latest and digest_state(
            state, paths
        ) == digest_state(planned.taken, paths)
        (planned.same if is_same else planned.other).append(state)
    return planned


def read_states(path: str, place: int) -> Iterator[RunState]:
    """Yield the runs of a file. Raises ResultsError."""
    with opened(path) as database:
        refuse_damage(database)
        # rows that are gone show nowhere else
        [(found,)] = database.conn.execute("PRAGMA quick_check(1)")
        if found != "ok":
            raise ResultsError(f"{path}: the file is damaged: {found}")
        rows = list(database.query(RUNS))
    times: collections.Counter[Hashable] = collections.Counter()
    for row in rows:
        key: Hashable = (
            row["source"],
            row["started_unix"],
            row["arguments"],
        )
        if row["import_key"] is not None:
            key = row["import_key"]
        # what one file has twice is two runs
        times[key] += 1
        reached = (
            row["seen_unix"] or 0.0,
            STATUSES.index(row["status"]),
            row["levels"],
        )
        yield RunState(place, row["id"], (key, times[key]), reached)


def digest_state(state: RunState, paths: Sequence[str]) -> str:
    with opened(paths[state.file]) as database:
        return digest_run(database, state.run_id)


@contextmanager
def opened(path: str) -> Iterator[Database]:
    """Open a file that is only read. Raises ResultsError where it is damaged or not ours."""
    if not os.path.exists(path):
        raise ResultsError(f"{path} is not there: expected a results file")
    try:
        with closing(connect(path, readonly=True)) as database:
            yield database
    except sqlite3.OperationalError:
        raise  # a disk that is full or does not answer
    except sqlite3.Error as error:
        raise ResultsError(f"{path}: {error}") from None
