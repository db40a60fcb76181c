"""Reads the requests of running runs out of results.db, each once, when it has ended.

    figures = RunFigures("results.db")
    figures.update()                    # at each scrape
    figures.make_families()

A row of request is stored when a request begins and changed once, when it ends. So what is kept
between two looks is the highest number that was seen of each running level, and the numbers
below it that had not ended. SQLite counts, without Python's lock. What had ended before the
first look is not counted: these counters begin with this program.
"""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client.core import HistogramMetricFamily

from ollama_bench.prometheus import families
from ollama_bench.prometheus.distribution import Histograms, LabelValues
from ollama_bench.prometheus.families import AnyFamily, MetricSpec
from ollama_bench.storage.connection import DEAD_AFTER_S, connect
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.output import shorten

COMPLETED = "completed"
PATIENCE_MS = 1000  # for a lock of another program
USUAL_PORTS = {"http": 80, "https": 443}
# numbers of one level that a look goes through at most
NUMBERS_AT_ONCE = 100_000

NEWEST_LEVEL = "SELECT coalesce(max(id), 0) FROM level"
LEVELS = """
SELECT level.id, level.status = 'running' AND run.status = 'running' AS is_open,
  coalesce(run.seen_unix, run.started_unix) AS seen_unix, run.id AS run_id, level.model,
  level.concurrency,
  CASE WHEN think_time_s IS NOT NULL THEN 'people' ELSE coalesce(load, '') END AS load,
  CASE WHEN json_valid(run.live) THEN json_extract(run.live, '$.level.waiting',
    '$.level.streaming', '$.level.tokens_per_s') END AS live
FROM level JOIN run ON run.id = run_id
WHERE source = 'bench'"""
# of the level's row, not of a view: the control level counts as well
NEW_LEVELS = f"{LEVELS} AND level.id > ?"
KNOWN_LEVELS = f"{LEVELS} AND level.id IN (SELECT value FROM json_each(?))"
RUNNING_LEVELS = (
    f"{LEVELS} AND level.status = 'running' AND run.status = 'running'"
)
TARGETS = """
SELECT target.id, api, target.model, host
FROM target JOIN level ON level.run_id = target.run_id WHERE level.id = ?"""
NEWEST_NUMBER = (
    "SELECT coalesce(max(number), 0) FROM request WHERE level_id = ?"
)
ENDED = "status <> 'in_flight'"
IN_RANGE = "level_id = ? AND number > ? AND number <= ?"
IN_LIST = "level_id = ? AND number IN (SELECT value FROM json_each(?))"
NUMBERS = f"SELECT number FROM request WHERE {IN_RANGE}"
DONE = f"SELECT number FROM request WHERE {IN_LIST} AND {ENDED}"


# what a run tells of its level while it goes on, in the order of LEVELS
LIVE = (families.UNANSWERED, families.STREAMING, families.PACE)


class Measure(NamedTuple):
    """A column of request as a histogram; find_labels: more labels, by how a request ended."""

    metric: MetricSpec
    column: str
    find_labels: Callable[[str], LabelValues]


def find_no_labels(_: str) -> LabelValues:
    return ()


def find_error_type(ending: str) -> LabelValues:
    return ("" if ending == COMPLETED else ending,)


MEASURES = (
    Measure(
        families.DURATION,
        "CASE WHEN sent_ns > 0 THEN (ended_ns - coalesce(due_ns, sent_ns)) / 1e9 END",
        find_error_type,
    ),
    Measure(families.FIRST_CHUNK, "ttft_s", find_no_labels),
    Measure(
        families.TIME_PER_TOKEN,
        f"CASE WHEN ending = '{COMPLETED}' THEN stream_tpot_s END",
        find_no_labels,
    ),
    Measure(families.TOKENS, "prompt_tokens", lambda _: ("input",)),
    Measure(families.TOKENS, "output_tokens", lambda _: ("output",)),
)


def select_counts(where: str) -> str:
    """Return SQL that sums up requests that have ended, by their target and ending."""
    sums = []
    for measure in MEASURES:
        column = f"({measure.column})"
        sums += [
            f"coalesce(sum({column} <= {bound!r}), 0)"
            for bound in measure.metric.bounds
        ]
        sums += [f"count({column})", f"total({column})"]
    columns = ", ".join(["target_id", "ending", "count(*)", *sums])
    return (
        f"SELECT {columns} FROM request WHERE {where} AND {ENDED}"
        " GROUP BY target_id, ending"
    )


COUNT_RANGE, COUNT_LIST = select_counts(IN_RANGE), select_counts(IN_LIST)


@dataclass
class OpenLevel:
    """A level whose requests are not all counted yet."""

    id: int
    run_id: int
    model: str
    concurrency: int
    load: str
    seen: int = 0  # the highest number that was looked at
    # numbers up to that which had not ended, or were not stored yet
    pending: set[int] = field(default_factory=set)
    # labels of the run's targets, by their id
    targets: dict[int | None, LabelValues] = field(default_factory=dict)
    is_alive: bool = True  # its run gives signs of life
    # values of LIVE as the run told them last
    live: tuple[object, ...] = ()

    @property
    def labels(self) -> LabelValues:
        return str(self.run_id), self.load, self.model

    def follow(self, look: Look) -> bool:
        """Note how far the look came; return whether that is all there is."""
        self.seen, self.pending = look.seen, look.pending
        return look.is_whole

    def find_labels(self, target_id: int | None) -> LabelValues:
        return self.targets.get(target_id) or make_target_labels(
            "", self.model, ""
        )


@dataclass(frozen=True)
class Look:
    """What one look found of a level."""

    ended: list[tuple[Any, ...]]  # rows of COUNT_RANGE and COUNT_LIST
    seen: int
    pending: set[int]
    is_whole: bool  # there is nothing above seen


class RunFigures:
    """Counters of the requests that end, and the levels that are measured now.

    One thread at a time.
    """

    def __init__(self, path: str) -> None:
        """Open a results file, which must exist. Raises ResultsError."""
        self._connection: sqlite3.Connection = connect(
            path, readonly=True
        ).conn
        self._connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        self._requests: Counter[LabelValues] = Counter()
        self._histograms = {
            measure.metric: Histograms(measure.metric)
            for measure in MEASURES
        }
        self._levels: dict[int, OpenLevel] = {}
        try:
            self._newest = self._begin()
        except sqlite3.Error as error:
            self.close()
            raise ResultsError(f"{path}: {error}") from None

    def _begin(self) -> int:
        """Follow the levels that go on; return the newest before."""
        newest = self._fetch_number(NEWEST_LEVEL)
        for row in self._fetch(RUNNING_LEVELS):
            self._adopt(row)
        for level in self._levels.values():
            # what has ended by now is not counted
            while not level.follow(self._look(level)):
                pass
        return newest

    def close(self) -> None:
        self._connection.close()

    def update(self) -> None:
        """Count what has ended since. Raises sqlite3.Error, and then nothing is lost."""
        # one state of the file for all queries
        self._connection.execute("BEGIN")
        try:
            self._update_levels()
        finally:
            self._connection.execute("ROLLBACK")

    def forget_moment(self) -> None:
        """Show nothing that is true of one instant only: the file cannot be read."""
        for level in self._levels.values():
            level.is_alive = False

    def make_families(self) -> Iterable[AnyFamily]:
        """Yield the families of what was found last."""
        yield fill_family(families.REQUESTS, self._requests)
        alive = [one for one in self._levels.values() if one.is_alive]
        yield fill_family(
            families.CONCURRENCY,
            {level.labels: level.concurrency for level in alive},
        )
        for place, metric in enumerate(LIVE):
            yield fill_family(
                metric,
                {
                    level.labels: value
                    for level in alive
                    for value in level.live[place : place + 1]
                    if isinstance(value, float)
                },
            )
        for histograms in self._histograms.values():
            yield histograms.make_family()

    def _update_levels(self) -> None:
        known = json.dumps(list(self._levels))
        is_open = {}
        for row in [
            *self._fetch(KNOWN_LEVELS, known),
            *self._fetch(NEW_LEVELS, self._newest),
        ]:
            if row[0] not in self._levels:
                self._adopt(row)
            is_open[row[0]] = bool(row[1])
            level = self._levels[row[0]]
            level.is_alive = time.time() - row[2] < DEAD_AFTER_S
            level.live = read_live(row[-1])
        self._newest = max([self._newest, *is_open])
        for level in list(self._levels.values()):
            look = self._look(level)
            self._count(level, look)
            if look.is_whole and not is_open.get(level.id):
                del self._levels[level.id]

    def _adopt(self, row: Sequence[Any]) -> None:
        """Follow a level from now on; its series are there, at 0, before a request ends."""
        level_id, _, _, run_id, model, concurrency, load, _ = row
        level = OpenLevel(
            level_id, run_id, shorten(model), concurrency, load
        )
        for target_id, *words in self._fetch(TARGETS, level.id):
            labels = make_target_labels(*words)
            level.targets[target_id] = labels
            completed = (*labels, COMPLETED)
            self._requests[completed] += 0
            for metric, _, find_labels in MEASURES:
                series = (*labels, *find_labels(COMPLETED))
                self._histograms[metric].find(series)
        self._levels[level.id] = level

    def _look(self, level: OpenLevel) -> Look:
        newest = self._fetch_number(NEWEST_NUMBER, level.id)
        seen = max(level.seen, min(newest, level.seen + NUMBERS_AT_ONCE))
        span = level.id, level.seen, seen
        waited = level.id, json.dumps(sorted(level.pending))
        ended = self._fetch(COUNT_RANGE, *span)
        begun = self._fetch_set(f"{NUMBERS} AND NOT {ENDED}", *span)
        missing = seen - level.seen - len(begun)
        missing -= sum(row[2] for row in ended)
        if missing:
            # rows of several threads may be stored out of order
            stored = self._fetch_set(NUMBERS, *span)
            begun |= set(range(level.seen + 1, seen + 1)) - stored
        done = self._fetch_set(DONE, *waited)
        return Look(
            [*ended, *self._fetch(COUNT_LIST, *waited)],
            seen,
            level.pending - done | begun,
            is_whole=seen >= newest,
        )

    def _count(self, level: OpenLevel, look: Look) -> None:
        level.follow(look)
        for target_id, ending, count, *sums in look.ended:
            labels = level.find_labels(target_id)
            series = (*labels, ending)
            self._requests[series] += count
            for metric, _, find_labels in MEASURES:
                width = len(metric.bounds) + 1
                counts, total = sums[:width], sums[width]
                del sums[: width + 1]
                series = (*labels, *find_labels(ending))
                self._histograms[metric].find(series).add(counts, total)

    def _fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _fetch_set(self, sql: str, *values: object) -> set[int]:
        return {number for (number,) in self._fetch(sql, *values)}

    def _fetch_number(self, sql: str, *values: object) -> int:
        (number,) = self._fetch(sql, *values)[0]
        return int(number)


def fill_family(
    metric: MetricSpec, values: Mapping[LabelValues, float]
) -> AnyFamily:
    """Return the family of a counter or a gauge with these values by their labels."""
    family = metric.make_family()
    assert not isinstance(family, HistogramMetricFamily)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def read_live(text: str | None) -> tuple[object, ...]:
    """Return the values of LIVE; numbers are floats, what else stands there is unknown."""
    return tuple(json.loads(text, parse_int=float)) if text else ()


def make_target_labels(api: str, model: str, host: str) -> LabelValues:
    """Return the values of TARGET_LABELS; api and host are empty where they are unknown."""
    words = ("chat", api, model, *split_host(host))
    return tuple(shorten(word) for word in words)


def split_host(host: str) -> tuple[str, str]:
    """Return address and port of a server's URL, empty where it has none."""
    try:
        url = urllib.parse.urlsplit(host)
        port = url.port or USUAL_PORTS.get(url.scheme)
    except ValueError:  # whoever wrote the file
        return "", ""
    return url.hostname or "", str(port or "")
