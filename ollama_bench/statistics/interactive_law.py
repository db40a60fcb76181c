"""The interactive response-time law: people = requests a second x (response time + think time).

It holds of every closed system in balance, whatever its laws are (Denning and Buzen 1978, The
Operational Analysis of Queueing Network Models, section 3.4; Lazowska et al. 1984, Quantitative
System Performance, section 3.2). Over a finite time it holds but for the cycles at its edges: a
person's cycle that ends in it began before, and the one that is under way at its end is not
counted. What has passed of a cycle at an instant has the variance of its age (Cox 1962, Renewal
Theory, section 5.2), and both edges of all people have it. It takes the third moment of a cycle,
which a sample of a skewed law shows too small: at least that of a log-normal law of the same mean
and variance is taken, and the interval longer by one over the root of the cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_quantile

UPPER = 0.975  # quantile of a 95 % interval
# Cycles for each degree of freedom of Student's t: the third moment of so few is too small.
CYCLES_FOR_ONE = 4
# cycles of each person, on average: below, both edges may be in the same one
LEAST_CYCLES = 2.0


class LawCheck(NamedTuple):
    """People / (requests a second x mean cycle), with its 95 % interval; 1 is as it must be."""

    ratio: float
    low: float
    high: float


def check_law(
    people: int, duration_s: float, cycles_s: Sequence[float]
) -> LawCheck | None:
    """Hold a stretch of time against the law.

    cycles_s: response time + the think time before it, of each request that ended in that time.
    None (unknown) where it is too short for them.
    """
    count, total = len(cycles_s), sum(cycles_s)
    if not total or duration_s * count < LEAST_CYCLES * total:
        return None
    mean = total / count
    square = sum(cycle**2 for cycle in cycles_s) / count
    cube = sum(cycle**3 for cycle in cycles_s) / count
    cube = max(cube, (square / mean) ** 3)
    age_variance = cube / (3 * mean) - (square / (2 * mean)) ** 2
    share = total / (people * duration_s)
    t = t_quantile(UPPER, max(1, count // CYCLES_FOR_ONE))
    half = t * (2 * age_variance / people) ** 0.5 / duration_s
    half *= 1 + count**-0.5
    if share <= half:
        return None
    return LawCheck(1 / share, 1 / (share + half), 1 / (share - half))
