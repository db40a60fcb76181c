"""bench_capacity.py - how near searches for the capacity come to it, and how long they take.

    # or: make bench-capacity; some minutes
    python benchmarks/bench_capacity.py
    python benchmarks/bench_capacity.py --seeds 20 --only rates
    # bench.py itself at a server in real time, on a machine that has nothing else to do
    python benchmarks/bench_capacity.py --real-time --seeds 1

Queues of known slots and service times, in virtual time (simulations/): the product's own
search and tests choose and judge. The truth is a long simulation. The plain way is doubling and
bisection with as many requests at each load as it needs for the same mean error. Then what is
called saturated (simulations/saturation.py). ``--real-time``: bench.py with two minutes for each
search, at a plain server with such slots (slot_server.py). The tables in
docs/statistics.md are what this prints; the exit code is 1 when a promise is not kept.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
from statistics import fmean
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
# the programs are files, not an installed package
sys.path.insert(0, str(ROOT))

from benchmarks.bench_statistics import run
from benchmarks.capacity_queues import (
    Queue,
    search,
    search_plainly,
)
from benchmarks.simulations import saturation
from benchmarks.slot_server import SlotServer
from ollama_bench.analysis import selection
from ollama_bench.analysis.capacity import find_search
from ollama_bench.statistics.capacity_search import Capacity
from ollama_bench.storage.connection import connect

NEAR = 0.05
# the rules were made with other seeds
FIRST_SEED = 4000
# of 20 seeds, of 100 searches
LEAST_NEAR, LEAST_HELD = 0.95, 0.9
# requests at each load of the plain way
PLAIN = (50, 100, 200, 400, 800, 1600, 3200, 6400)
PLAIN_SEEDS = 10


class Case(NamedTuple):
    """A server, and how long may be searched, seconds of its time."""

    name: str
    queue: Queue
    budget_s: float
    # so little that only the interval is promised
    is_short: bool = False


CASES = {
    "at-once": Case(
        "at once: 12 slots, replies of 4 s ± 30 %, wait up to 6 s",
        Queue(12, 4.0, 0.3, 6.0, kind="burst"),
        3600.0,
    ),
    "people": Case(
        "people who think 10 s: 8 slots, replies of 1 s ± 30 %, wait up to 1 s",
        Queue(8, 1.0, 0.3, 1.0, think_s=10.0, kind="people"),
        14400.0,
    ),
    "rates": Case(
        "requests/s: 8 slots, replies of 1 s ± 30 %, wait up to 1 s",
        Queue(8, 1.0, 0.3, 1.0, kind="rate"),
        14400.0,
    ),
    "short": Case(
        "requests/s: 4 slots, replies of 0.68 s ± 15 %, wait up to 1 s",
        Queue(4, 0.68, 0.15, 1.0),
        400.0,
        is_short=True,
    ),
}

# the same queues, so much faster, and what bench.py is asked
REAL_TIME = {
    "at-once": (0.1, ["--find-capacity"]),
    "people": (
        0.1,
        ["--find-capacity", "--think-time", "1:exponential"],
    ),
    "rates": (0.2, ["--find-rate"]),
}
REAL_TIME_BUDGET_S = 120
SATURATION = "saturation"


def main() -> int:
    """Search each server with each seed; return 1 when a promise is not kept."""
    options = make_parser().parse_args()
    if options.real_time:
        return search_in_real_time(options.only, options.seeds)
    cases = [CASES[name] for name in options.only if name in CASES]
    if cases:
        print(
            "| a server, and its budget | capacity | within 5 % "
            "| off, the number | off, most likely "
            "| interval holds it | mean time | the plain way |"
        )
        print("|---|---|---|---|---|---|---|---|")
    is_kept = True
    for case in cases:
        is_kept &= judge(case, options.seeds)
    if SATURATION in options.only:
        is_kept &= judge_saturation()
    return 0 if is_kept else 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench_capacity.py",
        description="how near searches for the capacity come to it, and how long they take.",
    )
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="bench.py itself at a server, two minutes for each search",
    )
    kinds = [*CASES, SATURATION]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    return parser


def judge(case: Case, seeds: int) -> bool:
    """Print how the searches of one server went; tell whether the promises are kept."""
    queue, truth = case.queue, case.queue.truth
    found = [
        search(queue, case.budget_s, FIRST_SEED + number)
        for number in range(seeds)
    ]
    errors = [
        abs((one.capacity.value or 0.0) / truth - 1) for one in found
    ]
    near = sum(error <= NEAR for error in errors)
    guesses = [
        abs((one.capacity.guess or one.capacity.likely) / truth - 1)
        for one in found
    ]
    held = sum(holds(one.capacity, truth) for one in found)
    seconds = fmean(one.seconds for one in found)
    print(
        f"| {case.name}; {case.budget_s:.0f} s | {truth:.3g} "
        f"| {near} of {seeds} | {fmean(errors):.0%} "
        f"| {fmean(guesses):.0%} | {held} of {seeds} | {seconds:.0f} s "
        f"| {compare_plainly(queue, truth, fmean(errors))} |",
        flush=True,
    )
    is_near = near >= LEAST_NEAR * seeds or case.is_short
    return is_near and held >= LEAST_HELD * seeds


def judge_saturation() -> bool:
    """Print how often levels are called saturated; tell whether the promises are kept."""
    print("\n| simulation | truth | share | promised | trials | |")
    print("|---|---|---|---|---|---|")
    kept = [run(one, FIRST_SEED) for one in saturation.SIMULATIONS]
    return all(kept)


def search_in_real_time(kinds: list[str], seeds: int) -> int:
    """Print what bench.py finds; return 1 where an interval does not hold the truth."""
    print(
        "| a server in real time | capacity | found | interval | holds it | time |"
    )
    print("|---|---|---|---|---|---|")
    is_kept = True
    for kind in kinds:
        if kind not in REAL_TIME:
            continue
        factor, words = REAL_TIME[kind]
        slow = CASES[kind].queue
        queue = slow.faster(factor)
        truth = slow.truth / (factor if kind == "rates" else 1)
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            started_s = time.monotonic()
            found = run_bench(queue, words, seed)
            is_held = holds(found, truth)
            is_kept &= is_held
            print(
                f"| {CASES[kind].name}, {1 / factor:g} times as fast "
                f"| {truth:.3g} | {found.value or found.likely or 0:.3g} "
                f"| {found.low or 0:.3g} to {found.missed or float('inf'):.3g} "
                f"| {'yes' if is_held else 'NO'} "
                f"| {time.monotonic() - started_s:.0f} s |",
                flush=True,
            )
    return 0 if is_kept else 1


def run_bench(queue: Queue, words: list[str], seed: int) -> Capacity:
    """Search with bench.py at a server in real time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        SlotServer(queue, seed) as server,
    ):
        results = pathlib.Path(folder) / "results.db"
        command = [
            *(sys.executable, str(ROOT / "bench.py"), *words),
            *("--budget", str(REAL_TIME_BUDGET_S), "--seed", str(seed)),
            *("--host", server.url, "--api", "openai", "--no-monitor"),
            *("--slo", f"ttft={queue.bound_s}", "--tokens", "2"),
            *("--idle", "0", "--cooldown", "0", "--db", str(results)),
        ]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, timeout=600
        )
        with contextlib.closing(
            connect(str(results), readonly=True)
        ) as database:
            (study,) = selection.choose(database, [], [1])
    found = find_search(study)
    if found is None:
        raise SystemExit(
            "bench_capacity.py: bench.py has searched nothing"
        )
    return found.capacity


def holds(capacity: Capacity, truth: float) -> bool:
    low, missed = capacity.low or 0.0, capacity.missed
    # as exactly as the truth is known
    blur = 0.002 * truth
    return low <= truth + blur and (
        missed is None or truth < missed + blur
    )


def compare_plainly(queue: Queue, truth: float, error: float) -> str:
    """Return how long doubling and bisection takes for the same mean error."""
    for requests in PLAIN:
        found = [
            search_plainly(queue, requests, seed)
            for seed in range(PLAIN_SEEDS)
        ]
        mean = fmean(abs(one.size / truth - 1) for one in found)
        if mean <= error:
            seconds = fmean(one.seconds for one in found)
            return f"{seconds:.0f} s, {requests} requests each"
    return f"not with {PLAIN[-1]} requests each"


if __name__ == "__main__":
    sys.exit(main())
