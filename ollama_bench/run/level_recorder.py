"""Store a level's requests as they begin and end, and show its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ollama_bench.inputs.settings import LoadSettings
from ollama_bench.load import load
from ollama_bench.load.attempt import Outcome, Task
from ollama_bench.load.result import LevelResult
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.run.record import RunRecord
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console

# a request's id is its level's times this, plus its number
REQUEST_IDS = 1_000_000
# of a request in one statement; SQLite unfolds them without Python's lock
CHUNKS_AT_ONCE = 16_384
CHUNK_ROWS = """
INSERT INTO chunk (request_id, number, at_ns, is_reasoning)
SELECT ?1, ?2 + key, value - ?3, substr(?5, key + 1, 1) = x'01' FROM json_each(?4)"""


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

    def __iter__(self) -> Iterator[tuple[int, int, int, str, bytes]]:
        for start in range(0, len(self._at_ns), CHUNKS_AT_ONCE):
            part = slice(start, start + CHUNKS_AT_ONCE)
            instants = f"[{','.join(map(str, self._at_ns[part]))}]"
            kinds = bytes(self._kinds[part])
            yield self._request_id, start, self._origin_ns, instants, kinds


class LevelRecorder(load.Observer):
    """Writes what a load tells into the results file."""

    def __init__(
        self,
        record: RunRecord,
        level_id: int,
        monitor: Monitor | None,
        screen: Console,
        interrupt: Interrupt,
    ) -> None:
        self._record, self._level_id, self._monitor = (
            record,
            level_id,
            monitor,
        )
        self._screen, self._interrupt = screen, interrupt
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
        }
        self._record.writer.add("request", columns)

    def ended(self, outcome: Outcome) -> None:
        if outcome.task.number not in self._begun:
            self.begun(outcome.task)  # it failed before it could be sent
        writer, origin_ns = self._record.writer, self._record.origin_ns
        request_id = self._id(outcome.task)
        writer.update("request", request_id, outcome.to_figures(origin_ns))
        if outcome.answer or outcome.reasoning:
            texts = {
                "reasoning": outcome.reasoning or None,
                "answer": outcome.answer or None,
            }
            writer.add("reply", {"request_id": request_id, **texts})
        if outcome.chunk_ns:
            writer.execute_many(
                CHUNK_ROWS, ChunkRows(request_id, outcome, origin_ns)
            )
        # stored: a long run need not hold them
        outcome.answer = outcome.reasoning = ""

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
            if self._interrupt.is_set()
            else "finished",
            "started_ns": level.started_ns - origin_ns,
            "ended_ns": ended_ns and ended_ns - origin_ns,
            "pool_waits": level.pool_waits if is_open else None,
            "never_sent": level.never_sent if is_open else None,
            **steady,
            **tally.summarize_itl(),
            **tally.summarize_intervals(
                None if settings.kind == "burst" else level.spec.workers
            ),
            **level.client_figures(),
        }
        if self._monitor is not None:
            columns |= self._monitor.conditions_since(level.started_ns)
        self._record.writer.update("level", self._level_id, columns)
        self._record.writer.flush()

    def _id(self, task: Task) -> int:
        return self._level_id * REQUEST_IDS + task.number

    def _mark(self) -> None:
        if self._monitor is not None:
            self._monitor.mark()
