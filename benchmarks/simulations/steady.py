"""Where a load that goes on is steady, and how near its throughput there is to the truth."""

from __future__ import annotations

import heapq
import random
from array import array
from collections.abc import Iterator

import numpy

from benchmarks.simulations import Finding, Simulation
from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.tally import Tally
from ollama_bench.protocols.ollama import Ollama
from ollama_bench.statistics.interactive_law import check_law
from ollama_bench.statistics.think_time import (
    DEFAULT_LAW,
    LAWS,
    Law,
    ThinkTime,
)

Draw = numpy.random.Generator
NS = 1e9
TRIALS = 200
LEVELS = 1000  # of people
SLOTS = 10
PREFILL_S = 3.0  # mean, between half and one and a half of it
RATE = 12.0  # tokens/s of a stream
TOKENS = 100  # mean of a reply, log-normal
SPREAD = 0.6
Reply = tuple[float, list[float]]  # when it was asked, and its tokens


def true_rate() -> float:
    """Return the tokens/s of a server whose slots are never idle."""
    return SLOTS * TOKENS / (PREFILL_S + (TOKENS - 1) / RATE)


def live(draw: Draw, until_s: float) -> list[Reply]:
    """Return the replies of a closed loop that fills the slots, and sends until then."""
    replies, due = [], [0.0] * SLOTS
    while due:
        asked = heapq.heappop(due)
        if asked >= until_s:
            continue
        mean = numpy.log(TOKENS) - SPREAD**2 / 2
        tokens = max(2, round(draw.lognormal(mean, SPREAD)))
        first = asked + PREFILL_S * draw.uniform(0.5, 1.5)
        times = [first + place / RATE for place in range(tokens)]
        replies.append((asked, times))
        heapq.heappush(due, times[-1])
    return replies


def measure_rate(
    replies: list[Reply], start_s: float, end_s: float
) -> float:
    """Return the tokens/s in a stretch of time."""
    tokens = sum(
        start_s < at <= end_s for _, times in replies for at in times
    )
    return tokens / (end_s - start_s)


def find_steady(replies: list[Reply]) -> tuple[float, float]:
    """Return the steady part as the tool finds it, in seconds."""
    tally, protocol = Tally(), Ollama()
    for asked, times in sorted(replies, key=lambda reply: reply[1][-1]):
        tally.add(
            Outcome(
                Task(1, protocol, "", {}),
                "completed",
                sent_ns=int(asked * NS),
                chunk_ns=array("q", [int(at * NS) for at in times]),
                ended_ns=int(times[-1] * NS),
            )
        )
    found = tally.find_steady_window(0)
    assert found is not None
    return found[0] / NS, found[1] / NS


def simulate_window(draw: Draw) -> Iterator[Finding]:
    """Compare the throughput of the steady part with that from the start on, and the truth."""
    for until_s in (20.0, 40.0, 80.0):
        whole, steady = [], []
        for _ in range(TRIALS):
            replies = live(draw, until_s)
            last = max(asked for asked, _ in replies)
            whole.append(measure_rate(replies, 0.0, last) / true_rate())
            part = find_steady(replies)
            steady.append(measure_rate(replies, *part) / true_rate())
        yield Finding(
            f"off the true tokens/s on average, {until_s:g} s from the start on",
            abs(float(numpy.mean(whole)) - 1),
            TRIALS,
        )
        yield Finding(
            f"off the true tokens/s on average, steady part of {until_s:g} s",
            abs(float(numpy.mean(steady)) - 1),
            TRIALS,
            at_most=0.03,
        )


def simulate_people(draw: Draw) -> Iterator[Finding]:
    """Hold people against the interactive law: all of them, and one in ten missing."""
    for count, missing, law in (
        *((people, 0, law) for people in (1, 4, 19) for law in LAWS),
        (20, 2, DEFAULT_LAW),
    ):
        said = 0
        for _ in range(LEVELS):
            cycles = think_and_read(draw, count - missing, law)
            found = check_law(count, 400.0, cycles)
            said += found is not None and not found.low <= 1 <= found.high
        yield Finding(
            f"law broken, {count} people, {law}, {missing} of them missing",
            said / LEVELS,
            LEVELS,
            at_least=0.8 if missing else 0.0,
            at_most=1.0 if missing else 0.05,
        )


def think_and_read(draw: Draw, people: int, law: Law) -> list[float]:
    """Return the cycles that end between 100 and 500 s: 30 s of thinking, 5 s of reading."""
    think_time = ThinkTime(30.0, law)
    cycles = []
    for _ in range(people):
        own = random.Random(int(draw.integers(1 << 60)))
        left_s, think_s = think_time.draw_under_way(own)
        end, begun = 0.0, think_s - left_s
        while end < 500.0:
            cycle = think_s + own.expovariate(1 / 5.0)
            end += cycle - begun
            if 100.0 < end <= 500.0:
                cycles.append(cycle)
            think_s, begun = think_time.draw(own), 0.0
    return cycles


SIMULATIONS = (
    Simulation("steady part of a closed loop", simulate_window),
    Simulation(
        "people = requests/s x (response + think time)", simulate_people
    ),
)
