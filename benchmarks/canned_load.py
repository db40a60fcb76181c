"""A load that asks nobody: its requests have ended before it begins."""

from __future__ import annotations

import time
from array import array

from ollama_bench.load.load import Load
from ollama_bench.load.request import Limits, Outcome, Task
from ollama_bench.protocols.chunks import StreamSummary
from ollama_bench.protocols.ollama import Ollama

GAP_NS = 1_000_000


class CannedLoad(Load):
    """So many requests with so many chunks each, told as fast as the observer takes them."""

    def __init__(
        self,
        requests: int,
        chunks: int,
        wait_s: float,
        interrupt,
        part,
        gate,
    ):
        self._tasks = [
            Task(number, Ollama(), "", {"model": "canned"}, prefix="[0]")
            for number in range(1, part.count(requests) + 1)
        ]
        super().__init__(
            lambda number: self._tasks[number - 1],
            Limits(),
            len(self._tasks),
            planned=len(self._tasks),
            interrupt=interrupt,
            gate=gate,
        )
        self._chunks, self._wait_s = chunks, wait_s

    def run(self, observer=None):
        self.spec.gate()
        self.result.started_ns = start_ns = time.perf_counter_ns()
        for task in self._tasks:
            observer.begun(task)
            outcome = Outcome(task, "completed", 200, sent_ns=start_ns)
            outcome.summary = StreamSummary(output_tokens=self._chunks)
            # which stays as this clock showed it, for bench_clock.py
            outcome.summary.server_total_ns = start_ns
            outcome.chunk_ns = array(
                "q",
                range(
                    start_ns,
                    start_ns + self._chunks * GAP_NS,
                    GAP_NS,
                ),
            )
            outcome.chunk_is_reasoning = bytearray(self._chunks)
            outcome.read_lags_ns = array("q", [0]) * self._chunks
            outcome.ended_ns = outcome.chunk_ns[-1]
            observer.ended(outcome)
            observer.tick(self.result)
        time.sleep(self._wait_s)
        self.result.ended_ns = time.perf_counter_ns()
        return self.result


def make_canned(
    requests: int, chunks: int, wait_s: float, *, interrupt, part, gate
) -> CannedLoad:
    """Return the load of a part; each stays for wait_s when all has ended."""
    return CannedLoad(requests, chunks, wait_s, interrupt, part, gate)
