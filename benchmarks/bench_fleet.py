"""bench_fleet.py - does a fleet measure what one process measures, and how far does it go?

    python benchmarks/bench_fleet.py               # some six minutes; Linux with a C compiler
    python benchmarks/bench_fleet.py --only 512x50
    python benchmarks/bench_fleet.py --only rows

A burst at benchmarks/stream_server.c, which notes when it read requests and wrote their tokens: by
bench.py alone and by its --fleet, one after the other. TTFT is what was reported minus the server's
own, ITL how far each gap is from the one that the server keeps to. SKEW is from the first to the
last request as the server read them. CPU is the slope between a third of the tokens and all, all
processes of the client together. CLOCK is the stated uncertainty; all processes here have one clock
in truth, and OFF is how far the fleet took them to be apart at most.

``rows``: workers whose requests have ended already; how fast the coordinator stores them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import sqlite3
import sys
import tempfile
import threading
import time
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

LOADS = {"512x50": (512, 50, 400), "2048x20": (2048, 20, 160)}
WORKERS = (1, 2, 4)
ROWS = (4000, 250)  # requests, chunks of each
GAPS = """
SELECT at_ns - lag(at_ns)
  OVER (PARTITION BY request_id ORDER BY chunk.number) AS gap_ns
FROM chunk JOIN request ON request.id = request_id
WHERE status = 'completed'"""
CLOCK = """
SELECT max(clock_uncertainty_s), max(abs(clock_offset_s)) FROM level_worker"""
HEADING = (
    "                    TTFT ERROR, ms   ITL ERROR, ms    SKEW    CPU  TOKENS/S   CLOCK     OFF\n"
    "LOAD     SENT BY      mean     p99     p50     p99      ms    s/M       all      us      us"
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
                    for sender in ("alone", "local:2") * wanted.runs:
                        line = compare(program, folder, load, sender)
                        print(line, flush=True)
        if wanted.only in (None, "rows"):
            for workers in WORKERS:
                print(measure_rows(folder, workers), flush=True)
    return 0


def compare(
    program: pathlib.Path, folder: pathlib.Path, load: str, sender: str
) -> str:
    """One line of the table."""
    streams, rate, tokens = LOADS[load]
    options = ["--no-monitor"]
    if sender != "alone":
        options += ["--fleet", sender]
    case = bench_load.Case(load, streams, 1000 / rate, tokens, options)
    level, requests, log, cpu_s = bench_load.run(
        program, folder, case, options, tokens
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
    _, _, _, less_s = bench_load.run(
        program, folder, case, options, tokens // 3
    )
    by_prefix = {reply.prefix: reply for reply in log}
    errors_ms = []
    for row in requests:
        reply = by_prefix.get((row["prefix"] or "").strip("[]"))
        if reply is not None:
            true_ms = (reply.first_ns - reply.read_ns) / 1e6
            errors_ms.append(row["ttft_s"] * 1e3 - true_ms)
    return " ".join(
        [
            f"{load:<8} {sender:<8}",
            f"{sum(errors_ms) / len(errors_ms):8.2f}",
            f"{bench_load.percentile(list(map(abs, errors_ms)), 99):7.2f}",
            f"{bench_load.percentile(gaps_ms, 50):7.2f}",
            f"{bench_load.percentile(gaps_ms, 99):7.2f}",
            f"{measure_skew_ms(log, streams):7.1f}",
            f"{(cpu_s - less_s) * 1e6 / (len(requests) * tokens * 2 / 3):6.1f}",
            f"{level['output_tokens_per_s']:9.0f}",
            f"{to_us(unsure_s)} {to_us(off_s)}",
            f" {level['client_limited_why'] or ''}",
        ]
    )


def to_us(seconds: float | None) -> str:
    return f"{'-' if seconds is None else format(seconds * 1e6, '.0f'):>7}"


def measure_skew_ms(log: list[bench_load.Reply], streams: int) -> float:
    """From the first to the last request of the first burst, as the server read them."""
    reads = sorted(reply.read_ns for reply in log)[:streams]
    return (reads[-1] - reads[0]) / 1e6


def measure_rows(folder: pathlib.Path, workers: int) -> str:
    """How fast the rows of requests that have ended come into a results file."""
    path = str(folder / f"rows{workers}.db")
    settings = FleetSettings(FleetAddress(local_workers=workers))
    make = functools.partial(make_canned, *ROWS)
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
        cpu_s = time.process_time() - cpu_s
    requests, chunks = ROWS
    rows = requests * chunks
    return (
        f"{workers} workers: {requests:,} requests of {chunks} chunks stored in {took_s:.1f} s: "
        f"{rows / took_s:,.0f} chunks/s, {cpu_s * 1e6 / rows:.1f} CPU s a million"
    )


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
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
