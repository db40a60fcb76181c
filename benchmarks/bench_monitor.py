"""bench_monitor.py - what does watching cost? A monitor at work on a server of five processes.

    python benchmarks/bench_monitor.py               # or: make bench-monitor
    python benchmarks/bench_monitor.py --seconds 60

The load is the worst we know: one look a second, and powermetrics' documents of an M2 Ultra,
65 KB each, from the simulator. Fails above 3 % of one core. The sampler's own time is the
simulator's here and says nothing of powermetrics; a run on a Mac stores the real one.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

from ollama_bench.monitor import monitor  # noqa: E402
from ollama_bench.power.sources import find_sources
from ollama_bench.simulator import child  # noqa: E402
from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer

LIMIT_RATIO = 0.03  # of one core
POWERMETRICS = child.powermetrics_command(11434, 1000, "--chip", "ultra")
SERVER = """
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in
range(4)] sys.stdin.read() for child in children:
    child.communicate(b"\\n")
"""


def main(argv: list[str] | None = None) -> int:
    arguments = parse_args(argv)
    with server_of_five() as pid, tempfile.TemporaryDirectory() as folder:
        cost, rows, seconds = watch(
            pid, pathlib.Path(folder, "results.db"), arguments.seconds
        )
    monitor_ratio, process_ratio = (
        cost["monitor_cpu_s"] / seconds,
        cost["process_cpu_s"] / seconds,
    )
    print(
        f"{seconds:.1f} s at one look a second, {rows['power_sample']} documents, "
        f"{rows['process_sample']} looks at processes"
    )
    print(
        f"  monitor's threads    {monitor_ratio:6.2%} of one core (limit {LIMIT_RATIO:.0%})"
    )
    print(f"  with the writer      {process_ratio:6.2%}")
    print(
        f"  the sampler          {cost['sampler_cpu_s'] / seconds:6.2%} (the simulator's)"
    )
    return 0 if monitor_ratio <= LIMIT_RATIO else 1


@contextlib.contextmanager
def server_of_five():
    """The pid of a process with four children; they end with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE
    )
    try:
        time.sleep(1.0)  # for the children to be there
        yield process.pid
    finally:
        process.communicate()


def watch(
    pid: int, path: pathlib.Path, length_s: float
) -> tuple[dict, dict, float]:
    """CPU seconds spent, rows stored, and the seconds it took."""
    with Writer(path) as writer:
        origin_ns = time.perf_counter_ns()
        run_id = writer.insert(
            "run",
            {
                "source": "monitor",
                "status": "running",
                "started_unix": time.time(),
                "arguments": "{}",
                "tool_version": "benchmark",
            },
        )
        watching = monitor.Monitor(
            writer,
            run_id,
            origin_ns,
            pid=pid,
            sources=find_sources(powermetrics_command=POWERMETRICS),
        )
        before_s, begun_s = time.process_time(), time.monotonic()
        watching.start()
        time.sleep(length_s)
        cost = watching.stop()
        cost["process_cpu_s"], seconds = (
            time.process_time() - before_s,
            time.monotonic() - begun_s,
        )
    database = connect(path, readonly=True)
    rows = {
        table: database[table].count
        for table in ("power_sample", "process_sample")
    }
    database.conn.close()
    return cost, rows, seconds


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_monitor.py",
        description="what does watching cost? A monitor at work on a server of five processes.",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="how long to watch (%(default)s)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
