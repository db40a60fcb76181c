"""Gunther's Universal Scalability Law, fitted by least squares.

    law = fit_law([(1, 53.0), (2, 61.0), (4, 72.0), (8, 90.0)])
    law.at(16), law.peak

Source: Gunther 2007, Guerrilla Capacity Planning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_LOADS = 4  # three parameters and one more: with fewer any curve fits
# a fit with a larger error has parameters that mean little
MOST_ERROR_RATIO = 0.1
SINGULAR = 1e-300  # a pivot below this has no inverse
# which parameters to keep: alone, contention, crosstalk
TERMS = ((0, 1, 2), (0, 1), (0, 2), (0,))

Point = tuple[float, float]  # load and throughput


@dataclass(frozen=True)
class Law:
    """X(N) = alone * N / (1 + contention (N-1) + crosstalk N (N-1))."""

    alone: float  # throughput of one
    contention: float  # share of the work that waits for its turn
    crosstalk: float  # cost of each pair that must agree

    def at(self, n: float) -> float:
        """Return the throughput at load n."""
        cost = 1 + self.contention * (n - 1) + self.crosstalk * n * (n - 1)
        return self.alone * n / cost

    @property
    def peak(self) -> float | None:
        """The load with the highest throughput; None if it rises for ever."""
        if self.crosstalk <= 0 or self.contention >= 1:
            return None
        return math.sqrt((1 - self.contention) / self.crosstalk)

    def error_ratio(self, points: Sequence[Point]) -> float:
        """Return the root mean square of the relative errors."""
        squares = [(self.at(n) / x - 1) ** 2 for n, x in points]
        return math.sqrt(sum(squares) / len(squares))


@dataclass(frozen=True)
class FittedLaw(Law):
    """A law with its root mean square error on the points that it was fitted to."""

    error: float


def fit_law(points: Sequence[Point]) -> FittedLaw | None:
    """Fit the law by least squares of the relative error; no parameter is negative.

    N / X is linear in (1, N-1, N(N-1)), so the fit has a closed form. If a parameter comes out
    negative, the best fit without it counts. Return None if there are fewer than FEWEST_LOADS
    loads or the best fit has an error above MOST_ERROR_RATIO.
    """
    known = [(n, x) for n, x in points if x and x > 0]
    if len({n for n, _ in known}) < FEWEST_LOADS:
        return None
    laws = [
        law for kept in TERMS if (law := fit_terms(known, kept)) is not None
    ]
    fitted = [
        FittedLaw(
            law.alone, law.contention, law.crosstalk, law.error_ratio(known)
        )
        for law in laws
    ]
    best = min(fitted, key=lambda law: law.error, default=None)
    return best if best and best.error <= MOST_ERROR_RATIO else None


def fit_terms(points: Sequence[Point], kept: Sequence[int]) -> Law | None:
    """Fit the law with some of its terms; None if that has no solution without negative ones."""
    rows = [terms_at(n, x, kept) for n, x in points]
    size = range(len(kept))
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in size] for i in size
    ]
    right = [sum(row[i] for row in rows) for i in size]
    solved = solve(matrix, right)
    if solved is None or solved[0] <= 0 or min(solved) < 0:
        return None
    found = dict(zip(kept, solved, strict=True))
    a, b, c = (found.get(i, 0.0) for i in range(3))
    return Law(1 / a, b / a, c / a)


def terms_at(n: float, x: float, kept: Sequence[int]) -> list[float]:
    """Return the terms divided by N / X: their weighted sum should be 1."""
    terms = (1, n - 1, n * (n - 1))
    return [terms[i] * x / n for i in kept]


def solve(
    matrix: list[list[float]], right: list[float]
) -> list[float] | None:
    """Solve a small linear system by elimination with pivots; None if it is singular."""
    rows = [
        [*line, value] for line, value in zip(matrix, right, strict=True)
    ]
    size = len(rows)
    for i in range(size):
        pivot = max((abs(rows[k][i]), -k, k) for k in range(i, size))[2]
        rows[i], rows[pivot] = rows[pivot], rows[i]
        if abs(rows[i][i]) < SINGULAR:
            return None
        for k in range(size):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                pairs = zip(rows[k], rows[i], strict=True)
                rows[k] = [left - factor * above for left, above in pairs]
    return [rows[i][size] / rows[i][i] for i in range(size)]
