"""Where the warm-up of a load ends: MSER-5.

Of all places to cut a series at, the one is taken after which the mean is known best: the squared
distances from the mean of what is left, over the square of their count, are least. The series is
that of means of five neighbours. Sources: White 1997, An Effective Truncation Heuristic for Bias
Reduction in Simulation Output, Simulation 69(6); White, Cobb and Spratt 2000, A Comparison of
Five Steady-State Truncation Heuristics for Simulation, Winter Simulation Conference.
"""

from __future__ import annotations

from collections.abc import Sequence

NEIGHBOURS = 5
# of means of neighbours; a mean of fewer is known by chance
LEAST_MEANS = 10


def count_warm_up(values: Sequence[float]) -> int | None:
    """Return how many of the first values belong to the warm-up, at most half of them.

    None (unknown) where there are too few to tell.
    """
    count = len(values) // NEIGHBOURS
    if count < LEAST_MEANS:
        return None
    means = [
        sum(values[place * NEIGHBOURS : (place + 1) * NEIGHBOURS])
        / NEIGHBOURS
        for place in range(count)
    ]
    best, least = 0, float("inf")
    total = sum(means)
    squares = sum(mean * mean for mean in means)
    for cut in range(count // 2 + 1):
        left = count - cut
        error = max(0.0, squares - total * total / left) / left**2
        # a rounding error is no reason to cut more
        if error < least * (1 - 1e-9):
            best, least = cut, error
        total -= means[cut]
        squares -= means[cut] ** 2
    return best * NEIGHBOURS
