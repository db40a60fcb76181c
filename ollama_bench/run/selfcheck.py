"""selfcheck.py - how exact is this client on this machine? It is fired at a server that knows the truth.

    row = selfcheck.measure(64)               # 64 streams of 50 tokens/s for 3 s
    print("\\n".join(selfcheck.table([row])))

The server is the simulator as a process of its own: it notes when it read each request and when it
wrote each token, on the same clock (time.perf_counter_ns is one for all processes here). An
error is what the client reports minus what the server noted, so it holds the network and
the server's own lateness in reading as well: the client is at least so exact.
"""
from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from ollama_bench.protocols import api
from ollama_bench.load import load
from ollama_bench.load import tally
from ollama_bench.simulator import child

MODEL = "deepseek-r1:7b"  # the simulator's; it makes no difference here
TTFT_MS = 300  # long enough for every request of a burst to be read before the first token
MOST_TOKENS = 1_000_000  # of a reply; each request asks for what it wants
LOG_PATIENCE_S = 10.0  # the simulator writes its log once nothing streams
END_PATIENCE_S = 10.0

HEADING = ("           TTFT ERROR, ms   ITL ERROR   SEND    READ        SERVER'S\n"
           "  STREAMS    mean     p99     p99 ms   SKEW     LAG    CPU   ERROR ms   TOKENS")


class CannotCheck(Exception):
    """The check cannot be made; str() is one line for the user."""


def measure(concurrency: int, tokens_per_s: float = 50, seconds: float = 3, kernel_stamps: bool = True,
            protocol: str = "ollama") -> dict:
    """Fire one burst at a simulator and compare. Raises CannotCheck.

    Errors are reported minus true; p99 is of their absolute values. The keys end in their
    unit; ``schedule_error_p99_s`` is how late the simulator itself wrote its tokens.
    """
    tokens = max(2, int(tokens_per_s * seconds))
    with Witness(1000 / tokens_per_s) as witness:
        level = fire(witness.url, concurrency, tokens, api.SERVERS[protocol], load.Limits(kernel_stamps=kernel_stamps))
        truth = witness.truth(concurrency)
    streams = {o.task.prefix: (o.sent_ns, o.chunk_ns) for o in level.outcomes if o.status == "completed"}
    if len(streams) < concurrency:
        failed = next(o for o in level.outcomes if o.status != "completed")
        raise CannotCheck(f"{concurrency - len(streams)} of {concurrency} requests to the simulator failed: {failed.status}: {failed.error}")
    figures = level.client_figures()
    return {"concurrency": concurrency, **errors(streams, truth),
            "read_lag_p99_s": figures["client_read_lag_p99_s"], "read_lag_source": figures["client_read_lag_source"],
            "stamps": figures["client_stamps"], "cpu_ratio": figures["client_cpu_ratio"]}


def fire(url: str, concurrency: int, tokens: int, protocol, limits: load.Limits) -> load.Load:
    """A level of so many streams, fired as any other."""
    def task(number: int) -> load.Task:
        prefix = f"[{number}]"
        return load.Task(number, protocol, url + protocol.path, protocol.body(MODEL, f"{prefix} check", tokens), prefix=prefix)

    level = load.Load(task, limits, workers=concurrency)
    level.run()
    return level


class Witness:
    """The simulator as a process: exact timing, and a log of what it really did."""

    def __init__(self, itl_ms: float, ttft_ms: float = TTFT_MS) -> None:
        self._arguments = ["--profile", "exact", "--tokens", str(MOST_TOKENS), "--itl", str(itl_ms), "--ttft", str(ttft_ms)]

    def __enter__(self) -> "Witness":
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name, "sim.jsonl")
        self._process = subprocess.Popen(
            child.command("--port", "0", "--log", str(self._log), "--parent-pid", str(os.getpid()), *self._arguments),
            stdout=subprocess.PIPE, text=True, start_new_session=True,  # Ctrl-C is ours to handle
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # on Windows
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            self.__exit__()
            raise CannotCheck(f"the simulator did not start: {line.strip() or 'see above'}")
        self.url = line.split()[-1]
        self.pid = self._process.pid
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def truth(self, requests: int) -> list[dict]:
        """The records of that many requests, once all of them have ended. Raises CannotCheck."""
        until = time.monotonic() + LOG_PATIENCE_S
        while time.monotonic() < until:
            text = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
            lines = text[: text.rfind("\n") + 1].splitlines()  # one that is being written is not there yet
            if len(lines) >= requests:
                return [json.loads(line) for line in lines]
            time.sleep(0.05)
        raise CannotCheck(f"the simulator logged {len(lines)} of {requests} requests")


def errors(streams: dict[str, tuple[int, list[int]]], truth: list[dict]) -> dict:
    """Reported minus true of streams (prefix: t0 and instants of the chunks), joined by their prompts' prefix.

    The clock of both is the same, so that ``lag`` (noted minus written; ``first_lag`` of first
    tokens) can be told from the rest of the TTFT's error: the request's way to the server.
    """
    ttft, first_lag, itl, reported_itl, true_itl, lag, late = [], [], [], [], [], [], []
    for record in truth:
        sent_ns, at_ns = streams.get(record["prompt_prefix"].split(" ")[0], (None, ()))
        written_ns = record["writes_ns"]
        if sent_ns is None or len(at_ns) != len(written_ns):
            continue
        ttft.append((at_ns[0] - sent_ns) - (written_ns[0] - record["read_ns"]))
        first_lag.append(at_ns[0] - written_ns[0])
        lag += map(int.__sub__, at_ns, written_ns)
        late += map(int.__sub__, written_ns, record["due_ns"])
        reported, true = gaps(at_ns), gaps(written_ns)
        itl += map(int.__sub__, reported, true)
        reported_itl += reported
        true_itl += true
    if not itl:
        raise CannotCheck("no stream of the simulator's log was found among the client's")
    sent = [sent_ns for sent_ns, _ in streams.values()]
    return {**spread("ttft_error", ttft), **spread("first_lag", first_lag), **spread("itl_error", itl), **spread("lag", lag),
            "itl_p99_shift_s": (percentile(reported_itl, 99) - percentile(true_itl, 99)) / 1e9,
            "send_skew_s": (max(sent) - min(sent)) / 1e9,
            "schedule_error_p99_s": percentile(late, 99) / 1e9, "streams": len(ttft), "tokens": len(lag)}


def gaps(at_ns) -> list[int]:
    """The time between each and the next."""
    return [after - before for before, after in itertools.pairwise(at_ns)]


def spread(name: str, values_ns: list[int]) -> dict:
    """Mean of the values, p99 and largest of their absolute values, seconds."""
    sizes = [abs(value) for value in values_ns]
    return {f"{name}_mean_s": sum(values_ns) / len(values_ns) / 1e9, f"{name}_p99_s": percentile(sizes, 99) / 1e9,
            f"{name}_max_s": max(sizes) / 1e9}


def percentile(values: list[int], percent: int) -> int:
    """Nearest rank."""
    return tally.nearest_rank(sorted(values), percent)


def table(rows: list[dict]) -> list[str]:
    """The rows of ``measure`` as lines of at most 80 columns; times in milliseconds."""
    def ms(seconds: float | None, width: int) -> str:
        return f"{'-' if seconds is None else format(seconds * 1e3, '.2f'):>{width}}"

    lines = HEADING.split("\n")
    for row in rows:
        lines.append(f"{row['concurrency']:>9}{ms(row['ttft_error_mean_s'], 8)}{ms(row['ttft_error_p99_s'], 8)}"
                     f"{ms(row['itl_error_p99_s'], 11)}{ms(row['send_skew_s'], 7)}{ms(row['read_lag_p99_s'], 8)}"
                     f"{row['cpu_ratio']:>7.0%}{ms(row['schedule_error_p99_s'], 11)}{row['tokens']:>9}")
    return lines
