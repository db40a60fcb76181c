"""monitor.py - watches the server's processes, the machine and its power while a run goes on.

    python monitor.py                          # Ollama on port 11434, until Ctrl-C
    sudo python monitor.py --duration 60       # with power; root is dropped after the start
    python monitor.py --pid 4711 --interval 0.5
    python monitor.py --powermetrics-log log   # store what powermetrics wrote elsewhere

Fills process, process_sample, system_sample, power_source, power_sample and event. All of
it happens in threads of its own: what fails here is a NULL and one line, never an error of
the run. Energy comes from `power.py`; here its samples are checked, counted and stored.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import queue
import re
import statistics
import sys
import threading
import time
from typing import Any, Callable, Iterator, Sequence

if "SUDO_UID" in os.environ and hasattr(os, "geteuid") and os.geteuid() == 0:
    sys.dont_write_bytecode = True  # a __pycache__ of root's in your clone would be in your way

try:
    from ollama_bench.terminal import (
        standard,
    )  # first: it says so where Python is too old or lacks the packages
except ModuleNotFoundError as error:
    sys.exit(
        f"{error}: start it without PYTHONSAFEPATH, -P and -I, which hide this tool's own files"
    )
import psutil

from ollama_bench.platforms import awake
from ollama_bench.platforms import conditions
from ollama_bench.platforms import darwin
from ollama_bench.storage import db
from ollama_bench.monitor import machine
from ollama_bench.power import power
from ollama_bench.privilege import privilege
from ollama_bench.terminal.interrupt import Interrupt, on_interrupt

from ollama_bench.monitor.monitor import Member, Monitor, Track, INTERVAL_S, PORT, print_line, watts


def main(argv: list[str] | None = None) -> int:
    standard.prepare()
    arguments = parse_args(argv)
    helper = None
    try:
        helper = privilege.split_off(
            sampler=not arguments.powermetrics_log
        )  # before anything is opened
        if helper and helper.warning:
            print_line(helper.warning)
        if arguments.powermetrics_log:
            return import_log(arguments.powermetrics_log, arguments.db)
        return watch(arguments, helper)
    except KeyboardInterrupt:
        return 130
    except (db.ResultsError, privilege.PrivilegeError, LogError) as error:
        print_line(f"monitor.py: {error}")
        return 1
    finally:
        if helper:
            helper.stop()


class LogError(Exception):
    """A powermetrics log can't be read; str() is the one line for the user."""


# -- alone ------------------------------------------------------------------------------


def watch(arguments: argparse.Namespace, helper) -> int:
    """Stores a run without levels and shows it live; 130 when it was ended before its time."""
    status = "failed"
    with on_interrupt() as interrupt, awake.kept(print_line), db.Writer(arguments.db) as writer:
        origin_ns, started_unix = time.perf_counter_ns(), time.time()
        machine_id = machine.remember(writer, machine.describe())
        run_id = writer.run_id = writer.insert(
            "run", {**run_row(arguments, started_unix), "machine_id": machine_id}
        )
        monitor = Monitor(
            writer,
            run_id,
            origin_ns,
            sources=power.sources(helper),
            ports=[arguments.port],
            pid=arguments.pid,
            interval_s=arguments.interval,
        )
        try:
            monitor.start()
            show(monitor, arguments.duration, interrupt)
            status = "interrupted" if interrupt.is_set() else "finished"
        except OSError as error:  # `monitor.py | head` has seen enough, or the disk is full
            standard.silence(sys.stdout)
            status = "interrupted"
            if not isinstance(error, BrokenPipeError):
                print_line(f"monitor.py: standard output: {error.strerror}")
        finally:
            cost = monitor.stop()
            writer.update(
                "run",
                run_id,
                {**cost, "status": status, "ended_ns": time.perf_counter_ns() - origin_ns},
            )
    print_line(
        f"stored as run {run_id} in {arguments.db}; watching took {cost['monitor_cpu_s']:.2f} s of CPU,"
        f" samplers {cost['sampler_cpu_s']:.2f} s"
    )
    return 130 if status == "interrupted" else 0


def run_row(arguments: argparse.Namespace, started_unix: float) -> dict:
    return {
        "source": "monitor",
        "status": "running",
        "started_unix": started_unix,
        "arguments": json.dumps(vars(arguments)),
        "command": " ".join(["monitor.py", *sys.argv[1:]]),
        "pid": os.getpid(),
        "tool_version": db.TOOL_VERSION,
        "python_version": platform.python_version(),
    }


def show(monitor: Monitor, duration_s: float | None, interrupt: Interrupt) -> None:
    """Shows what is seen, once an interval, until interrupt: in place on a terminal, else line by line."""
    until_s = time.monotonic() + duration_s if duration_s else float("inf")
    if not sys.stdout.isatty():
        for _ in ticks(monitor.interval_s, until_s, interrupt):
            print("\n".join(lines(monitor)), flush=True)
        return
    from rich.console import Console
    from rich.live import Live  # only for a terminal
    from rich.text import Text

    with Live(console=Console(width=standard.rich_width()), auto_refresh=False) as live:
        for _ in ticks(monitor.interval_s, until_s, interrupt):
            live.update(Text("\n".join(lines(monitor))), refresh=True)


def ticks(interval_s: float, until_s: float, interrupt: Interrupt):
    """One value after each interval, the last at until_s; none after interrupt."""
    while (left_s := until_s - time.monotonic()) > 0 and not interrupt.wait(
        min(interval_s, left_s)
    ):
        yield


def lines(monitor: Monitor) -> list[str]:
    """What was seen last: a line for the time, each source and each process, whose name its owner has chosen."""
    seconds = (time.perf_counter_ns() - monitor.origin_ns) / 1e9
    members = list(monitor.tree.members.values()) if monitor.tree else []
    return [
        f"{seconds:8.1f} s",
        *(standard.clean_line(source_line(track)) for track in monitor.tracks),
        *(standard.clean_line(process_line(member)) for member in members),
    ]


def source_line(track: Track) -> str:
    sample = track.latest
    if not track.live or not sample:
        return f"{track.name:<20} {track.source.status if not track.live else 'nothing yet'}"
    return (
        f"{track.name:<20} {figure(watts(sample, 'energy_j'), '7.2f')} W   GPU"
        f" {figure(watts(sample, 'gpu_energy_j'), '6.2f')} W {figure(sample.get('gpu_busy_ratio'), '4.0%')}"
        f" {figure(sample.get('gpu_mhz'), '5.0f')} MHz  {sample.get('thermal') or ''}"
    ).rstrip()


def process_line(member: Member) -> str:
    row = member.latest
    size, footprint = row.get("rss_bytes"), row.get("footprint_bytes")
    if footprint and footprint > (size or 0):
        size, unit, width = footprint, "MB footprint", 24
    else:
        unit, width = "MB", 34
    mb = size and size / 1e6
    return (
        f"{member.title:<{width}.{width}} {figure(row.get('cpu_ratio'), '6.1%')} CPU"
        f" {figure(mb, '8.1f')} {unit}"
        f" {figure(row.get('threads'), '3d')} threads {figure(row.get('fds'), '3d')} files"
    )


def figure(value: float | None, layout: str) -> str:
    """The value in its layout, or a dash as wide."""
    return format(value, layout) if value is not None else "-".rjust(len(format(0, layout)))


class Log:
    """A powermetrics log as a source whose samples have all come."""

    name, device, kind, scope, status = "powermetrics", "soc", "interval", power.CHIP_SCOPE, "ok"

    def __init__(self, samples: list[dict], dropped: int) -> None:
        self.samples = [sample for sample in samples if sample["elapsed_ns"]]
        self.dropped = dropped + len(samples) - len(self.samples)
        elapsed_ns = [sample["elapsed_ns"] for sample in self.samples]
        self.length_ns = sum(elapsed_ns)
        self.interval_s = statistics.median(elapsed_ns or [0]) / 1e9

    def placed(self) -> Iterator[dict]:
        """Its samples end to end, from 0 on."""
        end_ns = 0
        for sample in self.samples:
            start_ns, end_ns = end_ns, end_ns + sample["elapsed_ns"]
            columns = {name: value for name, value in sample.items() if name != "at_unix"}
            yield {**columns, "start_ns": start_ns, "end_ns": end_ns}

    def began_unix(self) -> float | None:
        first = self.samples[0]
        return None if first["at_unix"] is None else first["at_unix"] - first["elapsed_ns"] / 1e9


def import_log(path: str, db_path: str) -> int:
    """Stores what powermetrics wrote into a file, plist or text, as a run; every sample is checked as a live one is."""
    log = Log(*read_log(path))
    if not log.samples:
        raise LogError(f"{path} holds no sample of powermetrics")
    if log.length_ns > power.LARGEST:
        raise LogError(f"{path} says it lasted {log.length_ns / 1e9:.3g} s: no log of powermetrics")
    began_unix = log.began_unix()
    with db.Writer(db_path) as writer:
        run_id = writer.insert(
            "run",
            {
                **run_row(
                    argparse.Namespace(powermetrics_log=path, db=db_path),
                    os.path.getmtime(path) if began_unix is None else began_unix,
                ),
                "status": "finished",
                "ended_ns": log.length_ns,
            },
        )
        (track,) = Monitor(writer, run_id, 0, sources=[log]).tracks
        for sample in log.placed():
            track.keep(sample)
        track.finish()
    print(
        f"{track.samples} samples over {log.length_ns / 1e9:.1f} s stored as run {run_id} in {db_path}"
    )
    return 0


def read_log(path: str) -> tuple[list[dict], int]:
    """The samples of a log, and how many of its documents were damaged."""
    try:
        with open(path, "rb") as file:
            log = file.read()
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from None
    if b"<plist" not in log:
        return power.parse_text(log.decode("utf-8", "replace")), 0
    samples, dropped, gpu_rail = [], 0, power.GpuRail()
    for document in log.split(b"</plist>"):
        try:
            samples.append(power.parse_plist(document + b"</plist>", gpu_rail))
        except ValueError:
            dropped += bool(document.strip(b"\0 \r\n"))
    return samples, dropped


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="monitor.py",
        description="watches the server's processes, the machine and its power while a run goes on.",
    )
    parser.add_argument("--pid", type=int, help="watch this process and its descendants")
    parser.add_argument(
        "--port", type=port_number, default=PORT, help="the server's port (%(default)s)"
    )
    parser.add_argument(
        "--interval", type=seconds, default=INTERVAL_S, help="seconds between looks (%(default)s)"
    )
    parser.add_argument("--duration", type=seconds, help="seconds to watch (until Ctrl-C)")
    parser.add_argument("--db", default="results.db", help="results file (%(default)s)")
    parser.add_argument(
        "--powermetrics-log",
        metavar="FILE",
        help="store what powermetrics wrote into FILE, and end",
    )
    arguments = parser.parse_args(argv)
    standard.refuse_nul(parser, arguments)
    return arguments


def port_number(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port: 1 to 65535")
    return port


def seconds(text: str) -> float:
    value = float(text)
    if not 0.05 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} s: at least 0.05")
    return value


if __name__ == "__main__":
    sys.exit(main())
