"""One run of bench.py under way: watch, warm up, measure each level that is missing, close."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ollama_bench.inputs.settings import Settings
from ollama_bench.monitor import machine
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege.helper import Helper
from ollama_bench.run import capacity, demo
from ollama_bench.run.levels import (
    LevelRunner,
    finished_levels,
    load_limits,
)
from ollama_bench.run.opening import OpenedRun
from ollama_bench.run.plan import (
    Level,
    caches,
    count_levels,
    missing_levels,
    plan_levels,
    titles,
)
from ollama_bench.run.server import Server
from ollama_bench.run.targets import Targets
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console
from ollama_bench.transport import capabilities
from ollama_bench.transport.lines import Lines

# the first document of powermetrics takes a second or two
FIRST_SAMPLE_S = 15.0

# shows a level by its id; the share of its requests that were good, None if unknown
ShowLevel = Callable[[int], "float | None"]


class BenchRun:
    """One run under way: everything that is sent and watched."""

    def __init__(
        self,
        settings: Settings,
        opened: OpenedRun,
        servers: list[Server],
        simulator: demo.DemoServer | None,
        screen: Console,
        interrupt: Interrupt,
        show_level: ShowLevel,
    ) -> None:
        self.settings, self.servers = settings, servers
        self.record, self.simulator = opened.record, simulator
        self.screen, self.interrupt = screen, interrupt
        self.show_level = show_level
        self.has_baseline = opened.has_baseline
        self.is_resumed = opened.is_resumed
        # what the run's row will say when it ends
        self.status = "interrupted" if opened.is_resumed else "failed"
        self.is_served = False
        self.done: set[Level] = set()

    def measure(self, helper: Helper | None) -> None:
        """Measure every missing level; however it ends, the run is closed with its status."""
        lines = Lines()
        try:
            self.done = finished_levels(self.record)
            self.tell_what_is_there()
            targets = Targets(
                self.record,
                self.servers,
                self.settings.request,
                load_limits(self.settings),
                lines,
                self.screen,
                self.interrupt,
            )
            with self.watching(helper) as monitor:
                self.prepare(targets, monitor)
                # from here on the run can be resumed
                self.status = "interrupted"
                runner = LevelRunner(
                    self.settings,
                    self.record,
                    targets,
                    lines,
                    self.screen,
                    self.interrupt,
                    monitor,
                )
                self.measure_levels(runner)
                self.is_served = runner.all_completed_one
                if not self.interrupt.is_set():
                    self.status = "finished"
        finally:
            lines.close()
            self.record.close(self.status)

    def tell_what_is_there(self) -> None:
        if not self.is_resumed:
            return
        planned = count_levels(plan_levels(self.settings))
        there = f"{count_levels(self.done)} of {planned} levels"
        if self.settings.judging.find_capacity:
            there = f"{len(self.done)} probes"
        self.screen.say(
            f"resuming run {self.record.id}: {there} are measured"
        )

    @contextlib.contextmanager
    def watching(self, helper: Helper | None) -> Iterator[Monitor | None]:
        """Watch the servers and the power meanwhile; None with --no-monitor."""
        machine_id = machine.remember(
            self.record.writer, machine.describe()
        )
        self.record.update({"machine_id": machine_id})
        if not self.settings.monitor.enabled:
            yield None
            return
        simulator = self.simulator
        command = simulator.powermetrics if simulator else None
        monitor = Monitor(
            self.record.writer,
            self.record.id,
            self.record.origin_ns,
            sources=find_sources(
                helper=helper, powermetrics_command=command
            ),
            ports=[server.port for server in self.servers if server.port],
            pid=self.settings.monitor.pid
            or (simulator.pid if simulator else None),
            interval_s=demo.INTERVAL_S if simulator else 1.0,
            say=self.screen.say,
        )
        monitor.start()
        try:
            yield monitor
        finally:
            self.record.update(monitor.stop())

    def prepare(self, targets: Targets, monitor: Monitor | None) -> None:
        """Take a first sample and an idle baseline, and load the models."""
        if monitor is not None and not monitor.wait_first_sample(
            FIRST_SAMPLE_S
        ):
            self.screen.warn(
                "monitor: no sample yet; continuing without one"
            )
        if not capabilities.RECORDS:
            self.screen.warn(
                "this urllib3 cannot record streams: instants are read live, less exactly"
            )
        if any(server.simulated for server in self.servers):
            self.screen.warn(
                "simulated server: not a measurement of a real machine"
            )
        missing = missing_levels(self.settings, self.done)
        if (
            missing
            and monitor is not None
            and monitor.tracks
            and not self.has_baseline
        ):
            self.take_baseline()
        models = list(dict.fromkeys(level.model for level in missing))
        targets.warm_all(models, self.settings.load.warmup, monitor)

    def take_baseline(self) -> None:
        if idle_s := self.settings.load.idle_s:
            self.screen.say(f"idle baseline, {idle_s:g} s ...")
            start_ns = self.record.now_ns()
            self.screen.count_down("idle", idle_s, self.interrupt)
            self.record.update(
                {
                    "idle_start_ns": start_ns,
                    "idle_end_ns": self.record.now_ns(),
                }
            )

    def measure_levels(self, runner: LevelRunner) -> None:
        if self.settings.judging.find_capacity:
            for model in self.settings.request.models:
                self.find_capacity(runner, model)
            return
        missing = missing_levels(self.settings, self.done)
        for place, (title, level) in enumerate(titles(missing), 1):
            if self.interrupt.is_set():
                return
            runner.expect(missing[place:])
            self.measure_level(runner, level, title)

    def measure_level(
        self, runner: LevelRunner, level: Level, title: str
    ) -> float | None:
        """Measure and show a level; return the share of its requests that were good, if known."""
        level_id = runner.measure(level, title)
        if level_id is None:
            return None
        return self.show_level(level_id)

    def find_capacity(self, runner: LevelRunner, model: str) -> None:
        """Search for the highest level of a model that meets the objectives, and say it."""
        cache = caches(self.settings.request.cache)[0]

        def measure(concurrency: int, title: str) -> float | None:
            level = Level(model, concurrency, 1, cache)
            if level in self.done:
                return capacity.stored_ratio(self.record, level)
            ratio = self.measure_level(runner, level, title)
            if ratio is None and not self.interrupt.is_set():
                self.screen.warn(
                    f"cannot judge {concurrency} at once: the machine slept, or every request was "
                    "cut before it met or missed an objective (use a longer --deadline)"
                )
            return ratio

        found = capacity.search(max(self.settings.load.levels), measure)
        bounds = self.settings.judging.objectives.items()
        wish = ",".join(f"{name}={bound:g}" for name, bound in bounds)
        if sentence := found.sentence(model, wish):
            self.screen.sentence(sentence)
