"""fleet_scale.py - how many tokens/s and workers can one coordinator take?

    python benchmarks/fleet_scale.py                   # in virtual time; some seconds
    python benchmarks/fleet_scale.py --chunk-us 3 --request-us 150 --ask-us 200

A simulation beyond what bench_fleet.py measures. What it takes for given, each as --help says,
comes from `bench_fleet.py --only rows` on the machine in question:

- the coordinator is one core, which does everything in turn: it asks for batches and clocks, adds
  up and writes;
- replies of --tokens tokens, a chunk each, end at random (Poisson), alike at all workers;
- a worker is asked as in fleet/member.py: FETCH_EVERY_S after the last time, once its last batch
  has been looked at, and the writer commits every COMMIT_EVERY_S.

It ends where that core is 80 % busy, or more than one row of a hundred is a second old when it is
committed. Not in it: links that are slow (25 bytes a token), and disks that are.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import pathlib
import random
import sys
from dataclasses import dataclass

# the programs are files, not an installed package
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ollama_bench.fleet.clock import EVERY_S, TRIPS_ASIDE
from ollama_bench.fleet.level import LEAD_EACH_S, LEAD_S
from ollama_bench.fleet.member import FETCH_EVERY_S, LOOK_S
from ollama_bench.storage.writer import COMMIT_EVERY_S

WORKERS = (1, 2, 4, 8, 20, 50, 100)
PROMISE_S = 1.0  # from a reply's end until its rows are stored
RATIO = 0.99
MOST_BUSY = 0.8
SPAN_S = 60.0  # of a simulated level
STEPS = 12  # of the search for the most
HEADING = "WORKERS  TOKENS/S  CORE  ROW AGE p99, s  LEVEL'S ENDS, s"


@dataclass(frozen=True)
class Costs:
    """What the coordinator does for each, seconds of CPU."""

    chunk_s: float
    request_s: float
    fetch_s: float
    tokens: int  # of a reply

    @property
    def reply_s(self) -> float:
        """What a reply costs."""
        return self.request_s + self.tokens * self.chunk_s


def simulate(
    costs: Costs, workers: int, rate_per_s: float, seed: int
) -> tuple[float, float]:
    """Return how busy the coordinator is, 0 to 1, and the p99 age of a committed reply, seconds."""
    chance = random.Random(seed)
    each_per_s = rate_per_s / workers
    # when each worker is asked next, and was asked last
    due = [
        (chance.uniform(0, FETCH_EVERY_S), one, 0.0)
        for one in range(workers)
    ]
    heapq.heapify(due)
    free_s = busy_s = 0.0
    ages: list[float] = []
    while due[0][0] < SPAN_S:
        asked_s, worker, last_s = heapq.heappop(due)
        ended_s = list(draw_ends(chance, each_per_s, last_s, asked_s))
        cost_s = costs.fetch_s + len(ended_s) * costs.reply_s
        free_s = max(free_s, asked_s) + cost_s
        busy_s += cost_s
        commits = math.floor(free_s / COMMIT_EVERY_S) + 1
        ages += [commits * COMMIT_EVERY_S - end_s for end_s in ended_s]
        again_s = asked_s + FETCH_EVERY_S
        if free_s > again_s:
            looks = math.ceil((free_s - again_s) / LOOK_S)
            again_s += looks * LOOK_S
        heapq.heappush(due, (again_s, worker, asked_s))
    ages.sort()
    oldest_s = ages[int(RATIO * (len(ages) - 1))] if ages else 0.0
    return busy_s / SPAN_S, oldest_s


def draw_ends(
    chance: random.Random, rate_per_s: float, start_s: float, end_s: float
) -> itertools.takewhile[float]:
    """Return when replies ended between two instants."""
    gaps = iter(lambda: chance.expovariate(rate_per_s), None)
    ends = itertools.accumulate(gaps, initial=start_s)
    next(ends)
    return itertools.takewhile(lambda at_s: at_s < end_s, ends)


def find_most(costs: Costs, workers: int, seed: int) -> str:
    """Return the line of the highest rate that keeps the promise."""
    low, high = 0.0, 1 / costs.reply_s
    for _ in range(STEPS):
        rate = (low + high) / 2
        busy, age_s = simulate(costs, workers, rate, seed)
        if age_s <= PROMISE_S and busy <= MOST_BUSY:
            low = rate
        else:
            high = rate
    if not low:
        return f"{workers:7} {0:9} {'':5} {'':15}"
    busy, age_s = simulate(costs, workers, low, seed)
    return (
        f"{workers:7} {low * costs.tokens:9,.0f} {busy:5.0%} {age_s:15.2f}"
    )


def main() -> int:
    """Print the table."""
    wanted = parse_args()
    costs = Costs(
        wanted.chunk_us / 1e6,
        wanted.request_us / 1e6,
        # a batch, and now and then the clock
        wanted.ask_us / 1e6 * (1 + FETCH_EVERY_S / EVERY_S),
        wanted.tokens,
    )
    print(HEADING)
    for workers in WORKERS:
        # one worker after another, before a level and after it
        trips_s = 2 * TRIPS_ASIDE * workers * wanted.trip_ms / 1e3
        ends_s = trips_s + LEAD_S + LEAD_EACH_S * workers
        line = find_most(costs, workers, wanted.seed)
        print(f"{line} {ends_s:16.1f}", flush=True)
    return 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fleet_scale.py",
        description="how many tokens/s and workers can one coordinator take?",
    )
    for name, default, what in (
        ("chunk-us", 3.0, "CPU of a stored chunk"),
        ("request-us", 215.0, "CPU of a stored request"),
        ("ask-us", 310.0, "CPU of a question to a worker"),
        ("trip-ms", 1.0, "round trip to a worker"),
    ):
        parser.add_argument(
            f"--{name}",
            type=float,
            default=default,
            help=f"{what} (default %(default)g)",
        )
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
