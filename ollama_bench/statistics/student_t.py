"""Student's t distribution."""

from __future__ import annotations

import math
from statistics import NormalDist

# degrees of freedom from which the normal distribution is used
ALMOST_NORMAL = 1000
HALVINGS = 50
SIMPSON_STEPS = 200


def t_quantile(p: float, freedom: float) -> float:
    """Return the t that Student's distribution is below with probability p, from 0.5 to 1.

    P(0 < T < t) is the integral of cos(x)^(freedom - 1) from 0 to atan(t / sqrt(freedom)),
    divided by twice that integral to pi / 2 (Abramowitz and Stegun 26.7).
    """
    if freedom > ALMOST_NORMAL:
        return NormalDist().inv_cdf(p)
    wanted = (2 * p - 1) * integrate_cosine(math.pi / 2, freedom - 1)
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if integrate_cosine(middle, freedom - 1) < wanted:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def integrate_cosine(end: float, power: float) -> float:
    """Integrate cos(x)^power from 0 to end by Simpson's rule."""
    steps = SIMPSON_STEPS
    heights: list[float] = [
        max(0.0, math.cos(end * i / steps)) ** power
        for i in range(steps + 1)
    ]
    odd, even = sum(heights[1::2]), sum(heights[2:-1:2])
    return (heights[0] + 4 * odd + 2 * even + heights[-1]) * end / steps / 3
