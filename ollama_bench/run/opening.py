"""Begin a run, or continue an interrupted one of the same options."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_bench.inputs import objectives, prompts, trace
from ollama_bench.inputs.settings import Settings
from ollama_bench.protocols.text import one_line
from ollama_bench.run.differences import (
    describe_changed_options,
    read_stored_arguments,
)
from ollama_bench.run.error import OtherRunError, RunError
from ollama_bench.run.record import Row, RunRecord, read_rows
from ollama_bench.run.server import Server
from ollama_bench.storage.connection import DEAD_AFTER_S
from ollama_bench.storage.results_file import TOOL_VERSION
from ollama_bench.storage.writer import Writer
from ollama_bench.terminal.command_line import name_this_command

LOOK_EVERY_S = 0.5  # between two looks for a sign of life of another run
RESUMABLE = """
SELECT id, status, started_unix, seen_unix, idle_end_ns,
  coalesce(seen_unix, started_unix) AS alive_unix,
  max(coalesce(ended_ns, 0),
    coalesce((SELECT max(at_ns) FROM system_sample WHERE run_id = run.id), 0),
    coalesce((SELECT max(coalesce(request.ended_ns, sent_ns)) FROM request
      JOIN level ON level.id = level_id WHERE run_id = run.id), 0)) AS last_ns
FROM run
WHERE source = 'bench' AND arguments = ? AND (
  status IN ('interrupted', 'running')
  OR status = 'finished' AND EXISTS (
    SELECT 1 FROM level WHERE run_id = run.id AND level.status = 'finished'
    GROUP BY model, concurrency, repeat, cache, is_control, asked_prompt_tokens, prompt_mix
    HAVING min(coalesce(slept_s, 0)) > 0))
ORDER BY id DESC LIMIT 1"""

NEWEST = """
SELECT id, status, arguments FROM run
WHERE source = 'bench' ORDER BY id DESC LIMIT 1"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class OpenedRun:
    """A run's record, and whether another start of the program began it."""

    record: RunRecord
    is_resumed: bool
    has_baseline: bool


def open_run(
    settings: Settings, servers: Sequence[Server], writer: Writer, say: Say
) -> OpenedRun:
    """Return the run to measure into. Raises RunError, OtherRunError, ResultsError."""
    arguments = json.dumps(stored_arguments(settings))
    found = None
    if settings.output.resume and settings.load.budget_s is not None:
        say("a run without LEVELS is not resumed; starting a new one")
    elif settings.output.resume:
        found = Resuming(settings.output.db, arguments, say).find()
        if found is None:
            refuse_another(settings.output.db, arguments)
            say(
                "no interrupted run of these options to resume; starting a new one"
            )
    started_unix = found["started_unix"] if found else time.time()
    if found:
        run_id = found["id"]
        refuse_changed_targets(run_id, settings, servers)
        if not writer.take_over(
            run_id, found["seen_unix"], running_columns()
        ):
            raise RunError(f"run {run_id} is still running")
    else:
        run_id = insert_run(
            settings, servers, writer, arguments, started_unix
        )
    writer.run_id = run_id
    passed_ns = int((time.time() - started_unix) * 1e9)
    # a clock that was set back must not lay one level over another
    if found:
        passed_ns = max(passed_ns, found["last_ns"])
    origin_ns = time.perf_counter_ns() - max(passed_ns, 0)
    record = RunRecord(
        run_id, writer, settings.output.db, origin_ns, started_unix
    )
    return OpenedRun(
        record, bool(found), bool(found and found["idle_end_ns"])
    )


def stored_arguments(settings: Settings) -> dict[str, object]:
    """Return what a run measures, as it is stored and compared by --resume."""
    found = dict(settings.identity)
    # an edited file asks something else
    if path := settings.request.prompts_file:
        content = repr(prompts.read(path)).encode()
        found["prompts_sha256"] = hashlib.sha256(content).hexdigest()
    if (replayed := trace.read_replayed(settings)) is not None:
        content = repr(replayed.lines).encode()
        found["trace_sha256"] = hashlib.sha256(content).hexdigest()
    return found


def running_columns() -> Row:
    """Columns of a run that this process measures from now on."""
    return {
        "status": "running",
        "seen_unix": time.time(),
        "pid": os.getpid(),
        "command": name_this_command(),
        "tool_version": TOOL_VERSION,
        "python_version": platform.python_version(),
        "ended_ns": None,
    }


def insert_run(
    settings: Settings,
    servers: Sequence[Server],
    writer: Writer,
    arguments: str,
    started_unix: float,
) -> int:
    columns = {
        **running_columns(),
        "label": settings.output.label
        or ("demo" if settings.demo else None),
        "source": "bench",
        "started_unix": started_unix,
        "simulated": int(any(server.simulated for server in servers)),
        "arguments": arguments,
    }
    run_id = writer.insert("run", columns)
    for name, objective in settings.judging.objectives.items():
        column = objectives.METRICS[name].column
        writer.add(
            "objective",
            {"run_id": run_id, "metric": column, **objective._asdict()},
        )
    return run_id


class Resuming:
    """Find the newest run of the same options that has levels left to measure.

    It did not end, and is surely dead; or the machine slept in a level of it.
    """

    def __init__(self, path: str, arguments: str, say: Say) -> None:
        self._path, self._arguments, self._say = path, arguments, say

    def find(self) -> Row | None:
        """Return the run to continue, or None. Raises RunError while it shows signs of life."""
        found = self._newest()
        if found is None or found["status"] != "running":
            return found
        # it would be negative by another computer's clock
        age_s = max(time.time() - found["alive_unix"], 0.0)
        left_s = DEAD_AFTER_S - age_s
        if left_s > 0:
            self._say(
                f"run {found['id']} gave a sign of life {age_s:.0f} s ago; waiting up to"
                f" {left_s:.0f} s for another before resuming it (Ctrl-C leaves)"
            )
        return self._wait(found, time.monotonic() + left_s)

    def _wait(self, found: Row, until_s: float) -> Row | None:
        while time.monotonic() < until_s:
            time.sleep(LOOK_EVERY_S)
            now = self._newest()
            if (
                now is None
                or now["id"] != found["id"]
                or now["status"] != "running"
            ):
                return self.find()  # it has ended meanwhile
            if now["alive_unix"] != found["alive_unix"]:
                raise RunError(f"run {found['id']} is still running")
        return found

    def _newest(self) -> Row | None:
        rows = read_rows(self._path, RESUMABLE, [self._arguments])
        return rows[0] if rows else None


def refuse_another(path: str, arguments: str) -> None:
    """Raise OtherRunError if the newest run was interrupted: it must be meant, but differs."""
    for row in read_rows(path, NEWEST):
        was = row["arguments"]
        if read_stored_arguments(was).get("budget") is not None:
            return  # a run without LEVELS is not resumed
        difference = describe_changed_options(was, arguments)
        if row["status"] == "interrupted" and difference:
            text = (
                f"run {row['id']} was measured {difference}:"
                " resume it as it was, or start a new run without --resume"
            )
            raise OtherRunError(one_line(text))


def refuse_changed_targets(
    run_id: int, settings: Settings, servers: Sequence[Server]
) -> None:
    """Raise RunError if a model or a server is not the one that the run has measured."""
    rows = read_rows(
        settings.output.db,
        "SELECT * FROM target WHERE run_id = ?",
        [run_id],
    )
    stored = {(row["model"], row["host"]): row for row in rows}
    changed: list[str] = []
    for model in settings.request.models:
        for server in servers:
            if before := stored.get((model, server.url)):
                changed += differences(
                    before, server.describe(model), model, server.url
                )
    if changed:
        what = "; ".join(changed)
        text = f"run {run_id} cannot be resumed: {what}; start a new run without --resume"
        raise RunError(one_line(text))


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], model: str, url: str
) -> list[str]:
    """Say which facts of a target have changed; unknown ones are not compared."""
    words = {
        "digest": f"digest of {model}",
        "server_version": "version of the server",
    }
    return [
        f"the {what} at {url} changed from {before[column]} to {now[column]}"
        for column, what in words.items()
        if None not in (before[column], now[column])
        and before[column] != now[column]
    ]
