"""bench_load.py - is a load what it says it is? Against a server that counts its streams.

    python benchmarks/bench_load.py                      # or: make bench-load; some ten minutes
    python benchmarks/bench_load.py --seconds 10 --only 256x50
    python benchmarks/bench_load.py --streams 64 \\
        --client 'aiperf profile --url {url} --concurrency {streams} ...'

The server is benchmarks/stream_server.c (a C compiler is needed, Linux): it notes when it read each
request and wrote its tokens, on the clock of every process here. bench.py runs as its user would
run it, with monitor and results file. What the file says is compared with the server's log.

Closed loops: IN FLIGHT is how many streams the server itself had, mean between when the last of
the first requests was read and when the last request was; TOKENS/S is what was reported against
the server's own count; GAP is from a reply's last byte to the next request. Open loops: LATE is
from when a request was due until the server had read it; TTFT is reported minus the server's own.
CPU is the slope between a run of a third of the length and the whole, so that starting is not in
it. ``--client`` fires any other program at the server, with {url} and {streams} filled in, and says
what the server had of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = pathlib.Path(__file__).with_name("stream_server.c")
MODEL = "deepseek-r1:7b"
TTFT_MS, SPREAD_MS = 100, 100
# streams, tokens/s of each
CLOSED = ((19, 50), (64, 50), (256, 50), (64, 1000))
CLOSED_TOKENS = 250
OPEN = ((50, 100), (300, 20), (1000, 5))  # requests/s, tokens of each
OPEN_GAP_MS, OPEN_POOL, OPEN_S = 20, 600, 8
BURST = (256, 50)
PATIENCE_S = 300


class Reply(NamedTuple):
    """What the server noted of a reply; instants of CLOCK_MONOTONIC, ns."""

    prefix: str
    read_ns: int
    first_ns: int
    last_ns: int
    tokens: int


@dataclasses.dataclass
class Case:
    """One line of the table."""

    name: str
    levels: int
    gap_ms: float
    tokens: int
    options: list[str]
    spread_ms: float = SPREAD_MS


def main(argv: list[str] | None = None) -> int:
    wanted = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            program = build(pathlib.Path(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            print(
                f"bench_load.py: cannot build the server: {error}",
                file=sys.stderr,
            )
            return 1
        if wanted.client:
            print(other_client(program, pathlib.Path(folder), wanted))
            return 0
        print(f"load average {os.getloadavg()[0]:.1f}")
        print(HEADING)
        for case in cases(wanted):
            if not wanted.only or wanted.only == case.name:
                print(
                    measure(program, pathlib.Path(folder), case, wanted),
                    flush=True,
                )
    return 0


def build(folder: pathlib.Path) -> pathlib.Path:
    """Compile the server. Raises OSError or CalledProcessError."""
    compiler = (
        shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    )
    if compiler is None or not sys.platform.startswith("linux"):
        raise OSError("a C compiler on Linux is needed")
    program = folder / "stream_server"
    subprocess.run(
        [compiler, "-O2", "-o", str(program), str(SOURCE)], check=True
    )
    return program


def cases(wanted: argparse.Namespace) -> Iterator[Case]:
    streams, rate = BURST
    yield Case(
        f"burst {streams}x{rate}",
        streams,
        1000 / rate,
        int(wanted.seconds / 6 * rate),
        [],
    )
    for streams, rate in CLOSED:
        yield Case(
            f"{streams}x{rate}",
            streams,
            1000 / rate,
            CLOSED_TOKENS,
            ["--duration", f"{wanted.seconds:g}"],
        )
    for rate, tokens in OPEN:
        yield Case(
            f"{rate}/s",
            OPEN_POOL,
            OPEN_GAP_MS,
            tokens,
            ["--rate", str(rate), "--duration", str(OPEN_S)],
            0.0,
        )


@contextlib.contextmanager
def server(
    program: pathlib.Path,
    log: pathlib.Path,
    gap_ms: float,
    spread_ms: float,
    ahead: bool = False,
) -> Iterator[str]:
    """The server's address; its log is whole when the block has been left.

    ahead: it gets a processor before all others, as on a machine of its own (root).
    """
    command = [
        str(program),
        "0",
        str(log),
        str(TTFT_MS),
        str(spread_ms),
        f"{gap_ms:g}",
        str(CLOSED_TOKENS),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if ahead:
                os.sched_setscheduler(
                    process.pid, os.SCHED_RR, os.sched_param(1)
                )
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def replies(log: pathlib.Path) -> list[Reply]:
    rows = [
        line.split()
        for line in log.read_text(encoding="ascii").splitlines()
    ]
    return [Reply(prefix, *map(int, numbers)) for prefix, *numbers in rows]


def run(
    program: pathlib.Path,
    folder: pathlib.Path,
    case: Case,
    options: list[str],
    tokens: int,
    ahead: bool = False,
) -> tuple[dict, list[dict], list[Reply], float]:
    """bench.py against the server: its level, its requests on the server's clock, the server's
    log, its CPU seconds.
    """
    log, path = folder / "server.log", folder / "results.db"
    path.unlink(missing_ok=True)
    timing = case.gap_ms, case.spread_ms
    with server(program, log, *timing, ahead) as url:
        code, cpu_s = run_timed(
            [
                sys.executable,
                str(ROOT / "bench.py"),
                str(case.levels),
                "--host",
                url,
                "--model",
                MODEL,
                "--tokens",
                str(tokens),
                "--idle",
                "0",
                "--cooldown",
                "0",
                "--plain",
                "--db",
                str(path),
                *options,
            ],
            stdout=subprocess.DEVNULL,
        )
    if code:
        sys.exit(f"bench_load.py: bench.py ended with {code}")
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        level = dict(
            database.execute(
                "SELECT * FROM level_summary JOIN level ON level.id = level_id JOIN run ON "
                "run.id = level.run_id"
            ).fetchone()
        )
        requests = [
            dict(row)
            for row in database.execute(
                "SELECT * FROM request WHERE status = 'completed'"
            )
        ]
    return (
        level,
        requests,
        [reply for reply in replies(log) if reply.tokens == tokens],
        cpu_s,
    )


def run_timed(command: list[str], **options) -> tuple[int, float]:
    """Run a client to its end: its exit code, and the CPU seconds of it and its children."""
    process = subprocess.Popen(command, **options)
    alarm = threading.Timer(PATIENCE_S, process.kill)
    alarm.start()
    _, status, used = os.wait4(process.pid, 0)
    alarm.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


def measure(
    program: pathlib.Path,
    folder: pathlib.Path,
    case: Case,
    wanted: argparse.Namespace,
) -> str:
    """One line of the table: medians of some runs."""
    rows = [
        figures(
            case, *run(program, folder, case, case.options, case.tokens)
        )
        for _ in range(wanted.runs)
    ]
    short = dataclasses.replace(case, options=shorter(case.options))
    _, _, log, cpu_s = run(
        program,
        folder,
        short,
        short.options,
        case.tokens if case.options else case.tokens // 3,
    )
    middle = {
        name: statistics.median(row[name] for row in rows)
        if rows[0][name] is not None
        else None
        for name in rows[0]
        if name != "why"
    }
    more = middle["tokens"] - sum(reply.tokens for reply in log)
    middle["cpu_s_per_million_tokens"] = (
        (middle["cpu_s"] - cpu_s) * 1e6 / more if more > 0 else None
    )
    return line(case.name, middle) + "".join(
        f"\n    {why}"
        for why in dict.fromkeys(row["why"] for row in rows)
        if why
    )


def shorter(options: list[str]) -> list[str]:
    """The same for a third of the time."""
    place = (
        options.index("--duration") + 1
        if "--duration" in options
        else None
    )
    return [
        f"{float(part) / 3:g}" if number == place else part
        for number, part in enumerate(options)
    ]


def figures(
    case: Case,
    level: dict,
    requests: list[dict],
    log: list[Reply],
    cpu_s: float,
) -> dict:
    """What was reported, and what the server knows."""
    by_prefix = {reply.prefix: reply for reply in log}
    origin_ns = zero_of(requests, by_prefix)
    pairs = [
        (row, by_prefix[row["prefix"].strip("[]")]) for row in requests
    ]
    ttft = [
        row["ttft_s"] * 1e3 - (reply.first_ns - reply.read_ns) / 1e6
        for row, reply in pairs
    ]
    found = {
        "tokens": sum(reply.tokens for reply in log),
        "cpu_s": cpu_s,
        "why": level["client_limited_why"]
        if level["client_limited"]
        else None,
        "in_flight": None,
        "gap_p50_ms": None,
        "gap_p99_ms": None,
        "late_p99_ms": None,
        "tokens_per_s_ratio": None,
        "ttft_mean_ms": statistics.fmean(ttft),
        "ttft_p99_ms": percentile([abs(value) for value in ttft], 99),
    }
    if level["load"] == "open":
        late_ms = [
            (reply.read_ns - origin_ns - row["due_ns"]) / 1e6
            for row, reply in pairs
        ]
        return found | {"late_p99_ms": percentile(late_ms, 99)}
    found["tokens_per_s_ratio"] = level[
        "output_tokens_per_s"
    ] / true_tokens_per_s(log)
    if level["load"] == "closed":
        found |= {
            "in_flight": in_flight(log, case.levels) / case.levels,
            "gap_p50_ms": level["client_send_lag_p50_s"] * 1e3,
            "gap_p99_ms": level["client_send_lag_p99_s"] * 1e3,
        }
    return found


def true_tokens_per_s(log: list[Reply]) -> float:
    tokens = sum(reply.tokens for reply in log)
    first_ns = min(reply.read_ns for reply in log)
    return tokens * 1e9 / (max(reply.last_ns for reply in log) - first_ns)


def zero_of(requests: list[dict], by_prefix: dict[str, Reply]) -> int:
    """The run's zero on the server's clock: the median of written minus noted, too early by a
    token's way, some 10 us.
    """
    return statistics.median_low(
        [
            by_prefix[row["prefix"].strip("[]")].first_ns
            - row["first_text_ns"]
            for row in requests
        ]
    )


def in_flight(log: list[Reply], streams: int) -> float:
    """Streams that the server had, mean: from when the last of the first requests was read until
    the last of all was.
    """
    reads = sorted(reply.read_ns for reply in log)
    start, end = reads[streams - 1], reads[-1]
    return sum(
        max(0, min(reply.last_ns, end) - max(reply.read_ns, start))
        for reply in log
    ) / (end - start)


def percentile(values: list[float], percent: int) -> float:
    """Nearest rank."""
    return sorted(values)[(percent * len(values) + 99) // 100 - 1]


COLUMNS = (
    ("in_flight", 10, ".1%"),
    ("tokens_per_s_ratio", 10, ".2%"),
    ("gap_p50_ms", 8, ".2f"),
    ("gap_p99_ms", 8, ".2f"),
    ("late_p99_ms", 8, ".2f"),
    ("ttft_mean_ms", 8, ".2f"),
    ("ttft_p99_ms", 8, ".2f"),
    ("cpu_s_per_million_tokens", 7, ".1f"),
)
HEADING = (
    "                IN FLIGHT  TOKENS/S  GAP, ms          LATE     TTFT ERROR, ms   CPU\n"
    "LOAD          at server  reported     p50     p99     p99    mean     p99    s/M"
)


def line(name: str, row: dict) -> str:
    cells = "".join(
        f"{'-' if row[figure] is None else format(row[figure], layout):>{width}}"
        for figure, width, layout in COLUMNS
    )
    return f"{name:<13}{cells}"


def other_client(
    program: pathlib.Path, folder: pathlib.Path, wanted: argparse.Namespace
) -> str:
    """What the server had of any other client."""
    log = folder / "server.log"
    with server(program, log, 1000 / wanted.rate, SPREAD_MS) as url:
        command = [
            part.format(url=url, streams=wanted.streams, model=MODEL)
            for part in shlex.split(wanted.client)
        ]
        code, cpu_s = run_timed(command)
        time.sleep(0.5)
    found = replies(log)
    most = max((reply.tokens for reply in found), default=0)
    # without warm-ups of other lengths
    found = [reply for reply in found if reply.tokens == most]
    if len(found) <= wanted.streams:
        return f"exit code {code}; the server had {len(found)} replies: too few to say more"
    return json.dumps(
        {
            "exit_code": code,
            "replies": len(found),
            "tokens": sum(reply.tokens for reply in found),
            "in_flight_ratio": round(
                in_flight(found, wanted.streams) / wanted.streams, 4
            ),
            "cpu_s": round(cpu_s, 1),
        }
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_load.py", description="Is a load what it says it is?"
    )
    add = parser.add_argument
    add(
        "--seconds",
        type=float,
        default=30.0,
        help="of a closed loop (default %(default)g)",
    )
    add(
        "--runs",
        type=int,
        default=1,
        help="of each; the median is shown (default %(default)s)",
    )
    add(
        "--only", metavar="NAME", help="one line of the table, e.g. 256x50"
    )
    add(
        "--client",
        metavar="COMMAND",
        help="any other client, with {url}, {streams} and {model}",
    )
    add(
        "--streams",
        type=int,
        default=64,
        help="of the other client (default %(default)s)",
    )
    add(
        "--rate",
        type=float,
        default=50.0,
        help="tokens/s of a stream of the other client (default %(default)g)",
    )
    wanted = parser.parse_args(argv)
    slowest = min(rate for _, rate in CLOSED)
    reply_s = CLOSED_TOKENS / slowest + (TTFT_MS + SPREAD_MS) / 1e3
    if wanted.seconds <= reply_s:
        parser.error(
            f"invalid --seconds '{wanted.seconds:g}': "
            f"expected more than a reply takes, {reply_s:g}"
        )
    return wanted


if __name__ == "__main__":
    sys.exit(main())
