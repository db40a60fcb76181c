"""Measure this client's own error against a simulator that logs each write.

The server is the simulator as a child process: it notes when it read each request and when it
wrote each token, on the same clock (time.perf_counter_ns is one for all processes here). An
error is what the client reports minus what the server noted, so it contains the network and the
server's own lateness in reading as well: the client is at least so exact.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ollama_bench.load.load import Load
from ollama_bench.load.request import Limits, Task
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.protocols.protocol import ServerProtocol
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.error import RunError
from ollama_bench.simulator import child
from ollama_bench.statistics.percentiles import nearest_rank

MODEL = "deepseek-r1:7b"  # the simulator's; it makes no difference here
# every request of a burst is read before the first token is written
TTFT_MS = 300
# a reply may have a million tokens: each request asks for what it wants
EXACT = ("--profile", "exact", "--tokens", "1000000")
LOG_PATIENCE_S = 10.0  # the simulator writes its log once nothing streams
LOOK_EVERY_S = 0.05

HEADING = (
    "           TTFT ERROR, ms   ITL ERROR   SEND    READ        SERVER'S",
    "  STREAMS    mean     p99     p99 ms   SKEW     LAG    CPU   ERROR ms   TOKENS",
)

Stream = tuple[int, Sequence[int]]  # t0 and the instants of the chunks, ns
Figures = dict[str, Any]


class SelfCheckError(RunError):
    """The check failed; str() is one line for the user."""


def measure(
    concurrency: int,
    tokens_per_s: float = 50,
    seconds: float = 3,
    kernel_stamps: bool = True,
    protocol: str = OLLAMA,
) -> Figures:
    """Send one burst to a simulator and compare. Raises SelfCheckError.

    Errors are reported minus true; p99 is of their absolute values. The keys end in their
    unit; ``schedule_error_p99_s`` is how late the simulator itself wrote its tokens.
    """
    tokens = max(2, int(tokens_per_s * seconds))
    limits = Limits(kernel_stamps=kernel_stamps)
    with Witness(1000 / tokens_per_s) as witness:
        level = send_burst(
            witness.url, concurrency, tokens, PROTOCOLS[protocol], limits
        )
        truth = witness.truth(concurrency)
    streams = {
        outcome.task.prefix: (outcome.sent_ns, outcome.chunk_ns)
        for outcome in level.outcomes
        if outcome.status == "completed"
    }
    if len(streams) < concurrency:
        failed = next(
            outcome
            for outcome in level.outcomes
            if outcome.status != "completed"
        )
        raise SelfCheckError(
            f"{concurrency - len(streams)} of {concurrency} requests to the simulator failed: "
            f"{failed.status}: {failed.error}"
        )
    figures = level.client_figures()
    return {
        "concurrency": concurrency,
        **errors(streams, truth),
        "read_lag_p99_s": figures["client_read_lag_p99_s"],
        "read_lag_source": figures["client_read_lag_source"],
        "stamps": figures["client_stamps"],
        "cpu_ratio": figures["client_cpu_ratio"],
    }


def send_burst(
    url: str,
    concurrency: int,
    tokens: int,
    protocol: ServerProtocol,
    limits: Limits,
) -> Load:
    """Run a level of so many streams, as any other."""

    def task(number: int) -> Task:
        prefix = f"[{number}]"
        body = protocol.build_body(MODEL, f"{prefix} check", tokens)
        return Task(
            number, protocol, url + protocol.path, body, prefix=prefix
        )

    level = Load(task, limits, workers=concurrency)
    level.run()
    return level


class Witness:
    """The simulator as a child process: exact timing, and a log of what it really did."""

    def __init__(self, itl_ms: float, ttft_ms: float = TTFT_MS) -> None:
        self._timing = ["--itl", str(itl_ms), "--ttft", str(ttft_ms)]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Witness:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            self._log = Path(folder, "simulator.jsonl")
            arguments = ["--log", str(self._log), *EXACT, *self._timing]
            try:
                server = stack.enter_context(child.start(*arguments))
            except child.StartError as error:
                raise SelfCheckError(str(error)) from None
            self.url, self.pid = server.url, server.pid
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def truth(self, requests: int) -> list[Figures]:
        """Return the log of that many requests once all have ended. Raises SelfCheckError."""
        until_s = time.monotonic() + LOG_PATIENCE_S
        lines: list[str] = []
        while time.monotonic() < until_s:
            text = (
                self._log.read_text(encoding="utf-8")
                if self._log.exists()
                else ""
            )
            # the last one may be half written
            lines = text[: text.rfind("\n") + 1].splitlines()
            if len(lines) >= requests:
                return [json.loads(line) for line in lines]
            time.sleep(LOOK_EVERY_S)
        raise SelfCheckError(
            f"the simulator logged {len(lines)} of {requests} requests"
        )


def errors(
    streams: Mapping[Any, Any], truth: Sequence[Figures]
) -> Figures:
    """Return reported minus true of streams (prefix -> Stream), joined by their prompts' prefix.

    Both have the same clock, so that ``lag`` (noted minus written; ``first_lag`` of first
    tokens) can be told from the rest of the TTFT's error: the request's way to the server.
    """
    found = Errors()
    for record in truth:
        sent_ns, at_ns = streams.get(
            record["prompt_prefix"].split(" ")[0], (None, ())
        )
        if sent_ns is not None and len(at_ns) == len(record["writes_ns"]):
            found.add(sent_ns, at_ns, record)
    if not found.itl:
        raise SelfCheckError(
            "no stream of the simulator's log was found among the client's"
        )
    sent = [sent_ns for sent_ns, _ in streams.values()]
    shift_ns = percentile(found.reported_itl, 99) - percentile(
        found.true_itl, 99
    )
    return {
        **spread("ttft_error", found.ttft),
        **spread("first_lag", found.first_lag),
        **spread("itl_error", found.itl),
        **spread("lag", found.lag),
        "itl_p99_shift_s": shift_ns / 1e9,
        "send_skew_s": (max(sent) - min(sent)) / 1e9,
        "schedule_error_p99_s": percentile(found.late, 99) / 1e9,
        "streams": len(found.ttft),
        "tokens": len(found.lag),
    }


class Errors:
    """The errors of each stream and token, ns."""

    def __init__(self) -> None:
        self.ttft: list[int] = []
        self.first_lag: list[int] = []
        self.itl: list[int] = []
        self.reported_itl: list[int] = []
        self.true_itl: list[int] = []
        self.lag: list[int] = []
        self.late: list[int] = []

    def add(
        self, sent_ns: int, at_ns: Sequence[int], record: Figures
    ) -> None:
        written_ns = record["writes_ns"]
        reported_ttft, true_ttft = (
            at_ns[0] - sent_ns,
            written_ns[0] - record["read_ns"],
        )
        self.ttft.append(reported_ttft - true_ttft)
        self.first_lag.append(at_ns[0] - written_ns[0])
        self.lag += map(int.__sub__, at_ns, written_ns)
        self.late += map(int.__sub__, written_ns, record["due_ns"])
        reported, true = gaps(at_ns), gaps(written_ns)
        self.itl += map(int.__sub__, reported, true)
        self.reported_itl += reported
        self.true_itl += true


def gaps(at_ns: Sequence[int]) -> list[int]:
    """Return the time between each instant and the next."""
    return [after - before for before, after in itertools.pairwise(at_ns)]


def spread(name: str, values_ns: list[int]) -> dict[str, float]:
    """Return the mean of the values, p99 and largest of their absolute values, in seconds."""
    sizes = [abs(value) for value in values_ns]
    return {
        f"{name}_mean_s": sum(values_ns) / len(values_ns) / 1e9,
        f"{name}_p99_s": percentile(sizes, 99) / 1e9,
        f"{name}_max_s": max(sizes) / 1e9,
    }


def percentile(values: list[int], percent: int) -> int:
    """Return the nearest-rank percentile."""
    return nearest_rank(sorted(values), percent)


def table(rows: Sequence[Figures]) -> list[str]:
    """Return the rows of ``measure`` as lines of at most 80 columns; times in milliseconds."""
    lines = list(HEADING)
    for row in rows:
        lines.append(
            f"{row['concurrency']:>9}"
            + milliseconds(row["ttft_error_mean_s"], 8)
            + milliseconds(row["ttft_error_p99_s"], 8)
            + milliseconds(row["itl_error_p99_s"], 11)
            + milliseconds(row["send_skew_s"], 7)
            + milliseconds(row["read_lag_p99_s"], 8)
            + f"{row['cpu_ratio']:>7.0%}"
            + milliseconds(row["schedule_error_p99_s"], 11)
            + f"{row['tokens']:>9}"
        )
    return lines


def milliseconds(seconds: float | None, width: int) -> str:
    return f"{'-' if seconds is None else format(seconds * 1e3, '.2f'):>{width}}"
