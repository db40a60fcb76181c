"""Whether the queue of an open load grows: more requests come than the server can answer.

The requests that have come and have not ended are looked at in batches of equal time. In a queue
that grows their number is a random walk with a drift, and its increments from batch to batch are
independent; in one that does not grow it comes back. Whether it drifts is asked again and again
while the load runs: the interval of the drift must be above zero, and a sequential test of
likelihood ratios, with unknown variance, must find growth by 10 % or more of what comes likelier
by far than a queue that shrinks by 5 %. Sources: Wald 1945, Sequential Tests of Statistical
Hypotheses; for the mixture of alternatives Robbins 1970, Statistical Methods Related to the Law of
the Iterated Logarithm; for batches Law 2015, Simulation Modeling and Analysis, section 9.5.3. How
often it is wrong, and how many requests it takes: benchmarks/simulations/saturation.py.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

BATCHES = 40
# Half the width of an interval in standard errors: Student's t of so many would be 2.02, but the
# slope is looked at again and again, and at its largest when the load is ended.
T = 3.0
# requests that came: of fewer, batches tell nothing of their variance
LEAST_ARRIVALS = 100
# Growth, as a part of what comes. The server that is not to be called saturated has 5 % to spare.
SPARE = -0.05
GROWTHS = (0.1, 0.2, 0.4, 0.8)
# Log of the likelihood ratio from which on it grows; 3.9 would be enough for one in 50 of a walk
# of known variance that nothing holds up at zero.
ENOUGH = 7.0


class Slope(NamedTuple):
    """By how much a queue grows, with its 95 % interval: requests a second."""

    value: float
    low: float
    high: float


class Batches(NamedTuple):
    """Increments of a queue in parts of equal time."""

    seconds: float  # of all of them
    increments: list[float]
    arrivals: float  # that came in each, on average


def measure_slope(
    seconds: Sequence[float],
    arrived: Sequence[int],
    ended: Sequence[int],
) -> Slope | None:
    """Return by how much the queue grows; None (unknown) where too few requests came.

    seconds: ascending instants, from when the load has no warm-up left. arrived, ended: how many
    requests had come and had ended by then.
    """
    batches = make_batches(seconds, arrived, ended)
    return None if batches is None else find_slope(batches)


def find_slope(batches: Batches) -> Slope:
    """Return by how much the queue grows from batch to batch."""
    increments = batches.increments
    count = len(increments)
    mean = sum(increments) / count
    squares = sum((value - mean) ** 2 for value in increments)
    error = math.sqrt(squares / (count - 1) / count)
    half = T * error
    per_s = count / batches.seconds
    return Slope(
        mean * per_s, (mean - half) * per_s, (mean + half) * per_s
    )


def is_growing(
    seconds: Sequence[float],
    arrived: Sequence[int],
    ended: Sequence[int],
) -> bool:
    """Tell whether the queue grows, as in measure_slope(); it may be asked at any time."""
    batches = make_batches(seconds, arrived, ended)
    if batches is None or find_slope(batches).low <= 0:
        return False
    shrinking = measure_distance(batches, SPARE)
    logs = []
    for growth in GROWTHS:
        growing = measure_distance(batches, growth)
        if not growing:
            return True
        logs.append(
            len(batches.increments) / 2 * math.log(shrinking / growing)
        )
    most = max(logs)
    mean = sum(math.exp(log - most) for log in logs) / len(logs)
    return most + math.log(mean) >= ENOUGH


def measure_distance(batches: Batches, growth: float) -> float:
    """Return the squared distance of the increments from those of such a growth."""
    expected = growth * batches.arrivals
    return sum((value - expected) ** 2 for value in batches.increments)


def make_batches(
    seconds: Sequence[float],
    arrived: Sequence[int],
    ended: Sequence[int],
) -> Batches | None:
    """Return the increments from batch to batch; None where there are too few."""
    if len(seconds) <= BATCHES:
        return None
    came = arrived[-1] - arrived[0]
    length = (seconds[-1] - seconds[0]) / BATCHES
    if came < LEAST_ARRIVALS or length <= 0:
        return None
    places = [
        bisect.bisect_left(seconds, seconds[0] + batch * length)
        for batch in range(BATCHES)
    ]
    places.append(len(seconds) - 1)
    queue = [arrived[place] - ended[place] for place in places]
    increments = [float(b - a) for a, b in itertools.pairwise(queue)]
    return Batches(BATCHES * length, increments, came / BATCHES)
