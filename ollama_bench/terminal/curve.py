"""The curve of throughput and wait over the levels, in plain text: a bar for each.

    for line in draw([Point(1, 42.2, 0.31), ...], width=80): print(line)

Throughput and wait by level
AT ONCE  TOKENS/S of all                     WAIT, first token
      1  ██████▌ 42.2                        ▌ 312 ms
     19  ████████████████████████ 153        ▌ 323 ms
     32  ███████████████████████▊ 152        ██████ 2.95 s
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ollama_bench.terminal.figures import format_duration, format_number

FEWEST_POINTS = 3  # with two there is no curve
BLOCKS = " ▏▎▍▌▋▊▉█"  # eighths of a cell
PLAIN_BLOCKS = " #"
LEVEL_CELLS = 7  # "AT ONCE"
VALUE_CELLS = 8  # of the value after a bar, with the blank before it
GAP = "  "


class Point(NamedTuple):
    """A level: requests at once or people, tokens/s of all, seconds to the first token."""

    number: int
    tokens_per_s: float | None
    wait_s: float | None


def draw(
    points: Sequence[Point],
    width: int,
    mark: str = "",
    crowd: str = "at once",
) -> list[str]:
    """Return the lines; none for fewer than three known levels, or where there is no room.

    mark stands after the title: what the levels are; crowd, what they count, above their numbers.
    The longest bar of each half is its greatest value, an unknown value has no bar.
    """
    cells = (width - LEVEL_CELLS - 1) // 2 - len(GAP) - VALUE_CELLS
    known = [point for point in points if point[1:] != (None, None)]
    if len(known) < FEWEST_POINTS or cells < 1:
        return []
    blocks = choose_blocks()
    rates = draw_bars(
        [point.tokens_per_s for point in points],
        cells,
        blocks,
        format_number,
    )
    waits = draw_bars(
        [point.wait_s for point in points], cells, blocks, format_duration
    )
    half = cells + VALUE_CELLS
    lines = [(crowd.upper(), "TOKENS/S of all", "WAIT, first token")]
    lines += [
        (str(point.number), rate, wait)
        for point, rate, wait in zip(points, rates, waits, strict=True)
    ]
    return [
        "",
        f"Throughput and wait by level{mark}"[:width],
        *(
            f"{level:>{LEVEL_CELLS}}{GAP}{rate[:half]:<{half}}{GAP}{wait[:half]}".rstrip()
            for level, rate, wait in lines
        ),
    ]


def draw_bars(
    values: Sequence[float | None],
    cells: int,
    blocks: str,
    write: Callable[[float | None], str],
) -> list[str]:
    """Return a bar and its value for each, the greatest as long as there are cells."""
    most = max((value for value in values if value), default=0.0)
    return [
        f"{draw_bar(value / most if value else 0.0, cells, blocks)} {write(value)}".lstrip()
        for value in values
    ]


def draw_bar(ratio: float, cells: int, blocks: str) -> str:
    """Return a bar; what is more than nothing has at least its thinnest part."""
    parts = len(blocks) - 1  # of a cell
    filled = round(ratio * cells * parts)
    if ratio > 0:
        filled = max(filled, 1)
    whole, rest = divmod(filled, parts)
    return blocks[-1] * whole + (blocks[rest] if rest else "")


def choose_blocks() -> str:
    """Return the characters of a bar that standard output's encoding has."""
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN_BLOCKS
    return BLOCKS
