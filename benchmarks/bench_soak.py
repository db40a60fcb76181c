"""bench_soak.py - does a long run keep its descriptors, threads and memory? One process, watched
from outside.

    # 10,000 requests by 64 at once, then 3,000 by 1,000
    python benchmarks/bench_soak.py
    # as many as two hours of the study's machine
    python benchmarks/bench_soak.py --at-once 19 --requests 2500

A simulator answers fast, so that hours of requests pass in minutes: nothing in the client
knows of it but the clock. Exit code 1 when a request is missing, or when the last tenth of
the run holds more descriptors or threads, or 20 % and 32 MB more memory, than the second one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

from ollama_bench.simulator import child  # noqa: E402

RUNS = [(64, 10_000), (1000, 10_000)]  # at once, requests
LOOK_S = 0.5
LONGEST_S = 1800.0
TENTHS = 10
MORE_MEMORY_RATIO, MORE_MEMORY_BYTES = (
    1.2,
    32e6,
)  # what SQLite's cache and the allocator may still take
SERVER = [
    "--profile",
    "exact",
    "--ttft",
    "50",
    "--itl",
    "10",
    "--tokens",
    "20-60",
]


def main(argv: list[str] | None = None) -> int:
    options = parse_args(argv)
    runs = (
        [(options.at_once, options.requests)] if options.at_once else RUNS
    )
    return max([soak(at_once, requests) for at_once, requests in runs])


def soak(at_once: int, requests: int) -> int:
    """One run, its table, and whether it leaked."""
    with tempfile.TemporaryDirectory() as folder, simulator() as url:
        path = pathlib.Path(folder) / "results.db"
        looks = watch(
            [
                sys.executable,
                str(ROOT / "bench.py"),
                str(at_once),
                "--requests",
                str(requests),
                "--host",
                url,
                "--db",
                str(path),
                "--idle",
                "0",
                "--warmup",
                "0",
                "--plain",
                "--no-monitor",
            ]
        )
        with contextlib.closing(sqlite3.connect(path)) as connection:
            stored = dict(
                connection.execute(
                    "SELECT status, count(*) FROM request GROUP BY status"
                )
            )
            took_s, tokens = connection.execute(
                "SELECT (ended_ns - started_ns) / 1e9, (SELECT sum(output_tokens) FROM "
                "request) FROM level"
            ).fetchone()
        size = path.stat().st_size
    print(
        f"\n{requests:,} requests by {at_once:,} at once: {took_s:.0f} s, {tokens:,} tokens, "
        f"results.db {size / 1e6:.0f} MB, "
        + ", ".join(
            f"{count:,} {status}" for status, count in stored.items()
        )
    )
    rows = tenths(looks)
    print("  part of the run   descriptors   threads   memory, MB")
    for number, (descriptors, threads, memory) in enumerate(rows, 1):
        print(
            f"  {number * 100 // TENTHS:>13} "
            f"%{descriptors:>14.0f}{threads:>10.0f}{memory / 1e6:>13.0f}"
        )
    return int(
        stored != {"completed": requests} or leaks(rows[1], rows[-1])
    )


@contextlib.contextmanager
def simulator():
    process = subprocess.Popen(
        child.command(
            "--port", "0", "--parent-pid", str(os.getpid()), *SERVER
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def watch(command: list[str]) -> list[tuple[int, int, int]]:
    """Descriptors, threads and bytes of memory of a program, twice a second until it ends."""
    looks, until = [], time.monotonic() + LONGEST_S
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None and time.monotonic() < until:
            with (
                contextlib.suppress(psutil.Error, OSError, RuntimeError),
                watched.oneshot(),
            ):
                looks.append(
                    (
                        watched.num_fds()
                        if hasattr(watched, "num_fds")
                        else watched.num_handles(),
                        watched.num_threads(),
                        watched.memory_info().rss,
                    )
                )
            time.sleep(LOOK_S)
        process.kill()
    return looks


def tenths(looks: list[tuple[int, int, int]]) -> list[tuple[float, ...]]:
    """The median of each tenth of the part in which the load was on: as many threads as at most,
    nearly.
    """
    most = max(threads for _, threads, _ in looks)
    loaded = [look for look in looks if look[1] > 0.9 * most]
    parts = [
        loaded[len(loaded) * n // TENTHS : len(loaded) * (n + 1) // TENTHS]
        or loaded[-1:]
        for n in range(TENTHS)
    ]
    return [tuple(map(statistics.median, zip(*part))) for part in parts]


def leaks(early: tuple, late: tuple) -> bool:
    return (
        late[0] > early[0] * 1.02 + 2
        or late[1] > early[1] * 1.02 + 2
        or late[2]
        > max(early[2] * MORE_MEMORY_RATIO, early[2] + MORE_MEMORY_BYTES)
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_soak.py",
        description="Does a long run keep its descriptors, threads and memory?",
    )
    parser.add_argument(
        "--at-once", type=int, metavar="N", help="requests in flight"
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=10_000,
        metavar="N",
        help="requests in all (default 10,000)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
