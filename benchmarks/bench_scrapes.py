"""bench_scrapes.py - does Prometheus slow the monitor's own samples?

    python benchmarks/bench_scrapes.py                  # a minute
    python benchmarks/bench_scrapes.py --requests 500   # that end each second in the file beside it

monitor.py watches this program ten times a second and is scraped ten times a second in every
other phase of 5 s, fifty times as often as usual. Requests of a level begin and end in the same
results file all the while, which has a hundred thousand before that. Fails where samples come later
by more than 5 ms at p95 in the phases with scrapes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

from ollama_bench.statistics.percentiles import nearest_rank  # noqa: E402
from ollama_bench.storage.connection import connect
from tests.prometheus.support import Bench

PHASE_S, PHASES = 5.0, 12
INTERVAL_S = SCRAPE_S = 0.1
STORED = 100_000  # requests that the file has before
LIMIT_S = 0.005


def main(argv: list[str] | None = None) -> int:
    arguments = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "results.db")
        with Bench(path) as bench, watched(path) as url:
            phases, scrapes_s = measure(bench, url, arguments.requests)
        late_s = find_lateness(path, phases)
    print(f"{len(scrapes_s)} scrapes, {describe(scrapes_s)}")
    for is_scraped, values in late_s.items():
        words = "with scrapes" if is_scraped else "without"
        print(
            f"samples late, {words:12} {len(values)}: {describe(values)}"
        )
    with_s, without_s = (
        nearest_rank(sorted(late_s[is_scraped]), 95)
        for is_scraped in (True, False)
    )
    more_s = with_s - without_s
    print(f"p95 later by {more_s * 1e3:.2f} ms (limit {LIMIT_S * 1e3:g})")
    return 0 if more_s <= LIMIT_S else 1


@contextlib.contextmanager
def watched(path):
    """The URL of a monitor that watches this program."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = str(place.getsockname()[1])
    with subprocess.Popen(
        [
            *(sys.executable, ROOT / "monitor.py", "--db", path),
            *("--pid", str(os.getpid()), "--interval", str(INTERVAL_S)),
            *("--prometheus", port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines = iter(process.stderr.readline, "")
        told = next(line for line in lines if "metrics: " in line)
        try:
            yield told.split()[-1]
        finally:
            process.terminate()
            process.communicate()


def measure(bench, url, per_s):
    """Return each phase, in seconds since 1970, and how long each scrape took."""
    bench.begin(*range(1, STORED + 1))
    bench.end(*range(1, STORED + 1))
    stop, scrapes_s, phases = threading.Event(), [], {}
    writing = threading.Thread(target=write, args=[bench, per_s, stop])
    writing.start()
    for number in range(PHASES):
        began = time.time()
        while time.time() < began + PHASE_S:
            begun_s = time.perf_counter()
            if number % 2:
                urllib.request.urlopen(url, timeout=60).read()
                scrapes_s.append(time.perf_counter() - begun_s)
            spent_s = time.perf_counter() - begun_s
            time.sleep(max(0, SCRAPE_S - spent_s))
        phases[number] = began, time.time()
    stop.set()
    writing.join()
    return phases, scrapes_s


def write(bench, per_s, stop):
    """Begin and end requests until stop."""
    numbers = itertools.count(STORED + 1)
    for number in numbers:
        if stop.wait(1 / per_s):
            return
        bench.add(number)
        bench.change(max(STORED + 1, number - 8))


def find_lateness(path, phases):
    """Return by how much samples came later than an interval after the last, by phases' kind."""
    database = connect(path, readonly=True)
    with contextlib.closing(database.conn):
        ((run, started_unix),) = database.execute(
            "SELECT id, started_unix FROM run WHERE source = 'monitor'"
        ).fetchall()
        rows = database.execute(
            "SELECT at_ns FROM process_sample JOIN process ON process.id = process_id"
            " WHERE run_id = ? AND pid = ? ORDER BY at_ns",
            [run, os.getpid()],
        ).fetchall()
    late_s = {False: [], True: []}
    for (before_ns,), (at_ns,) in itertools.pairwise(rows):
        at_unix = started_unix + at_ns / 1e9
        for number, (begun, ended) in phases.items():
            if begun + 0.5 < at_unix < ended:
                gap_s = (at_ns - before_ns) / 1e9
                late_s[bool(number % 2)].append(gap_s - INTERVAL_S)
    return late_s


def describe(values):
    parts = [
        f"p{percent} {nearest_rank(sorted(values), percent) * 1e3:.2f}"
        for percent in (50, 95, 99)
    ]
    return f"{', '.join(parts)}, most {max(values) * 1e3:.2f} ms"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_scrapes.py",
        description="does Prometheus slow the monitor's own samples?",
    )
    parser.add_argument(
        "--requests",
        type=float,
        default=100.0,
        help="that end each second in the file beside it (%(default)s)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
