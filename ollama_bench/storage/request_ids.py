"""The id of a request: made of its level's and of its number, so that who fires needs not ask."""

from __future__ import annotations

# a request's id is its level's times this, plus its number
REQUEST_IDS = 1_000_000
FAR_IDS, FAR_BITS = 1 << 30, 32  # of numbers that do not fit in there


def make_request_id(level_id: int, number: int) -> int:
    """Return the id of a request: levels of a million or more have ids of their own."""
    if number < REQUEST_IDS:
        return level_id * REQUEST_IDS + number
    return (FAR_IDS + level_id << FAR_BITS) + number


def select_request_id(level_id: str, number: str) -> str:
    """Return the same as SQL of two columns."""
    return (
        f"CASE WHEN {number} < {REQUEST_IDS} THEN {level_id} * {REQUEST_IDS} + {number} "
        f"ELSE (({FAR_IDS} + {level_id}) << {FAR_BITS}) + {number} END"
    )
