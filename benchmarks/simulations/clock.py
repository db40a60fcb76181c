"""What is said of a worker's clock, over links and clocks of known delays and rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy

from benchmarks.simulations import Finding, Simulation
from ollama_bench.fleet.clock import (
    EVERY_S,
    TRIPS_ASIDE,
    ClockLine,
    RoundTrip,
    fit_clock,
)

NS = 1e9
MS = 1e6
TRIALS = 200
AWAY_NS = 1_000 * NS  # how far the clocks are apart
BURST_S = 0.5  # in which TRIPS_ASIDE are made, before and after
LEVEL_S = 60.0
CLOSE_NS = 0.2 * MS  # beside half of what the directions differ by
LOOKS = 50  # at how many instants of a level the truth is held against it

Draw = numpy.random.Generator
# of n delays at these seconds, in nanoseconds
Delay = Callable[[Draw, numpy.ndarray], numpy.ndarray]


@dataclass(frozen=True)
class Link:
    """How long both directions take, and by how much their fastest differ."""

    name: str
    there: Delay
    back: Delay
    unequal_ns: float = 0.0


def jitter(least_ms: float, mean_ms: float) -> Delay:
    """Return delays of a least one and an exponential rest."""
    return lambda chance, at_s: (
        (least_ms + chance.exponential(mean_ms, len(at_s))) * MS
    )


def spread(low_ms: float, high_ms: float) -> Delay:
    """Return even delays."""
    return lambda chance, at_s: (
        chance.uniform(low_ms, high_ms, len(at_s)) * MS
    )


def busy(delay: Delay) -> Delay:
    """Return delays to which a busy worker adds up to 20 ms during the level."""

    def draw(chance: Draw, at_s: numpy.ndarray) -> numpy.ndarray:
        inside = (at_s > BURST_S) & (at_s < at_s.max() - BURST_S)
        late = chance.uniform(0, 20, len(at_s)) * MS
        return delay(chance, at_s) + numpy.where(inside, late, 0)

    return draw


LAN = Link("0.1 ms each way", jitter(0.1, 0.05), jitter(0.1, 0.05))
BUSY = Link(
    "0.1 ms, up to 20 ms in a busy level", busy(LAN.there), busy(LAN.back)
)
LINKS = (
    LAN,
    Link(
        "5 +- 2 ms there, 7 +- 2 ms back",
        spread(3, 7),
        spread(5, 9),
        2 * MS,
    ),
    BUSY,
    Link("20 ms there, 1 ms back", jitter(20, 3), jitter(1, 3), 19 * MS),
)


@dataclass(frozen=True)
class Rate:
    """How the worker's clock runs against the coordinator's."""

    name: str
    # of a level's length in seconds: offsets at seconds since it began
    make: Callable[[Draw, float], Callable[[numpy.ndarray], numpy.ndarray]]


def steady(
    chance: Draw, length_s: float
) -> Callable[[numpy.ndarray], numpy.ndarray]:
    drift = chance.uniform(-100e-6, 100e-6)
    return lambda at_s: AWAY_NS + drift * at_s * NS


def wandering(
    chance: Draw, length_s: float
) -> Callable[[numpy.ndarray], numpy.ndarray]:
    """A rate that moves by as much as 1e-6, anyhow."""
    knots = numpy.linspace(0, 2 * length_s, 40)
    rates = chance.uniform(-0.5e-6, 0.5e-6, 40).cumsum() / 4
    rates = numpy.clip(rates, -0.5e-6, 0.5e-6) + chance.uniform(
        -100e-6, 100e-6
    )
    offsets = numpy.concatenate(
        [
            [0],
            numpy.cumsum((rates[1:] + rates[:-1]) / 2 * numpy.diff(knots)),
        ]
    )
    return lambda at_s: AWAY_NS + numpy.interp(at_s, knots, offsets) * NS


def slewed(
    chance: Draw, length_s: float
) -> Callable[[numpy.ndarray], numpy.ndarray]:
    """A clock that NTP sets right in the middle: 500 ppm for a twentieth of the level."""
    begin = chance.uniform(0.2, 0.7) * length_s
    drift = chance.uniform(-100e-6, 100e-6)

    def offset(at_s: numpy.ndarray) -> numpy.ndarray:
        slewing_s = numpy.clip(at_s - begin, 0, length_s / 20)
        return AWAY_NS + (drift * at_s + 500e-6 * slewing_s) * NS

    return offset


STEADY = Rate("steady, within 100 ppm", steady)
SLEWED = Rate("slewed by 500 ppm in the middle", slewed)
RATES = (
    STEADY,
    Rate("a rate that wanders by 1 ppm", wandering),
    SLEWED,
)


def measure(
    chance: Draw, link: Link, rate: Rate, length_s: float
) -> tuple[ClockLine, numpy.ndarray]:
    """Return what is said of a clock, and by how much it is wrong during the level."""
    end_s = BURST_S + length_s
    asked_s = numpy.concatenate(
        [
            numpy.linspace(0, BURST_S, TRIPS_ASIDE),
            numpy.arange(BURST_S, end_s, EVERY_S)[1:],
            numpy.linspace(end_s, end_s + BURST_S, TRIPS_ASIDE),
        ]
    )
    offset = rate.make(chance, length_s)
    received = asked_s * NS + link.there(chance, asked_s)
    answered = received + 20_000
    returned = answered + link.back(chance, asked_s)
    trips = [
        RoundTrip(*(int(instant) for instant in trip))
        for trip in zip(
            asked_s * NS,
            received + offset(received / NS),
            answered + offset(answered / NS),
            returned,
        )
    ]
    start, end = (
        int(at_s * NS + offset(numpy.array(at_s)))
        for at_s in (BURST_S, end_s)
    )
    looks_s = numpy.linspace(BURST_S, end_s, LOOKS)
    line = fit_clock(trips, start, end)
    truth = offset(looks_s)
    shown = looks_s * NS + truth
    said = numpy.array([line.offset_at(int(instant)) for instant in shown])
    return line, numpy.abs(said - truth)


def run_uncertainty(chance: Draw) -> Iterator[Finding]:
    """How often the offset is within the stated uncertainty, all through the level."""
    for rate in RATES:
        for link in LINKS:
            held = [
                errors.max() <= line.uncertainty_ns
                for line, errors in (
                    measure(chance, link, rate, LEVEL_S)
                    for _ in range(TRIALS)
                )
            ]
            case = f"{link.name}; {rate.name}"
            # slow round trips hide that a clock is slewed meanwhile
            is_hidden = link is BUSY and rate is SLEWED
            yield Finding(
                case,
                float(numpy.mean(held)),
                TRIALS,
                at_least=0.0 if is_hidden else 0.95,
            )


def run_closeness(chance: Draw) -> Iterator[Finding]:
    """How often it is within half of what the directions differ by, and 0.2 ms."""
    for link in LINKS[:3]:
        near = [
            errors.max() <= link.unequal_ns / 2 + CLOSE_NS
            for _, errors in (
                measure(chance, link, STEADY, LEVEL_S)
                for _ in range(TRIALS)
            )
        ]
        yield Finding(
            f"{link.name}; {STEADY.name}",
            float(numpy.mean(near)),
            TRIALS,
            at_least=0.95,
        )


SIMULATIONS = (
    Simulation("a clock within the stated uncertainty", run_uncertainty),
    Simulation(
        "a clock within half the asymmetry and 0.2 ms", run_closeness
    ),
)
