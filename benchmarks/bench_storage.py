"""bench_storage.py - how long storing and reading take at size, and how much room a chunk needs.

    # or: make bench-storage; two to three minutes
    python benchmarks/bench_storage.py
    python benchmarks/bench_storage.py --only views help  # of: level, views, analysis, help

Each line has a limit that we hold ourselves to; the exit code is 1 when one is passed. The level
comes from a simulator through bench.py. The larger files are made up and stored by db.Writer.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

import bench  # noqa: E402
from ollama_bench.run import selfcheck  # noqa: E402
from ollama_bench.run.level_recorder import LevelRecorder  # noqa: E402
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import TOOL_VERSION
from ollama_bench.storage.writer import Writer

# a deep level of long answers: 384,000 chunks in 30 s
STREAMS, TOKENS, RATE = 256, 1500, 50
VIEW_CHUNKS, ANALYSIS_CHUNKS = 1_000_000, 5_000_000
# of a made-up level, and of one of its requests
REQUESTS, CHUNKS = 50, 1000
GAP_NS, JITTER_NS = 20_000_000, 4_000_000
COMMITTED_S, BYTES_A_CHUNK, VIEW_S, ANALYSIS_S, ANALYSIS_BYTES, HELP_S = (
    3.0,
    25,  # two of them its characters, for the playback
    0.5,
    60.0,
    1e9,
    0.3,
)  # the limits
POLL_S = 0.02  # how often a process is asked for its memory
MB = 1e6


def main(argv: list[str] | None = None) -> int:
    wanted = parse_args(argv)
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted.only:
            for line, value, limit in PARTS[name](pathlib.Path(folder)):
                kept.append(value <= limit)
                print(
                    f"{line:<58}{value:>9.3g}  limit {limit:<4g}{'' if kept[-1] else ' <-'}",
                    flush=True,
                )
    return 0 if all(kept) else 1


def level(folder: pathlib.Path):
    """A level through bench.py: from the end of its last stream until all of it is committed."""
    path, took_s = folder / "level.db", []
    with (
        selfcheck.Witness(1000 / RATE) as witness,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        noting_close(took_s),
    ):
        code = bench.main(
            [
                str(STREAMS),
                "--host",
                witness.url,
                "--model",
                selfcheck.MODEL,
                "--tokens",
                str(TOKENS),
                "--idle",
                "0",
                "--cooldown",
                "0",
                "--db",
                str(path),
                "--plain",
            ]
        )
    if code:
        raise SystemExit(f"bench_storage.py: bench.py ended with {code}")
    yield (
        f"{STREAMS} x {TOKENS} chunks: last stream's end to commit, s",
        took_s[-1],
        COMMITTED_S,
    )
    yield "bytes a chunk on disk", bytes_a_chunk(path), BYTES_A_CHUNK


@contextlib.contextmanager
def noting_close(took_s: list[float]):
    """Note how long after the end of its last stream each level was stored."""
    real = LevelRecorder.close

    def close(recorder, ended, settings) -> None:
        real(recorder, ended, settings)
        took_s.append((time.perf_counter_ns() - ended.ended_ns) / 1e9)

    LevelRecorder.close = close
    try:
        yield
    finally:
        LevelRecorder.close = real


def bytes_a_chunk(path: pathlib.Path) -> float:
    """What the table takes: the file with it less the file without it."""
    connection = sqlite3.connect(path, isolation_level=None)
    # or the log would hold what is dropped
    connection.execute("PRAGMA journal_mode = DELETE")
    count = connection.execute("SELECT count(*) FROM chunk").fetchone()[0]
    before = path.stat().st_size
    connection.execute("DROP TABLE chunk")
    for (view,) in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'view'"
    ).fetchall():
        connection.execute(f"DROP VIEW [{view}]")
    connection.execute("VACUUM")
    connection.close()
    return (before - path.stat().st_size) / count


def count_rows(database, view: str) -> int:
    return sum(1 for _ in database.execute(f"SELECT * FROM [{view}]"))


def views(folder: pathlib.Path):
    """Every view of a file of a million chunks, read to its last row."""
    path = folder / "views.db"
    make_up(path, VIEW_CHUNKS)
    database = connect(path, readonly=True)
    took = {
        name: seconds_of(functools.partial(count_rows, database, name))
        for (name,) in database.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'view'"
        ).fetchall()
    }
    database.conn.close()
    slowest = max(took, key=took.get)
    yield (
        f"slowest of {len(took)} views at {VIEW_CHUNKS:,} chunks ({slowest}), s",
        took[slowest],
        VIEW_S,
    )


def analysis(folder: pathlib.Path):
    """analyze.py with charts and report."""
    path = folder / "analysis.db"
    make_up(path, ANALYSIS_CHUNKS)
    took_s, peak = watch(
        [
            sys.executable,
            str(ROOT / "analyze.py"),
            "--db",
            str(path),
            "--out",
            str(folder / "data"),
        ]
    )
    yield (
        f"analyze.py on {ANALYSIS_CHUNKS:,} chunks, s",
        took_s,
        ANALYSIS_S,
    )
    yield (
        "its processes' largest memory together, MB",
        peak / MB,
        ANALYSIS_BYTES / MB,
    )


def help_text(_folder: pathlib.Path):
    """The first thing that anybody asks."""
    command = [sys.executable, str(ROOT / "bench.py"), "--help"]
    took = [
        seconds_of(
            lambda: subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL
            )
        )
        for _ in range(5)
    ]
    yield (
        "bench.py --help, median of 5, s",
        statistics.median(took),
        HELP_S,
    )


PARTS = {
    "level": level,
    "views": views,
    "analysis": analysis,
    "help": help_text,
}


def make_up(
    path: pathlib.Path, chunks: int, requests: int = REQUESTS
) -> None:
    """A finished run with so many chunks: levels of rising concurrency, samples once a second.

    requests: of each level.
    """
    chance = random.Random(chunks)
    with Writer(path) as writer:
        run_id = writer.insert(
            "run",
            {
                "source": "bench",
                "status": "finished",
                "started_unix": 1_760_000_000.0,
                "simulated": 1,
                "arguments": "{}",
                "tool_version": TOOL_VERSION,
            },
        )
        target_id = writer.insert(
            "target",
            {
                "run_id": run_id,
                "host": "http://127.0.0.1:11434",
                "api": "ollama",
                "model": "made:up",
            },
        )
        now_ns = 0
        for number in range(1, chunks // (requests * CHUNKS) + 1):
            now_ns = make_up_level(
                writer,
                chance,
                run_id,
                target_id,
                number,
                now_ns,
                requests,
            )
        make_up_samples(writer, run_id, now_ns)


def make_up_level(
    writer: Writer,
    chance: random.Random,
    run_id: int,
    target_id: int,
    number: int,
    now_ns: int,
    requests: int,
) -> int:
    """Store one level; the instant of its end."""
    level_id = writer.insert(
        "level",
        {
            "run_id": run_id,
            "model": "made:up",
            "concurrency": number,
            "cache": "cold",
            "status": "finished",
            "started_ns": now_ns,
            "client_limited": 0,
            "itl_chunks": requests * (CHUNKS - 1),
            **{
                f"itl_{name}_s": GAP_NS / 1e9
                for name in ("mean", "p50", "p95", "p99", "max")
            },
        },
    )
    end_ns = now_ns
    for request in range(1, requests + 1):
        at_ns = [
            now_ns
            + number * GAP_NS
            + index * GAP_NS
            + chance.randrange(JITTER_NS)
            for index in range(CHUNKS)
        ]
        make_up_request(
            writer, level_id, target_id, request, now_ns, at_ns
        )
        end_ns = max(end_ns, at_ns[-1])
    writer.update("level", level_id, {"ended_ns": end_ns})
    return end_ns


def make_up_request(
    writer: Writer,
    level_id: int,
    target_id: int,
    number: int,
    sent_ns: int,
    at_ns: list[int],
) -> None:
    """Store one request and its chunks, which came at these instants."""
    request_id = writer.insert(
        "request",
        {
            "level_id": level_id,
            "target_id": target_id,
            "number": number,
            "status": "completed",
            "http_status": 200,
            "sent_ns": sent_ns,
            "first_byte_ns": at_ns[0],
            "first_text_ns": at_ns[0],
            "first_answer_ns": at_ns[0],
            "last_text_ns": at_ns[-1],
            "ended_ns": at_ns[-1],
            "chunks": CHUNKS,
            "reasoning_chunks": 0,
            "output_tokens": CHUNKS,
            "output_tokens_source": "server",
        },
    )
    writer.add_many(
        "chunk",
        ("request_id", "number", "at_ns", "is_reasoning"),
        [
            (request_id, place, instant, 0)
            for place, instant in enumerate(at_ns)
        ],
    )


def make_up_samples(writer: Writer, run_id: int, end_ns: int) -> None:
    """Power, machine and one process, once a second until the end."""
    source_id = writer.insert(
        "power_source",
        {
            "run_id": run_id,
            "name": "powermetrics",
            "device": "soc",
            "kind": "interval",
            "status": "ok",
        },
    )
    process_id = writer.insert(
        "process",
        {"run_id": run_id, "pid": 1, "role": "runner", "name": "made up"},
    )
    for at_ns in range(0, end_ns, 1_000_000_000):
        writer.add(
            "power_sample",
            {
                "source_id": source_id,
                "start_ns": at_ns,
                "end_ns": at_ns + 1_000_000_000,
                "energy_j": 20.0,
                "gpu_energy_j": 15.0,
                "cpu_energy_j": 5.0,
                "gpu_mhz": 1398.0,
                "gpu_busy_ratio": 0.9,
                "thermal": "Nominal",
            },
        )
        writer.add(
            "system_sample",
            {
                "run_id": run_id,
                "at_ns": at_ns,
                "cpu_ratio": 0.2,
                "memory_used_bytes": 1 << 33,
                "swap_used_bytes": 0,
            },
        )
        writer.add(
            "process_sample",
            {
                "process_id": process_id,
                "at_ns": at_ns,
                "cpu_ratio": 0.5,
                "rss_bytes": 1 << 32,
                "threads": 20,
            },
        )


def watch(command: list[str]) -> tuple[float, float]:
    """Seconds that a command took, and the most memory that it and its children held."""
    began, peak = time.monotonic(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error, OSError, RuntimeError):
            family = [process, *process.children(recursive=True)]
            held = sum(one.memory_info().rss for one in family)
            peak = max(peak, held)
        time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(
            f"bench_storage.py: {' '.join(command[1:])} ended with {process.returncode}"
        )
    return time.monotonic() - began, peak


def seconds_of(action) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_storage.py",
        description="how long storing and reading take at size, and how much room a chunk needs.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(PARTS),
        default=list(PARTS),
        metavar="PART",
        help=f"of {', '.join(PARTS)}: these alone",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
