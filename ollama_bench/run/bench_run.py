"""One run of bench.py under way: watch, warm up, measure each level that is missing, close."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from ollama_bench.fleet.fleet import Fleet
from ollama_bench.inputs.settings import Settings
from ollama_bench.monitor import machine
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege.helper import Helper
from ollama_bench.run import demo, quick
from ollama_bench.run.capacity import CapacityRun
from ollama_bench.run.fleet_monitor import (
    FarMonitor,
    FleetMonitor,
    make_far_monitors,
)
from ollama_bench.run.fleet_rows import remember_machines
from ollama_bench.run.levels import (
    LevelRunner,
    finished_levels,
    load_limits,
)
from ollama_bench.run.live_state import LiveState
from ollama_bench.run.opening import OpenedRun, stored_arguments
from ollama_bench.run.places import (
    MachineFacts,
    ServerPlace,
    find_places,
    list_own_ports,
    read_facts,
    store_places,
)
from ollama_bench.run.plan import (
    Level,
    caches,
    count_levels,
    missing_levels,
    plan_lengths,
    plan_levels,
    titles,
)
from ollama_bench.run.quick import Probe
from ollama_bench.run.server import Server
from ollama_bench.run.targets import Targets
from ollama_bench.statistics.student_t import load_scipy
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console
from ollama_bench.transport import capabilities
from ollama_bench.transport.lines import Lines

# the first document of powermetrics takes a second or two
FIRST_SAMPLE_S = 15.0
# an event, whose detail is why a run failed
RUN_FAILED = "run_failed"

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
        fleet: Fleet | None = None,
    ) -> None:
        self.fleet = fleet
        # where the servers run, as far as a fleet knows it
        self.places: list[ServerPlace] = []
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
        # of a quick run: the LEVELS that would tell more
        self.sharper = ""

    def measure(self, helper: Helper | None) -> None:
        """Measure every missing level; however it ends, the run is closed with its status."""
        lines = Lines()
        self.record.writer.describe_now = LiveState(
            self.screen, self.record.origin_ns
        ).describe
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
                store_places(self.record, self.places)
                self.limit_replies(targets)
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
                    self.fleet,
                )
                self.measure_levels(runner, targets)
                self.is_served = runner.all_completed_one
                if not self.interrupt.is_set():
                    self.status = "finished"
        except Exception as error:
            self.record.note(RUN_FAILED, str(error))
            raise
        finally:
            lines.close()
            self.record.close(self.status)

    def tell_what_is_there(self) -> None:
        if not self.is_resumed:
            return
        planned = count_levels(plan_levels(self.settings))
        there = f"{count_levels(self.done)} of {planned} levels are"
        if self.settings.judging.search_budget_s:
            probes = len(self.done)
            there = "1 probe is" if probes == 1 else f"{probes} probes are"
        self.screen.say(f"resuming run {self.record.id}: {there} measured")

    @contextlib.contextmanager
    def watching(self, helper: Helper | None) -> Iterator[Monitor | None]:
        """Watch the servers and the power meanwhile; None with --no-monitor."""
        own = read_facts()
        machine_id = machine.remember(self.record.writer, own.described)
        self.record.update({"machine_id": machine_id})
        far = self.find_far(own)
        if not self.settings.monitor.enabled:
            yield None
            return
        simulator = self.simulator
        command = simulator.powermetrics if simulator else None
        monitor = FleetMonitor(
            self.record.writer,
            self.record.id,
            self.record.origin_ns,
            sources=find_sources(
                helper=helper, powermetrics_command=command
            ),
            ports=list_own_ports(self.servers, self.places),
            pid=self.settings.monitor.pid
            or (simulator.pid if simulator else None),
            interval_s=demo.INTERVAL_S if simulator else 1.0,
            say=self.screen.say,
        )
        monitor.far = far
        monitor.start()
        try:
            yield monitor
        finally:
            self.record.update(monitor.stop())

    def find_far(self, own: MachineFacts) -> list[FarMonitor]:
        """Find out where the servers run; return the monitors of machines that workers watch."""
        settings, fleet = self.settings.fleet, self.fleet
        if settings is None or fleet is None:
            return []
        facts = remember_machines(fleet, self.record.writer)
        if not self.settings.monitor.enabled:
            return []
        urls = [server.url for server in self.servers]
        named = dict(settings.watched)
        self.places = find_places(urls, own, facts, named)
        return make_far_monitors(
            fleet, self.places, facts, self.record, self.screen
        )

    def prepare(self, targets: Targets, monitor: Monitor | None) -> None:
        """Take a first sample and an idle baseline, and load the models."""
        # the first level would be stored later by as much
        load_scipy()
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

    def limit_replies(self, targets: Targets) -> None:
        """Give the replies of a quick run a ceiling with which levels fit into its budget."""
        budget_s, request = (
            self.settings.load.budget_s,
            self.settings.request,
        )
        has_end = quick.CEILING_OPTIONS & request.model_options.keys()
        if budget_s is None or request.tokens or has_end:
            return
        slowest = min(targets.tokens_per_s.values(), default=None)
        tokens = quick.choose_ceiling(slowest, budget_s)
        self.settings = replace(
            self.settings,
            request=replace(request, tokens=tokens),
            identity={**self.settings.identity, "tokens": tokens},
        )
        arguments = json.dumps(stored_arguments(self.settings))
        self.record.update({"arguments": arguments})
        self.screen.note(
            f"replies end at {tokens} tokens, so that the levels fit into "
            f"{budget_s:g} s (another end: --tokens, --budget)"
        )

    def measure_levels(
        self, runner: LevelRunner, targets: Targets
    ) -> None:
        if search_s := self.settings.judging.search_budget_s:
            self.find_capacity(runner, targets, search_s)
            return
        if budget_s := self.settings.load.budget_s:
            for model in self.settings.request.models:
                self.measure_quick(runner, model, budget_s)
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
        """Measure and show a level; return how far it reached what is demanded, if known."""
        level_id = runner.measure(level, title)
        if level_id is None:
            return None
        return self.show_level(level_id)

    def measure_quick(
        self, runner: LevelRunner, model: str, budget_s: float
    ) -> None:
        """Measure levels of a model for as long as the budget of seconds lasts."""
        highest = max(self.settings.load.levels)
        cache = caches(self.settings.request.cache)[0]
        lengths = plan_lengths(self.settings.request)[0]
        probes: list[Probe] = []
        while size := quick.choose_next(probes, budget_s, highest):
            spent_s = sum(probe.seconds for probe in probes)
            repeat = 1 + sum(probe.concurrency == size for probe in probes)
            level_id = runner.measure(
                Level(model, size, repeat, cache, 0, *lengths),
                f"{spent_s:.0f} of {budget_s:g} s",
                quick.choose_deadline(budget_s, spent_s),
            )
            if level_id is None:
                break
            reach = self.show_level(level_id)
            row = self.record.level(level_id)
            assert row is not None
            probes.append(
                Probe(
                    size,
                    row["duration_s"] or 0.0,
                    row["output_tokens_per_s"],
                    reach,
                )
            )
        if probes:
            self.sharper = quick.suggest_levels(probes, highest)

    def find_capacity(
        self, runner: LevelRunner, targets: Targets, budget_s: float
    ) -> None:
        """Search for the most of each model that meet the objectives, within so many seconds."""
        request = self.settings.request
        searches = list(product(request.models, plan_lengths(request)))
        self.screen.note(
            f"searching for up to {budget_s:g} s (another end: --budget)"
        )
        for model, lengths in searches:
            CapacityRun(
                self.settings,
                self.record,
                runner,
                self.screen,
                self.interrupt,
                self.show_level,
                model,
                lengths,
                budget_s / len(searches),
                targets.find_alone_s(model),
            ).run()
