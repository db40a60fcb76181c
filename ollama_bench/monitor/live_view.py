"""What monitor.py shows while it watches: a line for each power source and each process."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from ollama_bench.monitor.monitor import Monitor
from ollama_bench.monitor.process_sample import ServerProcess
from ollama_bench.monitor.track import Track
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.output import clean_line, find_rich_width


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
