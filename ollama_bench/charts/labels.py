"""Where texts go in a plot, so that none lies on another, on a line or beyond the edge.

All lengths are pixels of the plot. y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ollama_bench.analysis.study import Row
from ollama_bench.charts.theme import HEIGHT, WIDTH

LABEL_PX = 15  # height of a label
LETTER_PX = 7.5  # width of one of its letters
LINE_PARTS = 30  # a line is avoided as so many small boxes
# labels that a new one may touch: earlier ones are too far away
NEAR_LABELS = 3


class Box(NamedTuple):
    """A rectangle by its middle."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        near_x = abs(self.x - other.x) * 2 < self.width + other.width
        return (
            near_x
            and abs(self.y - other.y) * 2 < self.height + other.height
        )

    def is_free(self, others: Iterable[Box]) -> bool:
        return not any(self.overlaps(other) for other in others)


class Place(NamedTuple):
    """Where the number of a point stands: its offset and which end of the text that is."""

    dx: float
    dy: float
    align: str

    def box(self, x: float, y: float, width: float) -> Box:
        shift = {"left": width / 2, "center": 0, "right": -width / 2}[
            self.align
        ]
        return Box(x + self.dx + shift, y + self.dy, width, 10)


ABOVE, HIGHER = Place(0, -13, "center"), Place(0, -26, "center")
BELOW = Place(0, 15, "center")
LEFT, RIGHT = Place(-5, -10, "right"), Place(5, -10, "left")
NUMBER_PLACES = (ABOVE, RIGHT, LEFT, BELOW, HIGHER)  # the best first


def place_numbers(
    means: list[Row], top: float, height: int
) -> dict[Place, list[Row]]:
    """Group the numbers of a line by their place: off the line, off each other, off the axis.

    A row has concurrency, y, text and over, the value above which the number stands; top is the
    value at the upper end of the axis.
    """
    means = sorted(means, key=lambda row: row["concurrency"])
    step = WIDTH / max(1, len(means))
    points = [
        ((i + 0.5) * step, height * (1 - row["y"] / top))
        for i, row in enumerate(means)
    ]
    path = path_boxes(points)
    groups: dict[Place, list[Row]] = {}
    taken: list[Box] = []
    for row, (x, y) in zip(means, points, strict=True):
        over, width = (
            height * (1 - row["over"] / top),
            LETTER_PX * len(row["text"]),
        )
        boxes = {
            place: place.box(x, over, width) for place in NUMBER_PLACES
        }
        # the axis, or a bar, is in the way
        if y >= height - 22 or over != y:
            del boxes[BELOW]
        best = choose_place(boxes, taken[-NEAR_LABELS:], path)
        taken.append(boxes[best])
        groups.setdefault(best, []).append(row)
    return groups


def choose_place(
    boxes: dict[Place, Box], taken: Sequence[Box], path: Sequence[Box]
) -> Place:
    """Return the first place off other numbers and the path, else off the numbers alone."""
    apart = [
        place
        for place, box in boxes.items()
        if box.x >= box.width / 2 and box.is_free(taken)
    ]
    off_path = [place for place in apart if boxes[place].is_free(path)]
    return (off_path or apart or [ABOVE])[0]


def path_boxes(points: list[tuple[float, float]]) -> list[Box]:
    """Return small boxes along the line through some points."""
    return [
        Box(
            x + (x2 - x) * part / LINE_PARTS,
            y + (y2 - y) * part / LINE_PARTS,
            3,
            3,
        )
        for (x, y), (x2, y2) in zip(points, points[1:], strict=False)
        for part in range(LINE_PARTS + 1)
    ]


def place_labels(
    rows: list[Row],
    domain: tuple[float, float],
    highest: float,
    others: Iterable[Row] = (),
) -> None:
    """Give each point an "offset" for its label where nothing else lies; none: no label.

    x is logarithmic over domain, y linear from 0 to highest. Labels of failures go first.
    """
    spots = [locate(row, domain, highest) for row in rows]
    marks = spots + [locate(row, domain, highest) for row in others]
    taken = [Box(x, y, 10, 10) for x, y in marks]
    path = path_boxes(spots)
    placed = zip(rows, spots, strict=True)
    for row, (x, y) in sorted(
        placed, key=lambda pair: not pair[0].get("failed")
    ):
        width = label_width(row)
        boxes = [
            Box(x + dx, y + dy, width, LABEL_PX)
            for dx, dy in label_offsets(width)
        ]
        free = [
            box for box in boxes if is_inside(box) and box.is_free(taken)
        ]
        if free:
            best = next(
                (box for box in free if box.is_free(path)), free[0]
            )
            row["offset"] = [best.x - x, best.y - y]
            taken.append(best)


def is_inside(box: Box) -> bool:
    inside_x = box.width / 2 <= box.x <= WIDTH - box.width / 2
    return inside_x and 0 <= box.y <= HEIGHT - LABEL_PX


def label_width(row: Row) -> float:
    return LETTER_PX * len(row["label"]) + 8


def label_offsets(width: float) -> list[tuple[float, float]]:
    """Return where a label may go, the best offset first."""
    side, corner = width / 2 + 8, width / 2 + 4
    inward = 8 - width / 2  # for a point near the edge
    return [
        *((0, -16), (0, 17), (side, 0), (-side, 0)),
        *((corner, -14), (-corner, -14), (corner, 14), (-corner, 14)),
        *((0, -31), (0, 32)),
        *((inward, 20), (inward, -20), (inward, 36), (inward, -36)),
        *((-inward, 20), (-inward, -20)),
    ]


def locate(
    row: Row, domain: tuple[float, float], highest: float
) -> tuple[float, float]:
    """Return where a point lies on a logarithmic x and a linear y."""
    low, high = domain
    x = WIDTH * math.log(row["x"] / low) / math.log(high / low)
    return x, HEIGHT * (1 - row["y"] / highest)


def group_by_offset(
    rows: list[Row],
) -> dict[tuple[float, float, bool], list[Row]]:
    """Group the labels that share an offset, and whether they name failures."""
    groups: dict[tuple[float, float, bool], list[Row]] = {}
    for row in rows:
        if "offset" in row:
            dx, dy = row["offset"]
            groups.setdefault((dx, dy, bool(row["failed"])), []).append(
                row
            )
    return groups
