"""Least squares of a few columns: no coefficient below 0.

Without NumPy and SciPy: loading them takes longer than an answer may. Source: Lawson and Hanson
1974, Solving Least Squares Problems, chapter 23. The best coefficients are the unbounded ones of
those columns that have any, and of a few columns all subsets are soon tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

Vector = Sequence[float]
# what is left of a column without the part along others: less is rounding
LEAST_OWN_RATIO = 1e-12


def solve_nonnegative(
    columns: Sequence[Vector], target: Vector
) -> list[float]:
    """Return the coefficients, none below 0, whose sum of columns is nearest to the target."""
    best, least = [0.0] * len(columns), multiply(target, target)
    for size in range(1, len(columns) + 1):
        for places in itertools.combinations(range(len(columns)), size):
            found = solve([columns[place] for place in places], target)
            if found is None or min(found[0]) < 0:
                continue
            coefficients, rest = found
            if rest < least:
                least, best = rest, [0.0] * len(columns)
                for place, value in zip(places, coefficients, strict=True):
                    best[place] = value
    return best


def solve(
    columns: Sequence[Vector], target: Vector
) -> tuple[list[float], float] | None:
    """Return the coefficients nearest to the target, and the squares that are left.

    None where the columns depend on each other. By the Gram-Schmidt process, each step done twice.
    """
    units: list[list[float]] = []
    shares: list[list[float]] = []  # of each column along the units
    for column in columns:
        own, along = split_off(column, units)
        length = math.sqrt(multiply(own, own))
        if length <= LEAST_OWN_RATIO * math.sqrt(multiply(column, column)):
            return None
        units.append([value / length for value in own])
        shares.append([*along, length])
    rest, along = split_off(target, units)
    coefficients = [0.0] * len(columns)
    for place in reversed(range(len(columns))):
        later = sum(
            coefficients[other] * shares[other][place]
            for other in range(place + 1, len(columns))
        )
        coefficients[place] = (along[place] - later) / shares[place][place]
    return coefficients, multiply(rest, rest)


def split_off(
    vector: Vector, units: Sequence[Vector]
) -> tuple[Vector, list[float]]:
    """Return what of a vector is along none of some orthogonal units, and how much along each."""
    shares = [0.0] * len(units)
    # the second time takes what rounding left
    for _ in range(2):
        for place, unit in enumerate(units):
            share = multiply(vector, unit)
            shares[place] += share
            vector = [
                value - share * part
                for value, part in zip(vector, unit, strict=True)
            ]
    return vector, shares


def multiply(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
