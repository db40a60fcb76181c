"""bench.py - send rising levels of concurrent streaming requests and store how each one went.

    python bench.py 1,2,4,8,16,32          # Ollama on this machine, deepseek-r1:7b
    sudo python bench.py 1,2,4,19          # with watts: root only reads the power
    python bench.py --demo                 # no server needed: a simulated one

Fills run, objective, target, level, request, reply and chunk of results.db; monitor.py the rest.
"""

from __future__ import annotations

import os
import signal
import sys

# until main begins there is nothing to put in order
if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
if (
    "SUDO_UID" in os.environ
    and hasattr(os, "geteuid")
    and os.geteuid() == 0
):
    # a __pycache__ owned by root would be in the user's way
    sys.dont_write_bytecode = True

try:
    from ollama_bench.terminal import interpreter
except ModuleNotFoundError as error:
    sys.exit(
        f"{error}: start without PYTHONSAFEPATH, -P and -I, which hide this tool's files"
    )
# Python's version and the packages, before anything needs them
interpreter.check()
from ollama_bench.inputs import command_line
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import clean, prepare_streams

if __name__ == "__main__" and "SUDO_UID" not in os.environ:
    # --help and a wrong command line answer before the slow imports
    command_line.parse()

import contextlib
from collections.abc import Iterator

from ollama_bench.analysis import conditions
from ollama_bench.inputs.settings import Settings
from ollama_bench.load import load
from ollama_bench.monitor import machine
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.platforms import awake
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege.helper import Helper, split_off
from ollama_bench.privilege.sudo import PrivilegeError, act_as_user
from ollama_bench.privilege.variables import recover_variables
from ollama_bench.report import run_outcome
from ollama_bench.run import (
    capacity,
    demo,
    notices,
    selfcheck,
    system_limits,
)
from ollama_bench.run.error import RunError
from ollama_bench.run.levels import (
    LevelRunner,
    finished_levels,
    load_limits,
)
from ollama_bench.run.opening import OpenedRun, open_run
from ollama_bench.run.plan import Level, caches, missing_levels, plan_levels
from ollama_bench.run.server import Server, ServerError, make_servers
from ollama_bench.run.targets import Targets
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from ollama_bench.terminal.interrupt import Interrupt, on_interrupt
from ollama_bench.terminal.screen import Console
from ollama_bench.transport import capabilities
from ollama_bench.transport.lines import Lines

SAVING = (
    "\ninterrupted: saving what is finished (Ctrl-C again leaves at once)\n"
)
# the first document of powermetrics takes a second or two
FIRST_SAMPLE_S = 15.0
ERRORS = (
    RunError,
    ServerError,
    load.LoadError,
    ResultsError,
    PrivilegeError,
)


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    helper = None
    prepare_streams()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        recover_variables()
        with act_as_user():
            settings = command_line.parse(argv)
        # now, not after hours
        conditions.check_conditions(settings.judging.fail_if)
        needs_sampler = settings.monitor.enabled and not settings.demo
        helper = split_off(sampler=needs_sampler)
        return bench(settings, helper)
    except ERRORS as error:
        print(clean(f"{name_program('bench')}: {error}"), file=sys.stderr)
        return 1
    except conditions.ConditionError as error:
        print(
            f"{name_program('bench')}: --fail-if {error}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        if helper is not None:
            helper.stop()


def bench(settings: Settings, helper: Helper | None) -> int:
    """Measure a whole run and return the exit code."""
    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(Console(settings.output.plain))
        interrupt = stack.enter_context(on_interrupt(SAVING))
        screen.on_left = interrupt.trigger
        notices.warn_of_settings(settings, helper, screen)
        system_limits.raise_file_limit(
            system_limits.most_connections(settings)
        )
        system_limits.refuse_too_many_threads(max(settings.load.levels))
        # it takes a minute, and nobody has named its server
        if not settings.demo:
            notices.name_servers(settings.request, screen)
            stack.enter_context(awake.kept(screen.warn))
        if settings.self_check:
            check_self(settings, screen)
        simulator = (
            stack.enter_context(demo.DemoServer())
            if settings.demo
            else None
        )
        servers = make_servers(
            settings.request, simulator.url if simulator else None
        )
        for server in servers:
            stack.enter_context(server)
            for model in settings.request.models:
                server.check_model(model, settings.request.pull, screen.say)
        writer = stack.enter_context(
            Writer(settings.output.db, say=screen.warn)
        )
        opened = open_run(settings, servers, writer, screen.say)
        bench_run = BenchRun(
            settings, opened, servers, simulator, screen, interrupt
        )
        bench_run.measure(helper)
        run_outcome.show(
            settings, opened.record, bench_run.status, screen, servers
        )
    if bench_run.status == "interrupted":
        return 130
    code = run_outcome.judge(settings, opened.record.id)
    return code if bench_run.is_served else 1


def check_self(settings: Settings, screen: Console) -> None:
    """Show what this computer can measure: the client's own error at each level."""
    screen.say(
        "this client's own error at these levels, against a simulator that logs each write:"
    )
    rows = [
        selfcheck.measure(level, kernel_stamps=settings.load.kernel_stamps)
        for level in settings.load.levels
    ]
    for line in selfcheck.table(rows):
        screen.say(line)
    screen.say("")


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
    ) -> None:
        self.settings, self.record, self.servers = (
            settings,
            opened.record,
            servers,
        )
        self.screen, self.interrupt, self.simulator = (
            screen,
            interrupt,
            simulator,
        )
        self.has_baseline, self.is_resumed = (
            opened.has_baseline,
            opened.is_resumed,
        )
        # of the row, when it ends
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
                # from here on it can be resumed
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
        there = (
            f"{len(self.done)} of {len(plan_levels(self.settings))} levels"
        )
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
            self.interrupt.wait(idle_s)
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
        for place, level in enumerate(missing, 1):
            if self.interrupt.is_set():
                return
            self.measure_level(
                runner, level, f"level {place} of {len(missing)}"
            )

    def measure_level(
        self, runner: LevelRunner, level: Level, title: str
    ) -> float | None:
        """Measure and show a level; return the share of its requests that were good, if known."""
        level_id = runner.measure(level, title)
        if level_id is None:
            return None
        return run_outcome.show_level(
            self.settings, self.record, level_id, self.screen, self.servers
        )

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


if __name__ == "__main__":
    sys.exit(main())
