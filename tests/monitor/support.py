"""What the tests of the monitor share: a stand-in for powermetrics, processes to watch, sources."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
import types

import psutil
import pytest

from ollama_bench.monitor.monitor import Monitor
from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer
from tests.power.documents import TEXT_11 as TEXT_11
from tests.power.documents import document as document

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0  # for something to happen on a loaded machine
posix = pytest.mark.skipif(
    os.name != "posix", reason="needs a POSIX shell"
)

FAKE = """
import os, sys, time
while time.process_time() < 0.05:
    pass  # so that it has a CPU time: clocks tick each 0.01 s
folder, mode, samplers = sys.argv[1], sys.argv[2], sys.argv[4]
document = open(os.path.join(folder, "document"), "rb").read()
with open(os.path.join(folder, "starts"), "a") as starts:
    starts.write(samplers + "\\n")
start = len(open(os.path.join(folder, "starts")).readlines())

def send(elapsed_s=0.1, cpu=2000, cut=None):
    data = document.replace(b"2000000000", b"%d" % (elapsed_s * 1e9))
    data = data.replace(b">2000<", b">%d<" % cpu)
    sys.stdout.buffer.write((data + b"\\n\\0")[:cut])
    sys.stdout.buffer.flush()

if mode == "no_root":
    sys.exit("powermetrics must be invoked as the superuser")
if mode == "unrecognized" and "thermal" in samplers:
    sys.stderr.write("powermetrics: unrecognized sampler: thermal\\n")
    sys.exit(64)
if mode == "silent":
    time.sleep(60)
sys.stderr.write("Second underflow occured.\\n")
for number in range(600):
    time.sleep(0.1)
    if mode == "sleep" and number == 1:
        send(elapsed_s=30)
    elif mode == "damaged" and number == 1:
        sys.stdout.buffer.write(b"<?xml version='1.0'?><plist><dict></plist>")
    elif mode == "truncated" and number == 2:
        send(cut=200)
        break
    elif mode == "die" and number == 2 or mode == "die_once" and number == 2 and start == 1:
        sys.exit("died")
    elif mode == "stall" and number == 2 and start == 1:
        time.sleep(60)
    else:
        send(cpu=0 if mode == "zero_cpu" or mode == "slow_cpu" and number % 2 else 2000)
"""


class Watched:
    """A monitor at work, and what it stored and said."""

    def __init__(self, path, sources, options):
        self.path, self.said = path, []
        self.writer = Writer(path)
        self.run_id = self.writer.insert(
            "run",
            {
                "source": "bench",
                "status": "running",
                "started_unix": time.time(),
                "arguments": "{}",
                "tool_version": "test",
            },
        )
        self.monitor = Monitor(
            self.writer,
            self.run_id,
            time.perf_counter_ns(),
            sources=sources,
            say=self.said.append,
            **{"interval_s": 0.1, **options},
        )

    def rows(self, table, **where):
        self.writer.flush()
        database = connect(self.path, readonly=True)
        with contextlib.closing(database.conn):
            rows = list(database[table].rows)
        return [
            row
            for row in rows
            if all(row[column] == value for column, value in where.items())
        ]

    def until(self, condition):
        """Wait for condition() and return what it gave."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(
            f"nothing of the kind within {PATIENCE_S} s; said: {self.said}"
        )

    def samples(self, count):
        return self.until(
            lambda: (
                len(rows := self.rows("power_sample")) >= count and rows
            )
        )


class Told:
    """An interval source whose samples a test hands to its track."""

    name, device, kind, scope = "powermetrics", "soc", "interval", None
    status, dropped, interval_s = "ok", 0, 0.3

    def stop(self):
        pass


def tell(track, number, cpu_j):
    """The sample from number to number + 1 tenths of a second."""
    track.keep(
        {
            "start_ns": number * 10**8,
            "end_ns": (number + 1) * 10**8,
            "energy_j": 1.0 + cpu_j,
            "gpu_energy_j": 1.0,
            "cpu_energy_j": cpu_j,
        }
    )


def told(watch, *values, **columns):
    """Keep samples of a second, each (GPU's joules, its busy share).

    Return what is stored of them, and the Watched.
    """
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    track.interval_s = 1.0
    for number, (gpu_j, busy) in enumerate(values):
        known = {}
        if gpu_j is not None:
            known = {
                "energy_j": 2.0 + gpu_j,
                "gpu_energy_j": gpu_j,
                "cpu_energy_j": 2.0,
            }
        track.keep(
            {
                "start_ns": number * 10**9,
                "end_ns": (number + 1) * 10**9,
                "gpu_busy_ratio": busy,
                **known,
                **columns,
            }
        )
    track.release()
    return [
        (row["gpu_energy_j"], row["energy_j"])
        for row in watched.rows("power_sample")
    ], watched


class Counter:
    """A polled source; broken() makes it raise."""

    name, device, kind, scope, status, dropped = (
        "test",
        "gpu0",
        "counter",
        None,
        "ok",
        0,
    )

    def __init__(self):
        self.broken, self.last_ns, self.reads_ns = False, None, []

    def read(self, at_ns):
        if self.broken:
            raise RuntimeError("the driver fell over")
        self.reads_ns.append(at_ns)
        self.last_ns, last_ns = at_ns, self.last_ns
        return last_ns and {
            "start_ns": last_ns,
            "end_ns": at_ns,
            "energy_j": 1.0,
            "gpu_energy_j": 1.0,
        }

    def stop(self):
        pass


SERVE = """
while read -r word; do
  case $word in
    runner)
      (exec -a llama-server bash -c 'read -t 60 line <>wait' x --model blob --port 2 -np 7) &
      runner=$! ;;
    helper)
      (exec -a ollama bash -c 'read -t 60 line <>wait' x gpu-discover) &
      helper=$! ;;
    stop) kill $runner; wait $runner ;;
  esac
done
kill $runner $helper
"""


@contextlib.contextmanager
def ollama(folder):
    """Start `ollama serve` by its command line; yield the process and what sends it words."""
    (folder / "serve").write_text(SERVE)
    if not (folder / "wait").exists():
        os.mkfifo(folder / "wait")
    process = subprocess.Popen(
        ["ollama", "serve"],
        executable="/bin/bash",
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    def tell(word):
        process.stdin.write(f"{word}\n".encode())
        process.stdin.flush()

    try:
        yield process, tell
    finally:
        process.communicate()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


LISTENER = (
    "import socket, sys; server = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    "print(server.getsockname()[1], flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def listener(port=0):
    """A process that listens, and its port."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process, int(process.stdout.readline())
        process.communicate()


class Denied:
    """A process of another user, as Linux and macOS show it."""

    pid = 4711

    def __init__(self, all_of_it):
        self.all_of_it = all_of_it

    def oneshot(self):
        return contextlib.nullcontext()

    def status(self):
        if self.all_of_it:
            raise psutil.AccessDenied(self.pid)
        return psutil.STATUS_RUNNING

    def cpu_times(self):
        return types.SimpleNamespace(user=1.0, system=0.5)

    def memory_info(self):
        return psutil.Process().memory_info()

    def num_threads(self):
        return 7

    def num_fds(self):
        raise psutil.AccessDenied(self.pid)


def only_row(path, table):
    database = connect(path, readonly=True)
    with contextlib.closing(database.conn):
        (row,) = database[table].rows
    return row


def run_monitor(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "monitor.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


FORKING = (
    "import os, sys; child = os.fork(); child and print(child, flush=True);"
    "sys.stdin.read(); child and os.wait()"
)


@contextlib.contextmanager
def forking():
    """Yield a process that has forked, and the pid of its child."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process, int(process.stdout.readline())
        process.communicate()


class Rows:
    """A results file in memory: (table, row) in the order of their coming."""

    def __init__(self):
        self.all = []

    def insert(self, table, row):
        self.all.append((table, row))
        return len(self.all)

    def add(self, table, row):
        self.all.append((table, row))

    def update(self, table, row_id, changes):
        self.all.append((table, changes))
