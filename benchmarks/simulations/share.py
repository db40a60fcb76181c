"""How often the interval of a share of good requests holds the truth, near and below capacity.

The truth is the share over hundreds of thousands of requests of the same server; each trial is a
stretch of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy

from benchmarks.simulations import Finding, Simulation
from ollama_bench.inputs.objectives import ENOUGH_RATIO
from ollama_bench.statistics.share import (
    ShareEstimate,
    estimate_burst_share,
    estimate_share,
    share_interval,
)

Draw = numpy.random.Generator
Floats = numpy.typing.NDArray[numpy.float64]
TRIALS = 300
REQUESTS = 700_000  # that the truth is made of
FILLING = 20_000  # of them, before the server is as full as it gets
# requests of a stretch, and how often its interval is to hold: few show too little of how alike
# they are
LENGTHS = {50: 0.88, 100: 0.91, 300: 0.93, 1000: 0.93}
PREFILL_S = 0.3
SHORT = 72  # requests of a short run that are all good
SLOTS = 4
SPREAD = 0.6  # sigma of log-normal service times; their mean is 1 s
SHARES = (0.9, 0.95, 0.99)


def make_services(draw: Draw, count: int, law: str) -> list[float]:
    if law == "exponential":
        return draw.exponential(1.0, count).tolist()
    return draw.lognormal(-(SPREAD**2) / 2, SPREAD, count).tolist()


def serve_arrivals(draw: Draw, load: float, law: str) -> Floats:
    """Return the waits of Poisson arrivals, of so much of what the slots can serve."""
    due = draw.exponential(1 / (load * SLOTS), REQUESTS).cumsum()
    services = make_services(draw, REQUESTS, law)
    free = [0.0] * SLOTS
    waits = []
    for arrival, service in zip(due.tolist(), services, strict=True):
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + service)
    return numpy.array(waits[FILLING:])


def serve_people(draw: Draw, people: int, think_s: float) -> Floats:
    """Return the waits of people who think so long, log-normal; 0: a closed loop."""
    services = make_services(draw, REQUESTS, "log-normal")
    thinking = [0.0] * REQUESTS
    if think_s:
        thinking = draw.lognormal(
            numpy.log(think_s) - 0.5, 1.0, REQUESTS
        ).tolist()
    due, free = thinking[:people], [0.0] * SLOTS
    heapq.heapify(due)
    waits = []
    for service, think in zip(services, thinking, strict=True):
        arrival = heapq.heappop(due)
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + service)
        heapq.heappush(due, start + service + think)
    return numpy.array(waits[FILLING:])


def hold_stretches(name: str, waits: Floats) -> Iterator[Finding]:
    """Judge stretches of a load by objectives that different shares of its requests meet."""
    for wanted in SHARES:
        bound = float(numpy.quantile(waits, wanted))
        good = waits <= bound
        truth = float(good.mean())
        if truth > wanted + 0.02:
            continue  # most do not wait at all
        for length, promised in LENGTHS.items():
            starts = range(0, len(waits) - length, len(waits) // TRIALS)
            found = [
                judge(good, waits / max(bound, 1e-9), start, length)
                for start in starts
            ]
            yield Finding(
                f"interval holds the share, {name}, {truth:.0%} good, {length} requests",
                sum(one.low <= truth <= one.high for one in found)
                / len(found),
                len(found),
                at_least=promised,
                at_most=0.9999,
            )


def judge(
    good: numpy.typing.NDArray[numpy.bool_],
    strain: Floats,
    start: int,
    length: int,
) -> ShareEstimate:
    part = slice(start, start + length)
    found = estimate_share(
        good[part].tolist(), strain=strain[part].tolist()
    )
    assert found is not None
    return found


def simulate_open(draw: Draw) -> Iterator[Finding]:
    """Offer four slots less and nearly as much as they can serve."""
    for load in (0.5, 0.7, 0.85, 0.95):
        for law in ("log-normal", "exponential"):
            waits = serve_arrivals(draw, load, law)
            yield from hold_stretches(f"{load:.0%} load, {law}", waits)
        # a reply begins when its prompt has been read
        yield from hold_stretches(
            f"{load:.0%} load, exponential, waits from {PREFILL_S:g} s on",
            waits + PREFILL_S,
        )


def simulate_closed(draw: Draw) -> Iterator[Finding]:
    """Have four slots serve loops and people."""
    for people, think_s in ((6, 0.0), (20, 3.5), (40, 9.0)):
        waits = serve_people(draw, people, think_s)
        name = f"{people} people who think {think_s:g} s"
        if not think_s:
            name = f"closed loop of {people}"
        yield from hold_stretches(name, waits)


def simulate_independent(draw: Draw) -> Iterator[Finding]:
    """Take requests as independent, as a rule does that does not hold: for comparison."""
    waits = serve_arrivals(draw, 0.85, "exponential")
    for wanted in SHARES:
        good = waits <= numpy.quantile(waits, wanted)
        truth = float(good.mean())
        starts = range(0, len(good) - 300, len(good) // TRIALS)
        found = [
            share_interval(int(good[start : start + 300].sum()), 300, 300)
            for start in starts
        ]
        yield Finding(
            f"taken as independent, 85% load, {truth:.0%} good, 300 requests",
            sum(one.low <= truth <= one.high for one in found)
            / len(found),
            len(found),
        )


def simulate_all_good(draw: Draw) -> Iterator[Finding]:
    """Have four slots serve people far within the bound, whose waits resemble each other."""
    for people, least in ((12, 0.9), (24, 0.7), (30, 0.5)):
        waits = serve_people(draw, people, 8.0)
        strain = waits / (2 * float(waits.max()))
        starts = range(0, len(waits) - SHORT, len(waits) // TRIALS)
        lows = [
            judge(strain <= 1, strain, start, SHORT).low
            for start in starts
        ]
        yield Finding(
            f"{SHORT} of {SHORT} good show {least:.0%} or more, {people} people who think 8 s",
            sum(low >= least for low in lows) / len(lows),
            len(lows),
            at_least=0.5,
        )


def make_burst(
    draw: Draw, size: int, slots: int, machine: float
) -> list[float]:
    """Return the waits of one burst, on a machine that is slower or faster this time."""
    pace = draw.lognormal(0, machine)
    services = draw.lognormal(0, 0.3, size) * pace
    free = [0.0] * slots
    waits = []
    for service in services.tolist():
        waits.append(heapq.heappop(free))
        heapq.heappush(free, waits[-1] + service)
    return waits


def simulate_bursts(draw: Draw) -> Iterator[Finding]:
    """Repeat bursts on a machine that differs from burst to burst by so much."""
    for size, slots in ((8, 4), (19, 4), (32, 8)):
        for machine in (0.0, 0.1, 0.3):
            bursts = numpy.array(
                [
                    make_burst(draw, size, slots, machine)
                    for _ in range(2000)
                ]
            )
            bound = float(numpy.quantile(bursts, ENOUGH_RATIO))
            for repeats in (2, 3, 5, 10):
                yield hold_bursts(
                    draw,
                    f"{repeats} bursts of {size}, {machine:.0%} between them",
                    bursts,
                    bound,
                    repeats,
                )


def hold_bursts(
    draw: Draw, name: str, bursts: Floats, bound: float, repeats: int
) -> Finding:
    truth = float((bursts <= bound).mean())
    held = 0
    for _ in range(TRIALS):
        chosen = bursts[draw.integers(0, len(bursts), repeats)]
        found = estimate_burst_share(
            (chosen <= bound).tolist(), strains=list_rows(chosen)
        )
        assert found is not None
        held += found.low <= truth <= found.high
    return Finding(
        f"interval holds the share, {name}, {truth:.0%} good",
        held / TRIALS,
        TRIALS,
        at_least=0.95,
    )


def list_rows(values: Floats) -> Sequence[Sequence[float]]:
    rows: list[list[float]] = values.tolist()
    return rows


SIMULATIONS = (
    Simulation("share of good requests, open loop", simulate_open),
    Simulation("share of good requests, closed", simulate_closed),
    Simulation("share of good requests, all good", simulate_all_good),
    Simulation(
        "share of good requests, by a rule that does not hold",
        simulate_independent,
    ),
    Simulation("share of good requests, repeated bursts", simulate_bursts),
)
