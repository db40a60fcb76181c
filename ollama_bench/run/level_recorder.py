"""Store a level's requests as they begin and end, and show its progress."""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Iterator, Mapping

from ollama_bench.inputs.settings import LoadSettings
from ollama_bench.load import load
from ollama_bench.load.attempt import Outcome, Task
from ollama_bench.load.result import LevelResult, UnsentArrivals
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.run.model_names import ReplyNames
from ollama_bench.run.record import RunRecord
from ollama_bench.statistics.share import (
    estimate_burst_share,
    estimate_share,
)
from ollama_bench.storage.request_ids import make_request_id
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console

UNSENT_AT_ONCE = 50_000  # rows in one transaction
UNSENT_COLUMNS = ("id", "level_id", "number", "status", "error", "due_ns")
NOT_SENT = (
    "due and not sent when the level ended: this client was late",
    "due and not sent when the level ended: every place was taken",
)
# of a request in one statement; SQLite unfolds them without Python's lock
CHUNKS_AT_ONCE = 16_384
STRAINS = """
SELECT max(strain) AS strain FROM judged_objective
JOIN request ON request.id = request_id
WHERE judged_objective.level_id = ? AND strain IS NOT NULL GROUP BY request_id
ORDER BY coalesce(due_ns, sent_ns, ended_ns), number"""
CHUNK_ROWS = """
INSERT INTO chunk (request_id, number, at_ns, is_reasoning, characters)
SELECT ?1, ?2 + key, value - ?3, substr(?5, key + 1, 1) = x'01',
  CAST(substr(?6, 10 * key + 1, 10) AS INTEGER) FROM json_each(?4)"""


class ChunkRows:
    """Parameters of CHUNK_ROWS, made while they are written: an endless reply has millions."""

    def __init__(
        self, request_id: int, outcome: Outcome, origin_ns: int
    ) -> None:
        self._request_id, self._origin_ns = request_id, origin_ns
        self._at_ns, self._kinds = (
            outcome.chunk_ns,
            outcome.chunk_is_reasoning,
        )
        self._characters = outcome.chunk_characters

    def __iter__(
        self,
    ) -> Iterator[tuple[int, int, int, str, bytes, bytes | None]]:
        for start in range(0, len(self._at_ns), CHUNKS_AT_ONCE):
            part = slice(start, start + CHUNKS_AT_ONCE)
            instants = f"[{','.join(map(str, self._at_ns[part]))}]"
            kinds = bytes(self._kinds[part])
            yield (
                self._request_id,
                start,
                self._origin_ns,
                instants,
                kinds,
                pack_counts(self._characters, part),
            )


def pack_counts(counts: array[int] | None, part: slice) -> bytes | None:
    """Return counts as text of ten digits each, where SQLite finds each at once."""
    if counts is None:
        return None
    wanted = counts[part]
    return b"%10d" * len(wanted) % tuple(wanted)


class UnsentRows:
    """Rows of arrivals that were never sent, made while they are written: there may be millions."""

    def __init__(
        self,
        level_id: int,
        unsent: UnsentArrivals,
        start_ns: int,
        sent: int,
        first: int,
    ) -> None:
        self._level_id, self._unsent = level_id, unsent
        self._start_ns, self._sent = start_ns, sent
        self._places = range(
            first, min(first + UNSENT_AT_ONCE, len(unsent))
        )

    def __iter__(self) -> Iterator[tuple[int, int, int, str, str, int]]:
        for place in self._places:
            number = self._sent + place + 1
            yield (
                make_request_id(self._level_id, number),
                self._level_id,
                number,
                "cancelled",
                NOT_SENT[self._unsent.has_waited[place]],
                self._start_ns + int(self._unsent.due_s[place] * 1e9),
            )


class LevelRecorder(load.Observer):
    """Writes what a load tells into the results file."""

    def __init__(
        self,
        record: RunRecord,
        level_id: int,
        monitor: Monitor | None,
        screen: Console,
        interrupt: Interrupt,
        reply_names: ReplyNames,
        hosts: Mapping[int, str] | None = None,
    ) -> None:
        """hosts: the server of each target, where there are several: errors name it."""
        self._record, self._level_id, self._monitor = (
            record,
            level_id,
            monitor,
        )
        self._screen, self._interrupt = screen, interrupt
        self._reply_names = reply_names
        self._hosts = hosts or {}
        self._begun: set[int] = set()

    def ready(self, tasks: list[Task]) -> None:
        """Store rows before the first byte leaves: they show even after a crash."""
        for task in tasks:
            self.begun(task)
        # the load must not be left halfway: see tick()
        with contextlib.suppress(ResultsError):
            self._record.writer.flush()
        self._mark()

    def begun(self, task: Task) -> None:
        self._begun.add(task.number)
        columns = {
            "id": self._id(task),
            "level_id": self._level_id,
            "target_id": task.target_id,
            "number": task.number,
            "prompt_number": task.prompt_number,
            "turn": task.turn,
            "prefix": task.prefix,
            "worker": task.worker,
        }
        self._record.writer.add("request", columns)

    def ended(self, outcome: Outcome) -> None:
        if outcome.task.number not in self._begun:
            self.begun(outcome.task)  # it failed before it could be sent
        self._reply_names.note(outcome)
        host = self._hosts.get(outcome.task.target_id or 0)
        if host and outcome.error:
            outcome.error = f"{host}: {outcome.error}"
        writer, origin_ns = self._record.writer, self._record.origin_ns
        request_id = self._id(outcome.task)
        writer.update("request", request_id, outcome.to_figures(origin_ns))
        if outcome.answer or outcome.reasoning or outcome.tool_calls:
            texts = {
                "reasoning": outcome.reasoning or None,
                "answer": outcome.answer or None,
                "tool_calls": write_calls(outcome),
            }
            writer.add("reply", {"request_id": request_id, **texts})
        if outcome.chunk_ns:
            writer.execute_many(
                CHUNK_ROWS, ChunkRows(request_id, outcome, origin_ns)
            )
        # stored: a long run need not hold them, but the next turn repeats the answer
        outcome.reasoning = ""
        if outcome.task.follow is None:
            outcome.answer = ""

    def tick(self, level: LevelResult) -> None:
        if self._record.writer.failure:
            # nothing can be stored any more: close() says why
            self._interrupt.set()
        if self._monitor is None:
            self._screen.draw(level, {})
        else:
            self._screen.draw(level, self._monitor.latest())

    def close(self, level: load.Load, settings: LoadSettings) -> None:
        """Store the level's own row: its window, its gaps, how exact the client was."""
        self._mark()
        self._add_unsent(level.result)
        tally, origin_ns = level.tally, self._record.origin_ns
        assert level.started_ns is not None
        ended_ns = tally.last_ns or level.ended_ns
        steady = {
            name: value - origin_ns
            for name, value in level.steady_figures().items()
        }
        is_open = settings.kind == "open"
        columns = {
            "status": "interrupted"
            if self._interrupt.is_set() or level.result.lost_worker
            else "finished",
            "started_ns": level.started_ns - origin_ns,
            "ended_ns": ended_ns and ended_ns - origin_ns,
            "lost_worker": level.result.lost_worker or None,
            "pool_waits": level.pool_waits if is_open else None,
            "never_sent": level.never_sent if is_open else None,
            **saturation_figures(level.result),
            **steady,
            **tally.summarize_itl(),
            **tally.summarize_intervals(
                None if settings.kind == "burst" else level.spec.workers,
                level.result.find_steady(),
            ),
            **level.client_figures(),
            **level.result.people_figures(),
        }
        if self._monitor is not None:
            columns |= self._monitor.conditions_since(level.started_ns)
        self._record.writer.update("level", self._level_id, columns)
        # from the rows as they are stored: the steady part is among them
        share = self._estimate_share(level.result.is_burst)
        self._record.writer.update("level", self._level_id, share)
        self._record.writer.flush()

    def _estimate_share(self, is_burst: bool) -> dict[str, float | None]:
        """Return the interval of the share of good requests; None where none can be judged."""
        rows = self._record.rows(STRAINS, [self._level_id])
        strains = [row["strain"] for row in rows]
        good = [strain <= 1 for strain in strains]
        found = (
            estimate_burst_share([good])
            if is_burst
            else estimate_share(good, strain=strains)
        )
        return {
            "good_ratio_low": found.low if found else None,
            "good_ratio_high": found.high if found else None,
        }

    def _add_unsent(self, level: LevelResult) -> None:
        """Store a row for each arrival that was never sent, numbered after those that were."""
        start_ns = (level.started_ns or 0) - self._record.origin_ns
        sent = max(self._begun, default=0)
        for first in range(0, len(level.unsent), UNSENT_AT_ONCE):
            rows = UnsentRows(
                self._level_id, level.unsent, start_ns, sent, first
            )
            self._record.writer.add_many("request", UNSENT_COLUMNS, rows)
            self._record.writer.flush()

    def _id(self, task: Task) -> int:
        return make_request_id(self._level_id, task.number)

    def _mark(self) -> None:
        if self._monitor is not None:
            self._monitor.mark()


def saturation_figures(level: LevelResult) -> dict[str, float | None]:
    """Return by how much the queue of a level grew, and whether; None where nobody can tell."""
    value, low, high = level.queue_slope or (None, None, None)
    return {
        "saturated": level.is_saturated,
        "queue_growth_per_s": value,
        "queue_growth_low_per_s": low,
        "queue_growth_high_per_s": high,
    }


def write_calls(outcome: Outcome) -> str | None:
    """Return the tool calls of an answer as JSON, without the API key; None without any."""
    if not outcome.tool_calls:
        return None
    return outcome.task.secret.mask(json.dumps(outcome.tool_calls))
