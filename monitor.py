"""monitor.py - watches the server's processes, the machine and its power while a run goes on.

    python monitor.py                          # Ollama on port 11434, until Ctrl-C
    sudo python monitor.py --duration 60       # with power; root is dropped after the start
    python monitor.py --pid 4711 --interval 0.5
    python monitor.py --powermetrics-log log   # store what powermetrics wrote elsewhere

What it does, from top to bottom: read the command line, give up root, watch, show what was seen,
and say where it is stored. The watching itself is `ollama_bench/monitor/monitor.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

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
from ollama_bench.monitor.monitor import INTERVAL_S, PORT, Monitor
from ollama_bench.monitor.powermetrics_log import LogError, import_log
from ollama_bench.monitor.process_sample import ServerProcess
from ollama_bench.monitor.run_row import make_run_row
from ollama_bench.monitor.track import Track
from ollama_bench.platforms import awake
from ollama_bench.power.sources import find_sources
from ollama_bench.privilege.helper import Helper, split_off
from ollama_bench.privilege.sudo import PrivilegeError
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.storage.writer import Writer
from ollama_bench.terminal.command_line import name_program, refuse_nul
from ollama_bench.terminal.interrupt import Interrupt, on_interrupt
from ollama_bench.terminal.output import (
    clean_line,
    find_rich_width,
    prepare_streams,
    silence,
)

SHORTEST_S = 0.05  # an interval or a duration


@dataclass(frozen=True)
class Settings:
    """What the command line asks for; stored with the run."""

    pid: int | None
    port: int
    interval: float
    duration: float | None
    db: str
    powermetrics_log: str | None


def main(argv: list[str] | None = None) -> int:
    prepare_streams()
    settings = parse_args(argv)
    helper = None
    try:
        # before any file
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
    except (ResultsError, PrivilegeError, LogError) as error:
        print_line(f"{name_program('monitor')}: {error}")
        return 1
    finally:
        if helper:
            helper.stop()


# -- the command line


def parse_args(argv: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(
        prog=name_program("monitor"),
        description="Watch the server's processes, the machine and its power while a run goes on.",
    )
    parser.add_argument(
        "--pid", type=int, help="watch this process and its descendants"
    )
    parser.add_argument(
        "--port",
        type=parse_port,
        default=PORT,
        help="the server's port (%(default)s)",
    )
    parser.add_argument(
        "--interval",
        type=parse_seconds,
        default=INTERVAL_S,
        help="seconds between looks (%(default)s)",
    )
    parser.add_argument(
        "--duration",
        type=parse_seconds,
        help="seconds to watch (default: until Ctrl-C)",
    )
    parser.add_argument(
        "--db", default="results.db", help="results file (%(default)s)"
    )
    parser.add_argument(
        "--powermetrics-log",
        metavar="FILE",
        help="store what powermetrics wrote into FILE, and exit",
    )
    arguments = parser.parse_args(argv)
    refuse_nul(parser, arguments)
    return Settings(**vars(arguments))


def parse_port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(
            f"invalid port {text!r}: expected an integer from 1 to 65535"
        )
    return port


def parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_S <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"invalid duration {text!r}: expected seconds, at least {SHORTEST_S}"
        )
    return seconds


# -- watching


def watch(settings: Settings, helper: Helper | None) -> int:
    """Store a run without levels and show it live; return 130 when it was interrupted."""
    status = "failed"
    with (
        on_interrupt() as interrupt,
        awake.kept(print_line),
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


def import_powermetrics_log(path: str, db_path: str) -> int:
    stored = import_log(path, db_path)
    print(
        f"{stored.samples} samples over {stored.length_s:.1f} s"
        f" stored as run {stored.run_id} in {db_path}"
    )
    return 0


# -- what is shown


def show(
    monitor: Monitor, duration_s: float | None, interrupt: Interrupt
) -> None:
    """Show what was seen, once an interval: in place on a terminal, else line by line."""
    until_s = time.monotonic() + duration_s if duration_s else float("inf")
    ticks = tick(monitor.interval_s, until_s, interrupt)
    if not sys.stdout.isatty():
        for _ in ticks:
            print("\n".join(lines(monitor)), flush=True)
        return
    # only for a terminal: it takes time to import
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(
        console=Console(width=find_rich_width()), auto_refresh=False
    ) as live:
        for _ in ticks:
            live.update(Text("\n".join(lines(monitor))), refresh=True)


def tick(
    interval_s: float, until_s: float, interrupt: Interrupt
) -> Iterator[None]:
    """Yield after each interval, for the last time at until_s; never after the interrupt."""
    while (left_s := until_s - time.monotonic()) > 0:
        if interrupt.wait(min(interval_s, left_s)):
            return
        yield


def lines(monitor: Monitor) -> list[str]:
    """Return what was seen last: a line for the time, each power source and each process."""
    seconds = (time.perf_counter_ns() - monitor.origin_ns) / 1e9
    found = [format_source(track) for track in monitor.tracks]
    found += [format_process(process) for process in monitor.processes]
    # the owner of a process has chosen its name
    return [f"{seconds:8.1f} s", *map(clean_line, found)]


def format_source(track: Track) -> str:
    sample = track.latest
    if not track.live:
        return f"{track.name:<20} {track.status}"
    if sample is None:
        return f"{track.name:<20} no sample yet"
    columns = [
        f"{track.name:<20}",
        f"{format_figure(sample.power_w, '7.2f')} W  ",
        f"GPU {format_figure(sample.gpu_power_w, '6.2f')} W",
        format_figure(sample.gpu_busy_ratio, "4.0%"),
        f"{format_figure(sample.gpu_mhz, '5.0f')} MHz ",
        sample.thermal or "",
    ]
    return " ".join(columns).rstrip()


def format_process(process: ServerProcess) -> str:
    sample = process.latest
    size = sample.rss_bytes if sample else None
    footprint = sample.footprint_bytes if sample else None
    unit, width = "MB", 34
    if footprint and footprint > (size or 0):
        size, unit, width = footprint, "MB footprint", 24
    columns = [
        f"{process.title:<{width}.{width}}",
        f"{format_figure(sample.cpu_ratio if sample else None, '6.1%')} CPU",
        f"{format_figure(None if size is None else size / 1e6, '8.1f')} {unit}",
        f"{format_figure(sample.threads if sample else None, '3d')} threads",
        f"{format_figure(sample.fds if sample else None, '3d')} files",
    ]
    return " ".join(columns)


def format_figure(value: float | None, layout: str) -> str:
    """Return the value in its layout, or a dash of the same width."""
    return (
        format(value, layout)
        if value is not None
        else "-".rjust(len(format(0, layout)))
    )


if __name__ == "__main__":
    sys.exit(main())
