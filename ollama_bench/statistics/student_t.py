"""Student's t distribution, without SciPy: loading that takes longer than an answer may.

Sources: Abramowitz and Stegun 1964, 26.7.1 (by the incomplete beta function) and 26.5.8 (its
continued fraction), computed as by Lentz 1976.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

# from here on it is the normal distribution to eight digits
MOST_FREEDOM = 1e8
PRECISION = 1e-15
MOST_STEPS = 100_000  # of a fraction; a million degrees take 2,000
MOST_CORRECTIONS = 1000  # of a quantile; 40 are many
TINY = 1e-300


@functools.cache
def t_quantile(p: float, freedom: float) -> float:
    """Return the t that Student's distribution is below with probability p, from 0 to 1.

    Endless degrees of freedom (math.inf) make it the normal distribution.
    """
    if p in (0, 1):
        return math.copysign(math.inf, p - 0.5)
    sign, above = (1.0, 1 - p) if p > 0.5 else (-1.0, p)
    t = max(0.0, -NormalDist().inv_cdf(above))
    if freedom > MOST_FREEDOM:
        return sign * t
    # Newton's steps rise to the quantile: what is above t falls ever more slowly
    for _ in range(MOST_CORRECTIONS):
        step = (t_above(t, freedom) - above) / t_density(t, freedom)
        t += step
        if step <= PRECISION * t:
            break
    return sign * t


def t_probability(t: float, freedom: float) -> float:
    """Return how probable a value below t is."""
    above = t_above(abs(t), freedom)
    return 1 - above if t > 0 else above


def t_above(t: float, freedom: float) -> float:
    """Return how probable a value above t is, for t from 0."""
    if freedom > MOST_FREEDOM:
        return 0.5 * math.erfc(t / math.sqrt(2))
    if math.isinf(t):
        return 0.0
    x = freedom / (freedom + t * t)
    return 0.5 * beta_ratio(freedom / 2, 0.5, x, t * t / (freedom + t * t))


def t_density(t: float, freedom: float) -> float:
    half = freedom / 2
    log = math.lgamma(half + 0.5) - math.lgamma(half)
    log -= (half + 0.5) * math.log1p(t * t / freedom)
    return math.exp(log) / math.sqrt(freedom * math.pi)


def beta_ratio(a: float, b: float, x: float, rest: float) -> float:
    """Return the regularized incomplete beta function; rest is 1 - x, known more precisely."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_ratio(b, a, rest, x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log += a * math.log(x) + b * math.log(rest)
    return math.exp(log) / (a * beta_fraction(a, b, x))


def beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, for a small x."""
    value = above = 1.0
    below = 0.0
    for step in range(1, MOST_STEPS):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) / (a + 2 * m) / (a + 2 * m + 1)
        else:
            term = m * (b - m) / (a + 2 * m - 1) / (a + 2 * m)
        below = 1 / (1 + term * x * below or TINY)
        above = 1 + term * x / above or TINY
        value *= above * below
        if abs(above * below - 1) < PRECISION:
            break
    return value
