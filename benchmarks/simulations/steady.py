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
    """Hold people against the interactive law: all of them, and one in ten missing.

    From 100 to 500 s of a level whose people think 30 s and read 5, and the first 60 s of one
    whose people think 6 s and read 3.
    """
    late, early = ((100.0, 500.0), 30.0, 5.0), ((0.0, 60.0), 6.0, 3.0)
    for part, people, missing, law in (
        *((late, people, 0, law) for people in (1, 4, 19) for law in LAWS),
        *(
            (early, people, 0, law)
            for people in (1, 4, 19)
            for law in LAWS
        ),
        (late, 20, 2, DEFAULT_LAW),
    ):
        said, ratios = 0, []
        (start_s, end_s), _, _ = part
        for _ in range(LEVELS):
            seen = think_and_read(draw, people - missing, law, *part)
            found = check_law(people, end_s - start_s, *seen)
            if found is not None:
                ratios.append(found.ratio)
                said += not found.low <= 1 <= found.high
        name = f"{people} people, {law}, {missing} of them missing, from {start_s:g} s"
        yield Finding(
            f"law broken, {name}",
            said / LEVELS,
            LEVELS,
            at_least=0.8 if missing else 0.0,
            at_most=1.0 if missing else 0.05,
        )
        if not missing:
            yield Finding(
                f"law off 1 in the median, {name}",
                abs(float(numpy.median(ratios)) - 1),
                LEVELS,
                at_most=0.01,
            )


def think_and_read(
    draw: Draw,
    people: int,
    law: Law,
    part_s: tuple[float, float],
    think_s: float,
    read_s: float,
) -> tuple[list[float], float, list[float]]:
    """Return the cycles that end in a part of a level, and what passed at its edges."""
    think_time = ThinkTime(think_s, law)
    start_s, end_s = part_s
    cycles, before_s, since_s = [], 0.0, []
    for _ in range(people):
        own = random.Random(int(draw.integers(1 << 60)))
        left_s, thought_s = think_time.draw_under_way(own)
        last, end, begun = None, 0.0, thought_s - left_s
        while end < end_s:
            cycle = thought_s + own.expovariate(1 / read_s)
            end += cycle - begun
            if start_s < end <= end_s:
                last = end
                cycles.append(cycle)
                before_s += max(0.0, cycle - (end - start_s))
            thought_s, begun = think_time.draw(own), 0.0
        if last is not None:
            since_s.append(end_s - last)
    return cycles, before_s, since_s


SIMULATIONS = (
    Simulation("steady part of a closed loop", simulate_window),
    Simulation(
        "people = requests/s x (response + think time)", simulate_people
    ),
)
