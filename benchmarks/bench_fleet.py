"""bench_fleet.py - does a fleet measure what one process measures, and how far does it go?

    python benchmarks/bench_fleet.py               # some six minutes; Linux with a C compiler
    python benchmarks/bench_fleet.py --only 512x50 --ahead  # root: the server comes first
    python benchmarks/bench_fleet.py --only rows

A burst at benchmarks/stream_server.c, which notes when it read requests and wrote their tokens: by
bench.py alone and by its --fleet, one after the other. TTFT is what was reported minus the server's
own, ITL how far each gap is from the one that the server keeps to. SKEW is from the first to the
last request as the server read them. CPU is the slope between a third of the tokens and all, all
processes of the client together. CLOCK is the stated uncertainty; all processes here have one clock
in truth, and OFF is how far the fleet took them to be apart at most.

SENDING is that of the sending processes until the last stream ended; the rest is what else one
process or the coordinator does, storing above all. TIMES: CPU of the fleet / of one process.

``rows``: workers whose requests have ended already; how fast the coordinator stores them, long
replies and short ones, and what asking costs it. fleet_scale.py goes on from it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from typing import NamedTuple
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
# the programs are files, not an installed package
sys.path[:0] = [str(HERE.parent), str(HERE)]

import bench_load  # noqa: E402
from canned_load import make_canned  # noqa: E402

from ollama_bench.fleet.fleet import open_fleet  # noqa: E402
from ollama_bench.fleet.level import FleetLevel  # noqa: E402
from ollama_bench.inputs.fleet_settings import (  # noqa: E402
    FleetAddress,
    FleetSettings,
)
from ollama_bench.load.part import WHOLE  # noqa: E402
from ollama_bench.run.level_recorder import LevelRecorder  # noqa: E402
from ollama_bench.run.record import RunRecord  # noqa: E402
from ollama_bench.storage.results_file import TOOL_VERSION  # noqa: E402
from ollama_bench.storage.writer import Writer  # noqa: E402

LOADS = {
    "256x50": (256, 50, 400),
    "512x50": (512, 50, 400),
    "2048x20": (2048, 20, 160),
}
WORKERS = (1, 2, 4, 8)
# requests, chunks of each, seconds in which nothing comes
LONG, SHORT = (4000, 250, 0.0), (20_000, 5, 0.0)
ASKS = 1000
GAPS = """
SELECT at_ns - lag(at_ns)
  OVER (PARTITION BY request_id ORDER BY chunk.number) AS gap_ns
FROM chunk JOIN request ON request.id = request_id
WHERE status = 'completed'"""
CLOCK = """
SELECT max(clock_uncertainty_s), max(abs(clock_offset_s)) FROM level_worker"""
HEADING = (
    "                  TTFT ERROR, ms   ITL ERROR, ms    SKEW      CPU, s/M"
    "  TOKENS/S   CLOCK     OFF\n"
    "LOAD     SENT BY    mean     p99     p50     p99      ms    all SENDING"
    "       all      us      us"
)
ROWS_HEADING = (
    "         STORED A SECOND, ALL   CPU OF THE COORDINATOR\n"
    "WORKERS    CHUNKS    REQUESTS  us OF CHUNK  OF REQUEST  OF ASK"
)


def main(argv: list[str] | None = None) -> int:
    wanted = parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if wanted.only != "rows":
            program = bench_load.build(folder)
            print(f"load average {os.getloadavg()[0]:.1f}\n{HEADING}")
            for load in LOADS:
                if wanted.only in (None, load):
                    compare_both(program, folder, load, wanted)
        if wanted.only in (None, "rows"):
            print(f"load average {os.getloadavg()[0]:.1f}\n{ROWS_HEADING}")
            for workers in WORKERS:
                print(describe_rows(folder, workers), flush=True)
    return 0


def compare_both(
    program: pathlib.Path,
    folder: pathlib.Path,
    load: str,
    wanted: argparse.Namespace,
) -> None:
    """The lines of a load, and how the CPU of both compares."""
    cpu_s: dict[str, list[float]] = {"alone": [], "local:2": []}
    for _ in range(wanted.runs):
        for sender, found in cpu_s.items():
            line, used_s = compare(
                program, folder, load, sender, wanted.ahead
            )
            found.append(used_s)
            print(line, flush=True)
    alone, fleet = map(statistics.median, cpu_s.values())
    print(f"{load:<8} TIMES {fleet / alone:.2f}", flush=True)


def compare(
    program: pathlib.Path,
    folder: pathlib.Path,
    load: str,
    sender: str,
    ahead: bool,
) -> tuple[str, float]:
    """A line of the table, and its CPU seconds for a million tokens."""
    streams, rate, tokens = LOADS[load]
    options = ["--no-monitor"]
    if sender != "alone":
        options += ["--fleet", sender]
    case = bench_load.Case(load, streams, 1000 / rate, tokens, options)
    level, requests, log, cpu_s = bench_load.run(
        program, folder, case, options, tokens, ahead
    )
    with contextlib.closing(
        sqlite3.connect(folder / "results.db")
    ) as database:
        gaps_ms = [
            abs(gap_ns / 1e6 - case.gap_ms)
            for (gap_ns,) in database.execute(GAPS)
            if gap_ns is not None
        ]
        unsure_s, off_s = database.execute(CLOCK).fetchone()
    short, _, _, less_s = bench_load.run(
        program, folder, case, options, tokens // 3, ahead
    )
    more = tokens - tokens // 3
    all_s = (cpu_s - less_s) * 1e6 / (len(requests) * more)
    sending_s = level["client_cpu_s"] - short["client_cpu_s"]
    sending_s *= 1e6 / (streams * more)
    by_prefix = {reply.prefix: reply for reply in log}
    errors_ms = []
    for row in requests:
        reply = by_prefix.get((row["prefix"] or "").strip("[]"))
        if reply is not None:
            true_ms = (reply.first_ns - reply.read_ns) / 1e6
            errors_ms.append(row["ttft_s"] * 1e3 - true_ms)
    line = " ".join(
        [
            f"{load:<8} {sender:<8}",
            f"{sum(errors_ms) / len(errors_ms):8.2f}",
            f"{bench_load.percentile(list(map(abs, errors_ms)), 99):7.2f}",
            f"{bench_load.percentile(gaps_ms, 50):7.2f}",
            f"{bench_load.percentile(gaps_ms, 99):7.2f}",
            f"{measure_skew_ms(log, streams):7.1f}",
            f"{all_s:6.1f} {sending_s:7.1f}",
            f"{level['output_tokens_per_s']:9.0f}",
            f"{to_us(unsure_s)} {to_us(off_s)}",
            f" {level['client_limited_why'] or ''}",
        ]
    )
    return line, all_s


def to_us(seconds: float | None) -> str:
    return f"{'-' if seconds is None else format(seconds * 1e6, '.0f'):>7}"


def measure_skew_ms(log: list[bench_load.Reply], streams: int) -> float:
    """From the first to the last request of the first burst, as the server read them."""
    reads = sorted(reply.read_ns for reply in log)[:streams]
    return (reads[-1] - reads[0]) / 1e6


class Stored(NamedTuple):
    """What a level of canned requests took."""

    wall_s: float
    cpu_s: float  # of the coordinator


def describe_rows(folder: pathlib.Path, workers: int) -> str:
    """One line of the table of rows."""
    long, short = (
        measure_rows(folder, workers, rows) for rows in (LONG, SHORT)
    )
    chunks, requests = LONG[0] * LONG[1], SHORT[0]
    # what both have of each, solved for one chunk and one request
    chunk_s = (long.cpu_s - short.cpu_s * LONG[0] / SHORT[0]) / (
        chunks - LONG[0] * SHORT[1]
    )
    request_s = short.cpu_s / SHORT[0] - SHORT[1] * chunk_s
    return (
        f"{workers:7} {chunks / long.wall_s:9,.0f} "
        f"{requests / short.wall_s:11,.0f} {chunk_s * 1e6:12.2f} "
        f"{request_s * 1e6:11.0f} {measure_ask_us(workers):7.0f}"
    )


def measure_ask_us(workers: int) -> float:
    """CPU of the coordinator for a question to a worker, microseconds."""
    settings = FleetSettings(FleetAddress(local_workers=workers))
    with open_fleet(settings) as fleet:
        cpu_s = time.process_time()
        for _ in range(ASKS // workers):
            fleet.tell(fleet.members, "clock")
        used_s = time.process_time() - cpu_s
    return used_s * 1e6 / (ASKS // workers * workers)


def measure_rows(
    folder: pathlib.Path, workers: int, rows: tuple[int, int, float]
) -> Stored:
    """How fast the rows of requests that have ended come into a results file."""
    path = str(folder / f"rows{workers}-{rows[0]}.db")
    settings = FleetSettings(FleetAddress(local_workers=workers))
    make = functools.partial(make_canned, *rows)
    interrupt = threading.Event()
    with (
        open_fleet(settings) as fleet,
        Writer(path, say=print) as writer,
    ):
        record, level_id = begin(writer, path)
        recorder = LevelRecorder(
            record,
            level_id,
            None,
            mock.Mock(),
            interrupt,
            mock.Mock(),
        )
        whole = make(interrupt=interrupt, part=WHOLE, gate=None)
        level = FleetLevel(fleet, whole, make)
        cpu_s = time.process_time()
        level.run(recorder)
        writer.flush()
        assert whole.result.started_ns is not None
        took_s = (time.perf_counter_ns() - whole.result.started_ns) / 1e9
        return Stored(took_s, time.process_time() - cpu_s)


def begin(writer: Writer, path: str) -> tuple[RunRecord, int]:
    """Insert a run and a level for the rows to belong to."""
    run_id = writer.insert(
        "run",
        {
            "source": "bench",
            "started_unix": time.time(),
            "status": "running",
            "tool_version": TOOL_VERSION,
            "arguments": "{}",
        },
    )
    level_id = writer.insert(
        "level",
        {
            "run_id": run_id,
            "model": "canned",
            "concurrency": 1,
            "status": "running",
        },
    )
    origin_ns = time.perf_counter_ns()
    return RunRecord(
        run_id, writer, path, origin_ns, time.time()
    ), level_id


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_fleet.py",
        description="Does a fleet measure what one process measures?",
    )
    parser.add_argument("--only", choices=(*LOADS, "rows"))
    parser.add_argument(
        "--runs",
        type=int,
        default=1,
        help="of each (default %(default)s)",
    )
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="the server has real-time priority (root), as on a machine of its own",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
