"""bench.py - send rising levels of concurrent streaming requests and store how each one went.

    python bench.py                        # what runs on this machine, in about a minute
    python bench.py 1,2,4,8,16,32          # these levels, whole replies
    sudo python bench.py 1,2,4,19          # with watts: root only reads the power
    python bench.py --demo                 # no server needed: a simulated one

Fills run, objective, target, level, request, reply and chunk of results.db; monitor.py the rest.
"""

from __future__ import annotations

import os
import signal
import sys

if (
    "SUDO_UID" in os.environ
    and hasattr(os, "geteuid")
    and os.geteuid() == 0
):
    # a __pycache__ owned by root would be in the user's way
    sys.dont_write_bytecode = True

try:
    from ollama_bench.terminal import interpreter
    from ollama_bench.terminal.interrupt import (
        leave_at_once,
        leave_in_order,
        on_interrupt,
    )
except ModuleNotFoundError as error:
    sys.exit(
        f"{error}: start without PYTHONSAFEPATH, -P and -I, which hide this tool's files"
    )
if __name__ == "__main__":
    # until main begins
    signal.signal(signal.SIGINT, leave_at_once)
# Python's version and the packages, before anything needs them
interpreter.check()
from ollama_bench.inputs import command_line
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.output import prepare_streams, tell_error

if __name__ == "__main__" and "SUDO_UID" not in os.environ:
    # --help and a wrong command line answer before the slow imports
    command_line.parse()

import contextlib

from ollama_bench.analysis import conditions
from ollama_bench.browsing.live_process import LivePage
from ollama_bench.fleet.fleet import Fleet, FleetError, open_fleet
from ollama_bench.inputs.settings import Settings
from ollama_bench.load import load
from ollama_bench.monitor.processes import exists
from ollama_bench.platforms import awake
from ollama_bench.privilege.helper import Helper, split_off
from ollama_bench.privilege.sudo import PrivilegeError, act_as_user
from ollama_bench.privilege.variables import (
    DroppedVariables,
    recover_variables,
)
from ollama_bench.report import run_outcome
from ollama_bench.run import demo, notices, selfcheck, system_limits
from ollama_bench.run.bench_run import BenchRun
from ollama_bench.run.error import OtherRunError, RunError
from ollama_bench.run.finding import settle_server
from ollama_bench.run.model_names import settle_models
from ollama_bench.run.opening import open_run
from ollama_bench.run.places import (
    UnknownWorkerError,
    refuse_unknown_workers,
)
from ollama_bench.run.server import ServerError, make_servers
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from ollama_bench.terminal.screen import SAVING, Console

INTERRUPTED = 130  # exit code after Ctrl-C
# known only when the run has begun
WRONG_COMMAND_LINE = (OtherRunError, UnknownWorkerError)
ERRORS = (
    RunError,
    ServerError,
    load.LoadError,
    ResultsError,
    PrivilegeError,
    FleetError,
)


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    helper = None
    prepare_streams()
    try:
        signal.signal(signal.SIGINT, leave_in_order)
        dropped = recover_variables()
        with act_as_user():
            settings = command_line.parse(argv)
        # a wrong condition is said now, not after hours
        conditions.check_conditions(settings.judging.fail_if)
        if (pid := settings.monitor.pid) and not exists(pid):
            tell_error(
                f"{name_program('bench')}: invalid --pid '{pid}': "
                "expected the pid of a running process"
            )
            return 2
        needs_sampler = settings.monitor.enabled and not settings.demo
        helper = split_off(sampler=needs_sampler)
        with LivePage() as page:
            code = bench(settings, helper, dropped, page)
            # Ctrl-C has ended it already
            if code != INTERRUPTED:
                # which ends nothing but the page
                signal.signal(signal.SIGINT, signal.default_int_handler)
                page.keep()
        return code
    except ERRORS as error:
        tell_error(f"{name_program('bench')}: {error}")
        return 2 if isinstance(error, WRONG_COMMAND_LINE) else 1
    except conditions.ConditionError as error:
        print(
            f"{name_program('bench')}: --fail-if {error}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if helper is not None:
            helper.stop()


def bench(
    settings: Settings,
    helper: Helper | None,
    dropped: DroppedVariables,
    page: LivePage,
) -> int:
    """Measure a whole run and return the exit code. page: opened if that is asked for."""
    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(Console(settings.output.plain))
        # a live screen says it itself: a line written into it would stay
        message = "" if screen.live else f"\n{SAVING}\n"
        interrupt = stack.enter_context(on_interrupt(message))
        screen.interrupt = interrupt
        screen.on_left = interrupt.trigger
        notices.warn_of_settings(settings, helper, screen)
        prepare_system(settings)
        if not settings.demo:  # which takes a minute
            stack.enter_context(awake.kept(screen.warn))
        if settings.self_check:
            check_self(settings, screen)
        if not settings.demo:
            settings = settle_server(settings, dropped, screen)
        simulator = (
            stack.enter_context(demo.start_server())
            if settings.demo
            else None
        )
        url = simulator.url if simulator else None
        servers = make_servers(settings.request, url, dropped)
        for server in servers:
            stack.enter_context(server)
        settings = settle_models(settings, servers, screen)
        with interrupt.held():
            fleet = gather_fleet(settings, screen, stack)
        writer = stack.enter_context(
            Writer(settings.output.db, say=screen.warn)
        )
        opened = open_run(settings, servers, writer, screen.say)
        if settings.output.live:
            page.open(
                writer.path,
                opened.record.id,
                screen.say,
                interrupt.is_set,
            )

        def show_level(level_id: int) -> float | None:
            return run_outcome.show_level(
                settings, opened.record, level_id, screen, servers
            )

        bench_run = BenchRun(
            settings,
            opened,
            servers,
            simulator,
            screen,
            interrupt,
            show_level,
            fleet,
        )
        bench_run.measure(helper)
        run_outcome.show(
            settings,
            opened.record,
            bench_run.status,
            screen,
            servers,
            bench_run.sharper,
        )
    if bench_run.status == "interrupted":
        return INTERRUPTED
    code = run_outcome.judge(settings, opened.record.id)
    return code if bench_run.is_served else 1


def gather_fleet(
    settings: Settings, screen: Console, stack: contextlib.ExitStack
) -> Fleet | None:
    """Open the fleet that is asked for, until the stack is left, and name its workers."""
    if settings.fleet is None:
        return None
    fleet = stack.enter_context(open_fleet(settings.fleet))
    refuse_unknown_workers(fleet, dict(settings.fleet.watched))
    screen.say(f"fleet: {', '.join(one.name for one in fleet.members)}")
    return fleet


def prepare_system(settings: Settings) -> None:
    """Allow as many connections and threads as the levels need. Raises RunError."""
    system_limits.raise_file_limit(
        system_limits.most_connections(settings)
    )
    system_limits.refuse_too_many_threads(max(settings.load.levels))


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


if __name__ == "__main__":
    sys.exit(main())
