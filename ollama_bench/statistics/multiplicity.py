"""Many tests with one probability of any false alarm.

Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], budget: float) -> list[float]:
    """Return the level at which each test is to be judged; any false alarm then has at most budget.

    The least p value has the strictest level; after the first that is not below its level, all
    have that of the first.
    """
    levels = [0.0] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    level, has_stopped = 0.0, False
    for place, index in enumerate(order):
        if not has_stopped:
            level = budget / (len(order) - place)
        levels[index] = level
        has_stopped = has_stopped or p_values[index] >= level
    return levels
