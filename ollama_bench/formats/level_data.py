"""What the export tells other tools of a level: its requests and the instants of their chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlite_utils import Database

from ollama_bench.analysis.study import Row, Study

NS_PER_S = 1e9
RUN = "SELECT * FROM run WHERE id = ?"
STARTED = "SELECT started_ns FROM level WHERE id = ?"
REQUESTS = """
SELECT request.*, reply.answer FROM request LEFT JOIN reply ON request_id = request.id
WHERE level_id = ? AND status <> 'in_flight' ORDER BY number"""
CHUNKS = """
SELECT request_id, at_ns FROM chunk JOIN request ON request.id = request_id
WHERE level_id = ? ORDER BY request_id, chunk.number"""


@dataclass(frozen=True)
class LevelData:
    """A level with everything that other tools tell of one; rows as in results.db."""

    study: Study
    run: Row
    # instant of its first request; None: it has none
    started_ns: int | None
    targets: list[
        Row
    ]  # the model on its servers, as described in that run
    level: Row  # as in Study.levels
    requests: list[Row]  # those that ended; answer is the text
    # request: the instants of its chunks; empty where none were stored
    chunks_ns: dict[int, list[int]]

    @property
    def completed(self) -> list[Row]:
        return [
            request
            for request in self.requests
            if request["status"] == "completed"
        ]

    @property
    def server(self) -> Row | None:
        """The first server; None where the run named none."""
        return self.targets[0] if self.targets else None

    @property
    def started_unix(self) -> float:
        """When its first request was sent, seconds since 1970."""
        seconds: float = self.run["started_unix"]
        return seconds + (self.started_ns or 0) / NS_PER_S

    @property
    def name(self) -> str:
        """A file's name for it: no other level of the results file has it."""
        level = self.level
        return f"run-{level['run_id']}-level-{level['level_id']}"

    def find_gaps_s(self, request: Row) -> list[float] | None:
        """Return the seconds between a request's chunks; None where they are not known."""
        instants = self.chunks_ns.get(request["id"])
        if instants is None:
            return [] if request["chunks"] == 0 else None
        return [
            (after - before) / NS_PER_S
            for before, after in zip(instants, instants[1:], strict=False)
        ]


def read_levels(database: Database, study: Study) -> Iterator[LevelData]:
    """Yield the levels of a study one by one, with all that is known of their requests."""
    for level in study.levels:
        chunks_ns: dict[int, list[int]] = {}
        for row in database.query(CHUNKS, [level["level_id"]]):
            chunks_ns.setdefault(row["request_id"], []).append(
                row["at_ns"]
            )
        run_id = level["run_id"]
        yield LevelData(
            study,
            next(iter(database.query(RUN, [run_id]))),
            next(database.execute(STARTED, [level["level_id"]]))[0],
            [row for row in study.targets if row["run_id"] == run_id],
            level,
            list(database.query(REQUESTS, [level["level_id"]])),
            chunks_ns,
        )
