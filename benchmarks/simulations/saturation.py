"""When an open loop is called saturated, of servers whose capacity is known.

Each is a queue before a number of slots, simulated event by event, with a reply that takes a
second on average. The tool looks as often as it does in a run; a level ends with its requests.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy

from benchmarks.simulations import Finding, Simulation
from benchmarks.simulations.levels import S, open_made_up
from ollama_bench.load.arrivals import gamma
from ollama_bench.load.queue_watch import FIRST, LOOK_RATIO
from ollama_bench.statistics.saturation import is_growing, measure_slope

TRIALS = 200
# samples of a level; a run takes more
SAMPLES = 2000
Random = numpy.random.Generator
Instants = numpy.ndarray


class Law(NamedTuple):
    """A server and what comes to it."""

    name: str
    slots: int
    arrival_cv: float
    # of the log-normal law of a reply's time; 0: all alike
    service_cv: float
    requests: int  # of a level that is to be called saturated
    is_exponential: bool = False
    is_promised: bool = True


LAWS = (
    Law("M/M/4", 4, 1.0, 1.0, 5000, is_exponential=True),
    Law("M/M/64", 64, 1.0, 1.0, 6000, is_exponential=True),
    Law("M/D/4", 4, 1.0, 0.0, 3000),
    Law("M/D/64", 64, 1.0, 0.0, 3000),
    Law("log-normal CV 0.6, 4 slots", 4, 1.0, 0.6, 4000),
    Law("log-normal CV 1, 16 slots", 16, 1.0, 1.0, 5000),
    # a few long replies hold the queue up: nothing is promised
    Law(
        "log-normal CV 1.5, 4 slots", 4, 1.0, 1.5, 6000, is_promised=False
    ),
    Law("bursts of CV 2, log-normal CV 0.6, 4 slots", 4, 2.0, 0.6, 12000),
)


SHORT_LAWS = (LAWS[0], LAWS[1], LAWS[3], LAWS[4])
SHORT_LEVEL = """
INSERT INTO level (id, run_id, model, concurrency, status, started_ns, load)
VALUES (?, 1, 'm', 1, 'finished', 0, 'open')"""
SHORT_REQUEST = """
INSERT INTO request (
  level_id, number, status, due_ns, sent_ns, first_text_ns, last_text_ns, ended_ns
)
VALUES (?1, ?2, 'completed', ?3, ?3, ?4, ?5, ?5)"""


class Seen(NamedTuple):
    """What the tool saw of a level."""

    requests: (
        float  # that had come when it was called saturated; inf: never
    )
    holds_truth: bool  # the interval of the slope, when it was


def serve(due_s: Instants, took_s: Instants, slots: int) -> Instants:
    """Return when each request ends, first come, first served."""
    free = [0.0] * slots
    ended = numpy.empty(len(due_s))
    for place, (due, took) in enumerate(
        zip(due_s.tolist(), took_s.tolist(), strict=True)
    ):
        ended[place] = max(due, heapq.heappop(free)) + took
        heapq.heappush(free, float(ended[place]))
    return ended


def make_level(random: Random, law: Law, load: float) -> Seen:
    """Offer so much of what the server can answer, and look as the tool does."""
    rate, count = load * law.slots, law.requests
    seed = int(random.integers(1 << 40))
    due = gamma(rate, law.arrival_cv, seed)
    due_s = numpy.fromiter(itertools.islice(due, count), float)
    ended_s = serve(due_s, draw_services(random, law), law.slots)
    return watch(due_s, ended_s, rate - law.slots)


def draw_services(random: Random, law: Law) -> Instants:
    if law.is_exponential:
        return random.exponential(1.0, law.requests)
    variance = math.log(1 + law.service_cv**2)
    return random.lognormal(-variance / 2, variance**0.5, law.requests)


def watch(due_s: Instants, ended_s: Instants, growth: float) -> Seen:
    """Look at a level again and again, until it is called saturated or its last request comes."""
    start_s, end_s = find_warm_up(ended_s), float(due_s[-1])
    at_s = 2 * start_s
    ended_s = numpy.sort(ended_s)
    while at_s < end_s:
        seconds = numpy.linspace(start_s, at_s, SAMPLES)
        arrived = numpy.searchsorted(due_s, seconds, "right")
        ended = numpy.searchsorted(ended_s, seconds, "right")
        samples = seconds.tolist(), arrived.tolist(), ended.tolist()
        if is_growing(*samples):
            slope = measure_slope(*samples)
            assert slope is not None
            holds = slope.low <= growth <= slope.high
            return Seen(float(arrived[-1]), holds)
        at_s *= LOOK_RATIO
    return Seen(math.inf, holds_truth=False)


def find_warm_up(ended_s: Instants) -> float:
    """Return when all but one of the first requests have ended."""
    return float(numpy.sort(ended_s[:FIRST])[-2])


def simulate_spare(random: Random) -> Iterator[Finding]:
    """Offer less than the server can answer: it is to be called saturated seldom."""
    for law in LAWS:
        for load in (0.7, 0.95):
            found = [make_level(random, law, load) for _ in range(TRIALS)]
            said = sum(seen.requests < math.inf for seen in found)
            yield Finding(
                f"called saturated at {load:.0%}, {law.name}, "
                f"{law.requests} requests",
                said / TRIALS,
                TRIALS,
                at_most=0.02 if law.is_promised else 1.0,
            )


def simulate_growth(random: Random) -> Iterator[Finding]:
    """Offer more than the server can answer: how many requests it takes to say so."""
    for law in LAWS:
        for load in (1.1, 1.5, 2.0):
            found = [make_level(random, law, load) for _ in range(TRIALS)]
            counts = sorted(seen.requests for seen in found)
            said = [seen for seen in found if seen.requests < math.inf]
            half, most = counts[TRIALS // 2], counts[TRIALS * 95 // 100]
            yield Finding(
                f"called saturated at {load:.0%}, {law.name}, after {half:.0f} requests "
                f"(median; 95 % by {most:.0f})",
                len(said) / TRIALS,
                TRIALS,
                at_least=0.95 if law.is_promised else 0.0,
            )
            if load == 1.1:
                yield Finding(
                    f"interval of the growth holds the truth then, {law.name}",
                    sum(seen.holds_truth for seen in said) / len(said),
                    len(said),
                    at_least=0.93,
                )


def simulate_short(random: Random) -> Iterator[Finding]:
    """Judge short levels, and those of other tools, by what came and what was answered."""
    for law in SHORT_LAWS:
        for load, replies in ((0.7, 5), (0.7, 10), (2.0, 10)):
            with tempfile.TemporaryDirectory() as folder:
                said = judge_short(random, law, load, replies, folder)
            is_spare = load < 1
            yield Finding(
                f"called saturated at {load:.0%}, {law.name}, "
                f"a level of {replies} replies' time",
                said / TRIALS,
                TRIALS,
                at_most=0.05 if is_spare else 1.0,
                at_least=0.0 if is_spare else 0.95,
            )


def judge_short(
    random: Random, law: Law, load: float, replies: int, folder: str
) -> int:
    """Return how many of the levels the view open_load calls saturated."""
    count = int(load * law.slots * replies)
    with contextlib.closing(open_made_up(folder).conn) as connection:
        for level_id in range(1, TRIALS + 1):
            due_s = numpy.cumsum(
                random.exponential(1 / (load * law.slots), count)
            )
            took_s = draw_services(random, law)[:count]
            ended_s = serve(due_s, took_s, law.slots)
            connection.execute(SHORT_LEVEL, [level_id])
            connection.executemany(
                SHORT_REQUEST,
                zip(
                    itertools.repeat(level_id),
                    range(1, count + 1),
                    (due_s * S).astype(int).tolist(),
                    ((ended_s - took_s) * S).astype(int).tolist(),
                    (ended_s * S).astype(int).tolist(),
                ),
            )
        (said,) = connection.execute(
            "SELECT sum(saturated) FROM open_load"
        ).fetchone()
    return int(said)


SIMULATIONS = (
    Simulation("a server that keeps up", simulate_spare),
    Simulation("a queue that grows", simulate_growth),
    Simulation("a short level", simulate_short),
)
