"""Measure one level: fill caches, cool down, send, store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ollama_bench.fleet.fleet import Fleet, WorkerLostError
from ollama_bench.fleet.level import FleetLevel
from ollama_bench.inputs import trace
from ollama_bench.inputs.settings import LoadSettings, Settings
from ollama_bench.load import load
from ollama_bench.load.attempt import Limits
from ollama_bench.load.tally import Tally
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.protocols.json_values import read_count
from ollama_bench.protocols.work import Work
from ollama_bench.run.fleet_rows import store_workers
from ollama_bench.run.forecast import Forecast, read_measured
from ollama_bench.run.level_load import make_load, make_part
from ollama_bench.run.level_probe import LevelProbe
from ollama_bench.run.level_recorder import LevelRecorder
from ollama_bench.run.plan import Level, plan_lengths
from ollama_bench.run.quick import CEILING_OPTIONS
from ollama_bench.run.record import RunRecord
from ollama_bench.run.replay import Replay
from ollama_bench.run.targets import Targets
from ollama_bench.run.tasks import PromptOrder, TaskSource
from ollama_bench.run.wasted_work import WorkMeter
from ollama_bench.terminal.figures import format_trace
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console
from ollama_bench.transport.lines import Lines

FINISHED = """
SELECT DISTINCT model, concurrency, repeat, cache, coalesce(is_control, 0) AS is_control,
  asked_prompt_tokens, prompt_mix
FROM level
WHERE run_id = ? AND status = 'finished' AND coalesce(slept_s, 0) = 0"""
UNANSWERED = """
SELECT id FROM level
WHERE run_id = ? AND status = 'finished' AND coalesce(slept_s, 0) = 0
  AND NOT coalesce(is_control, 0)
  AND NOT EXISTS (SELECT 1 FROM request WHERE level_id = level.id AND status = 'completed')"""


def load_limits(settings: Settings) -> Limits:
    load_settings = settings.load
    return Limits(
        load_settings.stall_s,
        load_settings.deadline_s,
        load_settings.patience_s,
        load_settings.kernel_stamps,
    )


def finished_levels(record: RunRecord) -> set[Level]:
    """Return the levels that are in the file already; one in which the machine slept is not."""
    return {Level(**row) for row in record.rows(FINISHED, [record.id])}


class LevelRunner:
    """Measures the levels of a run, one after another."""

    def __init__(
        self,
        settings: Settings,
        record: RunRecord,
        targets: Targets,
        lines: Lines,
        screen: Console,
        interrupt: Interrupt,
        monitor: Monitor | None,
        fleet: Fleet | None = None,
    ) -> None:
        self._fleet = fleet
        self._settings, self._record, self._targets = (
            settings,
            record,
            targets,
        )
        self._lines, self._screen, self._interrupt = (
            lines,
            screen,
            interrupt,
        )
        self._monitor = monitor
        self._order = PromptOrder(settings.request, settings.load.seed)
        self._limits = load_limits(settings)
        self._work = WorkMeter(targets.servers, interrupt)
        self._has_measured = False
        # requests were given up that a server may be at work on still
        self._was_cut = False
        # the levels after the next one; None: not known
        self._rest: Sequence[Level] | None = None
        # every level has completed at least one request, those of a resumed run too
        self.all_completed_one = not record.rows(UNANSWERED, [record.id])

    def expect(self, rest: Sequence[Level]) -> None:
        """Say which levels follow the next one: the time left counts them."""
        self._rest = rest

    def measure(
        self,
        level: Level,
        title: str,
        deadline_s: float | None = None,
        probe: LevelProbe | None = None,
    ) -> int | None:
        """Measure a level and return its id; None if it was interrupted.

        deadline_s: cut it after so long. probe: of a search; it tells how to send, and ends it.
        """
        source = self._make_source(level)
        ends = probe.settings if probe else self._settings.load
        self._wait_idle(level)
        if level.cache == "warm":
            self._fill_cache(level, source)
        if self._has_measured or level.cache == "warm":
            self._screen.count_down(
                f"cooldown before {title}, {self._name_crowd(level, ends)}",
                ends.cooldown_s,
                self._interrupt,
            )
        self._has_measured = True
        if self._interrupt.is_set():
            return None
        self._targets.wait_for(level.model, self._settings.load.warmup)
        limits = self._limits
        if deadline_s is not None:
            limits = replace(limits, deadline_s=deadline_s)
            ends = replace(ends, deadline_s=deadline_s)
        self._screen.level_started(
            self._heading(level, title, ends, source.replay),
            self._look_ahead(level, ends, source.replay),
        )
        try:
            return self._send(level, source, limits, probe)
        except WorkerLostError as error:
            self._screen.warn(f"{error}: measuring it again")
            self._wait_idle(level)
            if self._monitor is not None:
                # another worker may have to watch its machine first
                self._monitor.wait_first_sample()
            return self._send(level, source, limits, probe)

    def _wait_idle(self, level: Level) -> None:
        """Wait for what the clients of the last level left behind."""
        if self._was_cut and self._settings.load.warmup:
            self._targets.wait_idle(level.model)
        self._was_cut = False

    def _make_source(self, level: Level) -> TaskSource:
        request = self._settings.request
        order: PromptOrder | Replay = self._order
        if (replayed := trace.read_replayed(self._settings)) is not None:
            context = self._targets.find_context(level.model)
            order = Replay(
                replayed, context, request.tokens, self._settings.load.seed
            )
            if order.too_long:
                self._screen.warn(
                    f"{level.model}: leaving out {order.too_long:,} of "
                    f"{len(replayed.lines):,} requests of the trace, "
                    f"longer than the context of {context:,} tokens"
                )
        return TaskSource(level, request, order, self._targets)

    def _look_ahead(
        self, level: Level, ends: LoadSettings, replay: Replay | None
    ) -> Forecast:
        request = self._settings.request
        ceilings = [request.tokens]
        if replay is not None:
            ceilings.append(replay.longest_reply)
            ends = replace(ends, duration_s=replay.last_due_s)
        for name in CEILING_OPTIONS:
            ceilings.append(read_count(request.model_options.get(name)))
        return Forecast(
            ends,
            level,
            read_measured(self._record),
            self._rest,
            min(filter(None, ceilings), default=None),
            self._targets.warmup_tokens.get(level.model),
        )

    def _heading(
        self,
        level: Level,
        title: str,
        settings: LoadSettings,
        replay: Replay | None,
    ) -> str:
        repeat, extra = self._settings.load.repeat, ""
        if repeat > 1:
            extra += f", time {level.repeat} of {repeat}"
        elif level.repeat > 1 and not self._settings.judging.find_rate:
            extra += ", again"
        if self._settings.request.cache == "both":
            extra += f", {level.cache} cache"
        if level.is_control:
            extra += ", as at first: did the machine change?"
        if len(plan_lengths(self._settings.request)) > 1:
            extra += f", {level.prompts}"
        crowd = self._name_crowd(level, settings)
        if replay is not None:
            came = format_trace(
                replay.trace.name,
                replay.trace.kind,
                replay.rate_per_s,
                replay.trace.speed,
            )
            crowd = f"{len(replay):,} requests as in {came}"
        return f"{level.model}: {title}, {crowd}{extra}"

    def _name_crowd(self, level: Level, settings: LoadSettings) -> str:
        if self._settings.judging.find_rate:
            return f"{settings.rate_per_s:g} requests/s"
        if settings.kind == "people":
            n = level.concurrency
            return "1 person" if n == 1 else f"{n} people"
        return f"{level.concurrency} at once"

    def _fill_cache(self, level: Level, source: TaskSource) -> None:
        """Send a warm level's own requests once, so that the prompt cache can hit."""
        self._targets.wait_for(level.model, self._settings.load.warmup)
        tasks, at_once = (
            source.first_tasks(self._settings.load),
            level.concurrency,
        )
        if not self._interrupt.is_set():
            self._screen.say(
                f"{level.model}: filling the prompt cache "
                f"({len(tasks)} of its requests, not counted) ..."
            )
        while tasks and not self._interrupt.is_set():
            batch = [
                replace(task, number=place, follow=None)
                for place, task in enumerate(tasks[:at_once], 1)
            ]
            load.Burst(
                batch, self._limits, self._interrupt, self._lines
            ).run()
            tasks = tasks[at_once:]

    def _send(
        self,
        level: Level,
        source: TaskSource,
        limits: Limits,
        probe: LevelProbe | None,
    ) -> int | None:
        settings = probe.settings if probe else self._settings.load
        level_id = self._insert(
            level, settings, source.replay, probe is not None
        )
        under_way = make_load(
            level,
            source,
            limits,
            settings,
            in_bursts=probe is not None,
            interrupt=self._interrupt,
            lines=self._lines,
        )
        recorder = LevelRecorder(
            self._record,
            level_id,
            self._monitor,
            self._screen,
            self._interrupt,
            self._targets.reply_names,
            self._targets.list_hosts(level.model),
        )
        work = self._work.read()
        observer: load.Observer = recorder
        if probe is not None:
            probe.watch(under_way, recorder)
            observer = probe
        together: FleetLevel | None = None
        try:
            if self._fleet is None:
                under_way.run(observer)
            else:
                together = FleetLevel(
                    self._fleet,
                    under_way,
                    partial(make_part, level, source, limits, settings),
                )
                together.run(observer)
        except BaseException:
            self._record.writer.update(
                "level", level_id, {"status": "interrupted"}
            )
            raise
        tally = under_way.tally
        self._was_cut = tally.completed < tally.ended
        recorder.close(under_way, settings)
        if together is not None:
            self._finish_together(level_id, together, under_way)
        self._store_wasted(level_id, work, tally)
        if not level.is_control and not self._is_spare(level):
            self.all_completed_one &= tally.completed > 0
        if self._monitor is not None:
            self._monitor.wait_covered(
                time.perf_counter_ns(), self._interrupt
            )
        return None if self._interrupt.is_set() else level_id

    def _is_spare(self, level: Level) -> bool:
        """Tell whether a quick run sent it for the seconds that were left of its budget."""
        has_budget = self._settings.load.budget_s is not None
        return has_budget and level.repeat > 1

    def _finish_together(
        self, level_id: int, together: FleetLevel, under_way: load.Load
    ) -> None:
        """Store what each worker did. Raises WorkerLostError where one was lost."""
        skew_s = under_way.client_figures()["client_send_skew_s"]
        store_workers(
            self._record.writer, level_id, together.reports, skew_s
        )
        together.refuse_lost()

    def _store_wasted(
        self, level_id: int, before: Work | None, tally: Tally
    ) -> None:
        was_cut = tally.completed < tally.ended
        wasted = self._work.count_wasted(
            before, tally.received_tokens, was_cut
        )
        if wasted is not None:
            columns = {"wasted_tokens": wasted}
            self._record.writer.update("level", level_id, columns)
            self._record.writer.flush()

    def _insert(
        self,
        level: Level,
        settings: LoadSettings,
        replay: Replay | None,
        is_probe: bool,
    ) -> int:
        columns = {
            **level._asdict(),
            "run_id": self._record.id,
            # what a file of version 1.0 admits
            "load": "closed"
            if settings.kind == "people"
            else settings.kind,
            "rate_per_s": settings.rate_per_s,
            "probe_rate_per_s": settings.rate_per_s if is_probe else None,
            "arrival_cv": settings.arrival_cv
            if settings.rate_per_s
            else None,
            "think_time_s": settings.think_time
            and settings.think_time.mean_s,
            "think_law": settings.think_time and settings.think_time.law,
            "patience_s": settings.patience_s,
            "ramp_s": settings.ramp_s or None,
            "balance": settings.balance,
            "status": "running",
        }
        if replay is not None:
            columns |= {
                "rate_per_s": replay.rate_per_s,
                "trace": replay.trace.name,
                "trace_kind": replay.trace.kind,
                "trace_speed": replay.trace.speed,
                "trace_too_long": replay.too_long,
            }
        return self._record.writer.insert("level", columns)
