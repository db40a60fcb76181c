"""monitor.py - watches the server's processes, the machine and its power while a run goes on.

    python monitor.py                          # Ollama on port 11434, until Ctrl-C
    sudo python monitor.py --duration 60       # with power; root is dropped after the start
    python monitor.py --pid 4711 --interval 0.5
    python monitor.py --prometheus 9464        # and serve it as metrics to Prometheus
    python monitor.py --powermetrics-log log   # store what powermetrics wrote elsewhere

What it does, from top to bottom: read the command line, give up root, watch, show what is seen,
and say where it is stored. The watching itself is `ollama_bench/monitor/monitor.py`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

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
from ollama_bench.monitor import machine
from ollama_bench.monitor.journal import print_line
from ollama_bench.monitor.live_view import show
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.monitor.options import Address, Settings, parse_args
from ollama_bench.monitor.powermetrics_log import LogError, import_log
from ollama_bench.monitor.processes import exists
from ollama_bench.monitor.run_row import make_run_row
from ollama_bench.platforms import awake
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege.helper import Helper, split_off
from ollama_bench.privilege.sudo import PrivilegeError
from ollama_bench.prometheus.error import EndpointError
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from ollama_bench.terminal.command_line import name_program
from ollama_bench.terminal.interrupt import on_interrupt
from ollama_bench.terminal.output import prepare_streams, silence

if TYPE_CHECKING:
    from ollama_bench.prometheus.endpoint import Endpoint


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    prepare_streams()
    settings = parse_args(argv)
    helper = None
    try:
        if settings.pid is not None and not exists(settings.pid):
            print_line(
                f"{name_program('monitor')}: invalid --pid '{settings.pid}': "
                "expected the pid of a running process"
            )
            return 2
        # root is given up before any file is opened
        helper = split_off(sampler=not settings.powermetrics_log)
        if helper and helper.warning:
            print_line(helper.warning)
        if settings.powermetrics_log:
            return import_powermetrics_log(
                settings.powermetrics_log, settings.db
            )
        return watch(settings, helper)
    except KeyboardInterrupt:
        return 130
    except (
        ResultsError,
        PrivilegeError,
        LogError,
        EndpointError,
    ) as error:
        print_line(f"{name_program('monitor')}: {error}")
        return 1
    finally:
        if helper:
            helper.stop()


def watch(settings: Settings, helper: Helper | None) -> int:
    """Store a run without levels and show it live; return 130 when it was interrupted."""
    status = "failed"
    with (
        on_interrupt() as interrupt,
        awake.kept(print_line),
        open_endpoint(settings.prometheus) as endpoint,
        Writer(settings.db) as writer,
    ):
        origin_ns, started_unix = time.perf_counter_ns(), time.time()
        machine_id = machine.remember(writer, machine.describe())
        row = make_run_row(asdict(settings), started_unix)
        run_id = writer.run_id = writer.insert(
            "run", {**row, "machine_id": machine_id}
        )
        monitor = Monitor(
            writer,
            run_id,
            origin_ns,
            sources=find_sources(helper),
            ports=[settings.port],
            pid=settings.pid,
            interval_s=settings.interval,
        )
        try:
            monitor.start()
            with published(endpoint, monitor, settings):
                show(monitor, settings.duration, interrupt)
            status = "interrupted" if interrupt.is_set() else "finished"
        except OSError as error:
            # `monitor.py | head` has ended, or the disk is full
            silence(sys.stdout)
            status = "interrupted"
            if not isinstance(error, BrokenPipeError):
                program = name_program("monitor")
                print_line(f"{program}: standard output: {error.strerror}")
        finally:
            cost = monitor.stop()
            ended_ns = time.perf_counter_ns() - origin_ns
            writer.update(
                "run",
                run_id,
                {**cost, "status": status, "ended_ns": ended_ns},
            )
    print_line(
        f"stored as run {run_id} in {settings.db}; watching took {cost['monitor_cpu_s']:.2f} s of"
        f" CPU, samplers {cost['sampler_cpu_s']:.2f} s"
    )
    return 130 if status == "interrupted" else 0


def open_endpoint(
    address: Address | None,
) -> contextlib.AbstractContextManager[Endpoint | None]:
    """Return what holds the address for Prometheus, nothing where none is asked for."""
    if address is None:
        return contextlib.nullcontext()
    # only here: it takes time to import
    from ollama_bench.prometheus.endpoint import Endpoint

    return Endpoint(*address)


def published(
    endpoint: Endpoint | None, monitor: Monitor, settings: Settings
) -> contextlib.AbstractContextManager[None]:
    """Return what answers Prometheus as long as the monitor watches."""
    if endpoint is None:
        return contextlib.nullcontext()
    from ollama_bench.prometheus import publishing

    port = settings.port if settings.pid is None else None
    return publishing.published(endpoint, monitor, settings.db, port)


def import_powermetrics_log(path: str, db_path: str) -> int:
    stored = import_log(path, db_path)
    print(
        f"{stored.samples} samples over {stored.length_s:.1f} s"
        f" stored as run {stored.run_id} in {db_path}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
