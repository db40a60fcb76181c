"""bench_pages.py - how long does a browser wait for the pages of a large results file?

    python benchmarks/bench_pages.py                   # or: make bench-pages; some three minutes
    python benchmarks/bench_pages.py --chunks 200000

Plain Datasette serves a made-up file, and every page of ours, every chart and all that the pages
ask for is got five times over HTTP, as finished and, at last, as a run that goes on. Fails where
the median of one is over 300 ms up to a million chunks, or over 1 s above. Beside it stand the
longest, and the processor time of Datasette, which other programs on this machine change less.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import http.client
import json
import os
import pathlib
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

HERE = pathlib.Path(__file__).resolve().parent
# the programs are files, not an installed package
sys.path[:0] = [str(HERE)]

import bench_storage  # noqa: E402
import psutil  # noqa: E402

SIZES = (1_000_000, 5_000_000)
LEVELS = 5  # of the run
TIMES = 5  # of each page
MILLION, UP_TO_MILLION_MS, ABOVE_MS = 1_000_000, 300, 1000
LONGEST_S = 60  # of a page
RUN = "/results/-/run/1"
LEVEL = f"/results/-/level/{LEVELS}"
SCRIPT = "/-/ollama-bench/vega.js"  # which draws
PLUGINS = "ollama_bench/browsing/plugins"
SOURCE = re.compile(r'data-source="([^"]*)"')
# what a run tells of itself while it runs
STATE = {
    "at_s": 1000.0,
    "doing": "made up",
    "level": {
        "started_s": 900.0,
        "until_s": None,
        "planned": 1000,
        "waiting": 0,
        "streaming": 64,
        "ended": 900,
        "tokens": 900_000,
        "tokens_per_s": 3200.0,
        "left": "",
        "streams": [[one, 990.0, 991.0, None] for one in range(1, 65)],
    },
}


class Served:
    """A Datasette, as a browser sees it."""

    def __init__(
        self, process: subprocess.Popen[str], address: str
    ) -> None:
        self._cpu = psutil.Process(process.pid)
        self._line = http.client.HTTPConnection(
            urlsplit(address).netloc, timeout=LONGEST_S
        )

    def get(self, place: str) -> str:
        """Return the whole text of a page. Raises SystemExit where there is none."""
        self._line.request("GET", place)
        answer = self._line.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise SystemExit(
                f"bench_pages.py: {place} is {answer.status}: {text[:200]}"
            )
        return text

    def time(self, name: str, place: str, most_ms: float) -> bool:
        """Get a page some times and print a line; tell whether it keeps the limit."""
        before_s, took_ms = self._cpu_s(), []
        for _ in range(TIMES):
            began = time.perf_counter()
            text = self.get(place)
            took_ms.append((time.perf_counter() - began) * 1e3)
        cpu_ms = (self._cpu_s() - before_s) * 1e3 / TIMES
        middle = statistics.median(took_ms)
        is_kept = middle <= most_ms
        print(
            f"{name:<32}{middle:8.0f}{max(took_ms):8.0f}{cpu_ms:8.0f}"
            f"{len(text) / 1e3:9.0f}{'' if is_kept else '  <-'}",
            flush=True,
        )
        return is_kept

    def _cpu_s(self) -> float:
        times = self._cpu.cpu_times()
        return times.user + times.system


def main(argv: list[str] | None = None) -> int:
    """Measure each size; return 1 where a limit is broken."""
    wanted = parse_args(argv)
    # of all, also where one breaks a limit
    kept = [measure(chunks) for chunks in wanted.chunks]
    return 0 if all(kept) else 1


def measure(chunks: int) -> bool:
    """Print a line for each page of a file of so many chunks; tell whether all keep the limit."""
    most_ms = UP_TO_MILLION_MS if chunks <= MILLION else ABOVE_MS
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name) / "results.db"
        of_level = chunks // (LEVELS * bench_storage.CHUNKS)
        bench_storage.make_up(path, chunks, of_level)
        with serving(path) as served:
            began = time.perf_counter()
            served.get(RUN)
            served.get(SCRIPT)
            first_s = time.perf_counter() - began
            print(
                f"{chunks:,} chunks, {LEVELS * of_level:,} requests; limit "
                f"{most_ms} ms; load average {os.getloadavg()[0]:.1f}; "
                f"first page and its script {first_s:.1f} s"
            )
            print(f"{'':<32}  median   worst     CPU       KB")
            places = list(list_places(served))
            kept = [served.time(*one, most_ms) for one in places]
            let_run(path)
            kept += [served.time(*one, most_ms) for one in LIVE.items()]
    return all(kept)


@contextlib.contextmanager
def serving(path: pathlib.Path) -> Iterator[Served]:
    """Start plain Datasette on a free port of this machine, and end it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "datasette", str(path), "--port", "0"),
            *("--plugins-dir", str(bench_storage.ROOT / PLUGINS)),
        ],
        stdin=subprocess.DEVNULL,
        # a line for each page
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stderr or ()
        address = next(
            (
                found[0]
                for line in said
                if (found := re.search(r"http://\S+", line))
            ),
            None,
        )
        if address is None:
            raise SystemExit("bench_pages.py: Datasette did not start")
        # or it would wait for who reads it
        threading.Thread(target=list, args=[said], daemon=True).start()
        yield Served(process, address)
    finally:
        process.terminate()
        process.wait()


def list_places(served: Served) -> Iterator[tuple[str, str]]:
    """Yield a name and an address for each page, and all that it asks for."""
    for name, place in (
        ("file", "/results"),
        ("run", RUN),
        ("level", LEVEL),
    ):
        yield name, place
        for source in SOURCE.findall(served.get(place)):
            address = html.unescape(source)
            part = urlsplit(address).path.rpartition("/")[2]
            yield f"  {name}: {part}", address
    yield "request", f"{LEVEL}/request/1"
    yield "playback", f"{LEVEL}/playback"
    yield "  playback: data", f"{LEVEL}/playback/data"


LIVE = {
    "live": RUN,
    "  live: state": f"{RUN}/live",
    "  live: levels so far": f"{RUN}/so-far",
}


def let_run(path: pathlib.Path) -> None:
    """Have the run go on in its last level."""
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute(
            "UPDATE run SET status = 'running', live = ?, seen_unix = ?",
            [json.dumps(STATE), time.time() + LONGEST_S],
        )
        file.execute(
            "UPDATE level SET status = 'running', ended_ns = NULL "
            "WHERE id = ?",
            [LEVELS],
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the wishes of the command line."""
    parser = argparse.ArgumentParser(
        prog="bench_pages.py",
        description="How long does a browser wait for the pages of a large results file?",
    )
    parser.add_argument(
        "--chunks",
        nargs="+",
        type=int,
        default=[*SIZES],
        help="of a file, each measured alone (1000000 5000000)",
    )
    wanted = parser.parse_args(argv)
    least = LEVELS * bench_storage.CHUNKS
    for chunks in wanted.chunks:
        if chunks < least:
            parser.error(
                f"invalid --chunks {chunks}: expected at least {least}"
            )
    return wanted


if __name__ == "__main__":
    sys.exit(main())
