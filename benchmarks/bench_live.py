"""bench_live.py - what does a browser that watches a run cost the measurement?

    python benchmarks/bench_live.py                 # some three minutes; Linux with a C compiler
    python benchmarks/bench_live.py --runs 9 --seconds 30 --ahead

A closed loop of 256 streams of 50 tokens/s against benchmarks/stream_server.c, in turns alone and
with `--live` and a Chromium that has the run's page open; medians of the client's own lags, as
bench.py stores them. Fails where a lag's p99 is more than 0.2 ms longer with a browser watching.
``--ahead`` gives bench.py, the server and Datasette real-time priority (root), not the browser:
for a machine whose cores others use, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
# the programs are files, not an installed package
sys.path[:0] = [str(HERE)]

import bench_load  # noqa: E402

STREAMS, RATE = 256, 50  # tokens/s of each
MOST_MORE_MS = 0.2
# columns of level, and what they are
LAGS = {
    "client_read_lag_p99_s": "reading, p99",
    "client_send_lag_p99_s": "sending, p99",
    "client_send_lag_p50_s": "sending, p50",
    "client_stall_p99_s": "heartbeat, p99",
}
JUDGED = ("client_read_lag_p99_s", "client_send_lag_p99_s")
LONGEST_S, LOOK_MS = 120, 250


def main(argv: list[str] | None = None) -> int:
    """Measure in turns, and print the table."""
    wanted = parse_args(argv)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("bench_live.py: no chromium here", file=sys.stderr)
        return 1
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = bench_load.build(folder)
        for turn in range(2 * wanted.runs):
            # A B B A: a machine that changes does so for both
            is_watched = turn % 4 in (1, 2)
            found[is_watched].append(
                measure(
                    program,
                    folder,
                    wanted.seconds,
                    browser if is_watched else None,
                    wanted.ahead,
                )
            )
    return show(found)


def measure(
    program: pathlib.Path,
    folder: pathlib.Path,
    seconds: float,
    browser: str | None,
    ahead: bool,
) -> dict[str, float]:
    """Return the client's lags in one run, with a browser that watches it or alone.

    ahead: the client and the server come before all others.
    """
    path = folder / "results.db"
    for old in folder.glob("results.db*"):
        old.unlink()
    set_ahead(ahead)
    with bench_load.server(
        program, folder / "server.log", 1000 / RATE, bench_load.SPREAD_MS
    ) as url:
        process = subprocess.Popen(
            [
                *(sys.executable, str(bench_load.ROOT / "bench.py")),
                *(str(STREAMS), "--duration", f"{seconds:g}"),
                *("--host", url, "--model", bench_load.MODEL),
                *("--tokens", str(bench_load.CLOSED_TOKENS)),
                *("--idle", "0", "--cooldown", "0", "--plain"),
                *("--db", str(path), *["--live"] * bool(browser)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        set_ahead(False)
        alarm = threading.Timer(seconds + LONGEST_S, process.kill)
        alarm.start()
        asked = 0
        with process:
            if browser:
                asked = watch(process, browser)
            process.stdout.read()
        alarm.cancel()
    if browser and asked < seconds / 4:
        sys.exit(f"bench_live.py: the page asked only {asked} times")
    with contextlib.closing(sqlite3.connect(path)) as file:
        names = ", ".join([*LAGS, "client_cpu_ratio"])
        row = file.execute(
            f"SELECT {names} FROM level WHERE is_control IS NOT 1"
        ).fetchone()
    return dict(zip([*LAGS, "client_cpu_ratio"], row))


def set_ahead(ahead: bool) -> None:
    """Let what starts from here on come before all others, or no longer."""
    policy = os.SCHED_RR if ahead else os.SCHED_OTHER
    if os.sched_getscheduler(0) != policy:
        os.sched_setscheduler(0, policy, os.sched_param(int(ahead)))


def watch(process: subprocess.Popen[str], browser: str) -> int:
    """Have the run's page open until the run is over; return how often it asked."""
    from playwright.sync_api import sync_playwright

    line = next(one for one in process.stdout if one.startswith("live: "))
    with sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=browser, args=["--no-sandbox"]
        )
        page = opened.new_page()
        asked: list[Any] = []
        page.on(
            "request",
            lambda one: (
                asked.append(one) if one.url.endswith("/live") else None
            ),
        )
        page.goto(line.split()[-1])
        while process.poll() is None:
            page.wait_for_timeout(LOOK_MS)
        opened.close()
    return len(asked)


def show(found: dict[bool, list[dict[str, float]]]) -> int:
    """Print the medians; return 1 where watching costs too much."""
    runs = len(found[False])
    print(
        f"{STREAMS} streams of {RATE} tokens/s, {runs} runs each, in turns; "
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"
    )
    print("client's lag, ms      alone   watched      more")
    is_good = True
    for name, title in LAGS.items():
        alone, watched = (
            statistics.median(row[name] for row in found[is_watched]) * 1e3
            for is_watched in (False, True)
        )
        print(
            f"{title:<18}{alone:9.3f}{watched:10.3f}{watched - alone:+10.3f}"
        )
        is_good &= name not in JUDGED or watched - alone <= MOST_MORE_MS
    cpu = [
        statistics.median(row["client_cpu_ratio"] for row in found[one])
        for one in (False, True)
    ]
    print(f"{'CPU, cores':<18}{cpu[0]:9.3f}{cpu[1]:10.3f}")
    return 0 if is_good else 1


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the wishes of the command line."""
    parser = argparse.ArgumentParser(
        prog="bench_live.py",
        description="What does a browser that watches a run cost the measurement?",
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="of each (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each (%(default)g)"
    )
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="real-time priority for all but the browser (root)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
