"""The interactive response-time law: people = requests a second x (response time + think time).

It holds of every closed system in balance, whatever its laws are (Denning and Buzen 1978, The
Operational Analysis of Queueing Network Models, section 3.4; Lazowska et al. 1984, Quantitative
System Performance, section 3.2). Over a finite time it holds but for the cycles at its edges. What
had passed of a person's first one before it began is known, and not counted. What has passed of the
last one is known as well, but not that it will end: no more than the longest that did counts, and
of who was not heard the mean of a cycle's age at an instant (Cox 1962, Renewal Theory, section
5.2). The interval is made of that age's variance, which counts twice, since of a skewed law its
mean is about as uncertain. It takes the third moment of a cycle, which a sample of a skewed law
shows too small: at least that of a log-normal law of the same mean and variance is taken, and the
interval longer by one over the root of the cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ollama_bench.statistics.student_t import t_quantile

UPPER = 0.975  # quantile of a 95 % interval
# Cycles for each degree of freedom of Student's t: the third moment of so few is too small.
CYCLES_FOR_ONE = 4
# cycles of each person, on average: below, a cycle may have both edges
LEAST_CYCLES = 2.0


class LawCheck(NamedTuple):
    """People / (requests a second x mean cycle), with its 95 % interval; 1 is as it must be."""

    ratio: float
    low: float
    high: float


def check_law(
    people: int,
    duration_s: float,
    cycles_s: Sequence[float],
    before_s: float,
    since_s: Sequence[float],
) -> LawCheck | None:
    """Hold a stretch of time against the law.

    cycles_s: response time + the think time before it, of each request that ended in that time.
    before_s: what had passed of them all before it began. since_s: from the last of each person
    until its end. None (unknown) where it is too short for them.
    """
    count, total = len(cycles_s), sum(cycles_s)
    if not total or duration_s * count < LEAST_CYCLES * total:
        return None
    mean = total / count
    square = sum(cycle**2 for cycle in cycles_s) / count
    cube = sum(cycle**3 for cycle in cycles_s) / count
    cube = max(cube, (square / mean) ** 3)
    age = square / (2 * mean)
    age_variance = cube / (3 * mean) - age**2
    longest = max(cycles_s)
    after_s = sum(min(one, longest) for one in since_s)
    after_s += age * (people - len(since_s))
    share = (total - before_s + after_s) / (people * duration_s)
    t = t_quantile(UPPER, max(1, count // CYCLES_FOR_ONE))
    half = t * (2 * age_variance / people) ** 0.5 / duration_s
    half *= 1 + count**-0.5
    if share <= half:
        return None
    return LawCheck(1 / share, 1 / (share + half), 1 / (share - half))
