"""What is said of long prompts among short ones, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from benchmarks.simulations import Finding, Simulation
from ollama_bench.analysis.interference import Event, contrast

S = 1_000_000_000
TRIALS = 1000
AT_LEAST = 0.93  # of the intervals hold the true mean
CYCLE_S, WINDOW_S = 10.0, 3.0
# seconds between two chunks beside a long prompt, and else
SLOW_S, USUAL_S = 0.3, 0.05
SPREAD = 0.5  # of the logarithm of a single gap
Draw = numpy.random.Generator


def make_events(
    draw: Draw,
    start_s: float,
    length_s: float,
    mean_s: float,
    apart: float,
) -> Iterator[Event]:
    """Yield the gaps of a stretch: their number varies, and all share what is its own."""
    own = draw.lognormal(-(apart**2) / 2, apart)
    for _ in range(1 + draw.poisson(length_s / mean_s)):
        gap_s = own * draw.lognormal(-(SPREAD**2) / 2, SPREAD) * mean_s
        yield (start_s + draw.uniform(0, length_s)) * S, float(gap_s)


def cover_the_truth(draw: Draw) -> Iterator[Finding]:
    """Yield how often both intervals hold the true means."""
    for evaluations in (4, 8, 30):
        for apart in (0.0, 0.3):
            hits = [
                hit
                for _ in range(TRIALS)
                for hit in try_once(draw, evaluations, apart)
            ]
            yield Finding(
                f"{evaluations} evaluations that differ by {apart:.0%}",
                sum(hits) / len(hits),
                len(hits),
                at_least=AT_LEAST,
            )


def try_once(draw: Draw, evaluations: int, apart: float) -> Iterator[bool]:
    windows, events = [], []
    for number in range(evaluations):
        start_s = number * CYCLE_S + 1.0
        end_s = start_s + WINDOW_S
        rest_s = CYCLE_S - WINDOW_S
        windows.append((int(start_s * S), int(end_s * S)))
        events += make_events(draw, start_s, WINDOW_S, SLOW_S, apart)
        events += make_events(
            draw, end_s + 0.01, rest_s - 0.02, USUAL_S, apart
        )
    found = contrast(events, windows)
    if found is None:
        return
    for mean, truth_s in (
        (found.during, SLOW_S),
        (found.otherwise, USUAL_S),
    ):
        low, high = mean.interval
        yield bool(low <= truth_s <= high)


def claim_harm(draw: Draw) -> Iterator[Finding]:
    """Yield how often intervals that do not meet show a harm that is not there, or one that is."""
    for name, slow_s, promise in (
        ("no harm", USUAL_S, {"at_most": 0.05}),
        ("tokens take twice as long", 2 * USUAL_S, {"at_least": 0.95}),
    ):
        hits = 0
        for _ in range(TRIALS):
            windows, events = [], []
            for number in range(10):
                start_s = number * CYCLE_S
                windows.append(
                    (int(start_s * S), int((start_s + WINDOW_S) * S))
                )
                events += make_events(draw, start_s, WINDOW_S, slow_s, 0.2)
                events += make_events(
                    draw, start_s + WINDOW_S + 0.01, 6.0, USUAL_S, 0.2
                )
            found = contrast(events, windows)
            hits += (
                found is not None
                and found.during.interval.low
                > found.otherwise.interval.high
            )
        yield Finding(
            f"{name}, 10 evaluations", hits / TRIALS, TRIALS, **promise
        )


SIMULATIONS = (
    Simulation("95 % intervals beside long prompts", cover_the_truth),
    Simulation("intervals that show a harm", claim_harm),
)
