"""bench_clock.py - are the clocks of two machines that are truly apart put onto one?

    python benchmarks/bench_clock.py            # Linux, as root: some five minutes
    python benchmarks/bench_clock.py --tries 20

Two workers of Dask at once, each in a network and a time namespace of its own (machine_apart.py):
their monotonic clocks are 1,000 and 2,500 s ahead of this one, and they are reached only by a
relay that holds each piece for 5 +- 2 ms on its way there and 7 +- 2 ms back. A try is a level of
both, as bench.py --fleet would send it, and gives a clock of each. All clocks are one crystal, so
the true offsets are known to the nanosecond, and so is where the instants of the rows belong.

OFFSET is how far the offset was from the true one, ROWS how far the instants that would be stored.
The exit code is 1 when fewer than 95 in 100 of both are within the stated uncertainty, or of the
offsets within half of what the directions differ by and 0.2 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import sys
import threading
from dataclasses import dataclass

# the programs are files, not an installed package
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from canned_load import make_canned
from local_cluster import (
    command_scheduler,
    end_all,
    find_free_port,
    start,
    wait_for_workers,
)
from machine_apart import UNEQUAL_MS, MachineApart

from ollama_bench.fleet.fleet import Fleet, open_fleet
from ollama_bench.fleet.level import FleetLevel
from ollama_bench.inputs.fleet_settings import FleetAddress, FleetSettings
from ollama_bench.load.observer import Observer
from ollama_bench.load.part import WHOLE
from ollama_bench.load.request import Outcome

AHEAD_S = {"one": 1_000, "two": 2_500}
CLOSE_MS = 0.2
ENOUGH_RATIO = 0.95
ROWS = (4, 2, 1.0)  # requests of a level, chunks of each, seconds
NS_PER_MS = 1e6


@dataclass(frozen=True)
class Finding:
    """The clock of a worker in a level; milliseconds."""

    offset_ms: float  # off the true one
    rows_ms: float  # the instants that are the farthest off
    stated_ms: float
    trip_ms: float


class RowErrors(Observer):
    """Notes how far the instants of each worker's requests are off, nanoseconds."""

    def __init__(self) -> None:
        self.worst_ns = dict.fromkeys(AHEAD_S, 0)

    def ended(self, outcome: Outcome) -> None:
        """Compare an instant with the same as the worker read it."""
        name, summary = outcome.task.worker, outcome.summary
        assert name and summary and outcome.sent_ns
        there_ns = summary.server_total_ns or 0
        truth_ns = there_ns - AHEAD_S[name] * 10**9
        error_ns = abs(outcome.sent_ns - truth_ns)
        self.worst_ns[name] = max(self.worst_ns[name], error_ns)


def main() -> int:
    """Run the tries, print what they found and return the exit code."""
    options = parse_args()
    findings: list[Finding] = []
    with contextlib.ExitStack() as stack:
        fleet = gather(stack, options.seed)
        print(f"load average {os.getloadavg()[0]:.1f}")
        while len(findings) < options.tries:
            findings += measure(fleet)
    return judge(findings)


def gather(stack: contextlib.ExitStack, seed: int) -> Fleet:
    """Start a scheduler here and two workers apart, until the stack is left."""
    port = find_free_port()
    scheduler = start(command_scheduler(port))
    stack.callback(end_all, [scheduler])
    for place, (name, ahead_s) in enumerate(AHEAD_S.items()):
        apart = MachineApart(name, port, ahead_s, 2 * seed + place)
        stack.enter_context(apart)
    address = f"tcp://127.0.0.1:{port}"
    wait_for_workers(address, list(AHEAD_S))
    settings = FleetSettings(FleetAddress(scheduler=address))
    return stack.enter_context(open_fleet(settings))


def measure(fleet: Fleet) -> list[Finding]:
    """Return what is said of both clocks in a level, and what is true."""
    make = functools.partial(make_canned, *ROWS)
    whole = make(interrupt=threading.Event(), part=WHOLE, gate=None)
    level, errors = FleetLevel(fleet, whole, make), RowErrors()
    level.run(errors)
    findings = []
    for report in level.reports:
        clock = report.clock
        assert clock.offset_s is not None
        assert clock.uncertainty_s is not None and clock.trip_s is not None
        findings.append(
            Finding(
                abs(clock.offset_s - AHEAD_S[report.name]) * 1e3,
                errors.worst_ns[report.name] / NS_PER_MS,
                clock.uncertainty_s * 1e3,
                clock.trip_s * 1e3,
            )
        )
    return findings


def judge(findings: list[Finding]) -> int:
    """Print the table; return 1 where too few are near enough."""
    near_ms = UNEQUAL_MS / 2 + CLOSE_MS
    held = sum(
        max(one.offset_ms, one.rows_ms) <= one.stated_ms
        for one in findings
    )
    near = sum(one.offset_ms <= near_ms for one in findings)
    print("                 LEAST    MOST, ms")
    for name, values in (
        ("OFFSET", [one.offset_ms for one in findings]),
        ("ROWS", [one.rows_ms for one in findings]),
        ("STATED", [one.stated_ms for one in findings]),
        ("FASTEST TRIP", [one.trip_ms for one in findings]),
    ):
        print(f"{name:<14} {min(values):7.3f} {max(values):7.3f}")
    print(f"{held} of {len(findings)} within the stated uncertainty")
    print(f"{near} of {len(findings)} offsets within {near_ms:g} ms")
    return int(min(held, near) < ENOUGH_RATIO * len(findings))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_clock.py",
        description="are the clocks of two machines that are truly apart put onto one?",
    )
    parser.add_argument(
        "--tries",
        type=int,
        default=100,
        help="clocks, two in a level (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
