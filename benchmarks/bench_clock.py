"""bench_clock.py - the offset of a clock that is truly another, over a slow and unequal relay.

    python benchmarks/bench_clock.py            # Linux, as root: about two minutes
    python benchmarks/bench_clock.py --tries 20

The worker runs in a network and a time namespace of its own, whose monotonic clock is 1,000 s
behind, and is reached only by a relay of another process, which holds each message for a while: 5
+- 2 ms there, 7 +- 2 ms back. Both clocks are one crystal, so the true offset is known to the
nanosecond. The exit code is 1 when fewer than 95 of 100 tries are within the stated uncertainty,
or within half of what the directions differ by and 0.2 ms.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import subprocess
import sys
import time
from typing import IO

# the programs are files, not an installed package
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ollama_bench.fleet.clock import (
    EVERY_S,
    TRIPS_ASIDE,
    RoundTrip,
    fit_clock,
)

APART_S = 1_000
THERE_MS, BACK_MS = (3.0, 7.0), (5.0, 9.0)
UNEQUAL_MS = BACK_MS[0] - THERE_MS[0]  # of the fastest of each direction
CLOSE_MS = 0.2
ENOUGH_RATIO = 0.95
DURING = 4  # round trips in a level
# asked through its standard input, it answers with when it was and when it does
WORKER = """
import sys, time
for line in sys.stdin.buffer:
    received = time.monotonic_ns()
    answer = b"%d %d\\n"
    sys.stdout.buffer.write(answer % (received, time.monotonic_ns()))
    sys.stdout.buffer.flush()
"""


def main() -> int:
    """Run the tries, print what they found and return the exit code."""
    options = make_parser().parse_args()
    if options.relay:
        return relay(random.Random(options.seed))
    held, close, errors, stated = 0, 0, [], []
    for number in range(options.tries):
        error_ms, uncertainty_ms = measure(options.seed + number)
        errors.append(error_ms)
        stated.append(uncertainty_ms)
        held += error_ms <= uncertainty_ms
        close += error_ms <= UNEQUAL_MS / 2 + CLOSE_MS
    print(
        f"{options.tries} tries: error at most {max(errors):.3f} ms, "
        f"stated {min(stated):.3f} to {max(stated):.3f} ms"
    )
    print(f"within the stated uncertainty: {held}")
    print(f"within {UNEQUAL_MS / 2 + CLOSE_MS:g} ms: {close}")
    return int(min(held, close) < ENOUGH_RATIO * options.tries)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench_clock.py",
        description="the offset of a clock that is truly another, over a slow and unequal relay.",
    )
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--relay", action="store_true", help=argparse.SUPPRESS
    )
    return parser


def relay(chance: random.Random) -> int:
    """Pass questions on to a worker in other namespaces, and its answers back, each held up."""
    command = ["unshare", "--net", "--time", "--monotonic", f"-{APART_S}"]
    with subprocess.Popen(
        [*command, "--fork", sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdin and worker.stdout
        pipes = (
            (sys.stdin.buffer, worker.stdin, THERE_MS),
            (worker.stdout, sys.stdout.buffer, BACK_MS),
        )
        while all(pass_on(*pipe, chance) for pipe in pipes):
            pass
    return 0


def pass_on(
    source: IO[bytes],
    target: IO[bytes],
    held_ms: tuple[float, float],
    chance: random.Random,
) -> bool:
    """Hold a line up and pass it on; return False at the end."""
    line = source.readline()
    if not line:
        target.close()
        return False
    time.sleep(chance.uniform(*held_ms) / 1e3)
    target.write(line)
    target.flush()
    return True


def measure(seed: int) -> tuple[float, float]:
    """Return by how much an offset is wrong, and how exact it is said to be, milliseconds."""
    command = [sys.executable, __file__, "--relay", "--seed", str(seed)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        trips = []
        for place in range(2 * TRIPS_ASIDE + DURING):
            if TRIPS_ASIDE <= place < TRIPS_ASIDE + DURING:
                time.sleep(EVERY_S)
            trips.append(ask(process.stdin, process.stdout))
        process.stdin.close()
    start = trips[TRIPS_ASIDE - 1].answered_ns
    end = trips[-TRIPS_ASIDE].received_ns
    line = fit_clock(trips, start, end)
    truth = -APART_S * 1e9
    error = max(
        abs(line.offset_at(instant) - truth) for instant in (start, end)
    )
    return error / 1e6, line.uncertainty_ns / 1e6


def ask(target: IO[bytes], source: IO[bytes]) -> RoundTrip:
    """Make a round trip."""
    sent = time.monotonic_ns()
    target.write(b"?\n")
    target.flush()
    received, answered = map(int, source.readline().split())
    return RoundTrip(sent, received, answered, time.monotonic_ns())


if __name__ == "__main__":
    sys.exit(main())
