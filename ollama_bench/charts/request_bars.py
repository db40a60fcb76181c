"""The bars of the timeline: each request waits, reasons and answers, one below the other."""

from __future__ import annotations

import altair as alt

from ollama_bench.analysis.study import Row
from ollama_bench.charts.axes import CROWD
from ollama_bench.charts.labels import Box
from ollama_bench.charts.marks import make_plot, thin, write_text
from ollama_bench.charts.theme import (
    BLUE,
    DARK_RED,
    GREY,
    ORANGE,
    PALE_RED,
    PURPLE,
    RED,
    WIDTH,
)

TIMELESS = "failed, time unknown"
# where nobody knows what of it is reasoning and what is answer
STREAMING = "streaming"
MOST_BARS = 3000  # requests: more are thinner than a pixel
NAME_PX = 18  # room above the first bars for the name of their level
TEXT_PX = 14  # height of the text on a block of failures
STATES = {
    "waiting": GREY,
    "reasoning": ORANGE,
    "answering": BLUE,
    STREAMING: PURPLE,
    "failed": RED,
    TIMELESS: PALE_RED,
}


def draw_request_bars(
    requests: list[Row], x: alt.X, start: float, end: float
) -> alt.LayerChart:
    """Draw the requests below each other in the order they were sent and answered."""
    requests = sorted(thin(requests, MOST_BARS), key=order_of_request)
    bars = make_bars(requests, least_s=(end - start) / 200)
    states = dict(STATES)
    seen = {bar["state"] for bar in bars}
    for state in (TIMELESS, STREAMING):
        if state not in seen:
            del states[state]
    if STREAMING in seen:
        for state in ("reasoning", "answering"):
            if state not in seen:
                del states[state]
    height = min(440, max(160, 9 * len(requests)))
    rows_per_px = len(requests) / height
    domain = [len(requests), -NAME_PX * rows_per_px]
    y = alt.Y(
        "index:Q", axis=None, scale=alt.Scale(domain=domain, nice=False)
    )
    colours = alt.Scale(domain=list(states), range=list(states.values()))
    tooltip = [
        *("level:N", "number:N", "state:N", "status:N"),
        alt.Tooltip("x:Q", title="from s", format=".2f"),
        alt.Tooltip("x2:Q", title="to s", format=".2f"),
    ]
    shown = make_plot(bars).mark_bar(clip=True)
    color = alt.Color("state:N", scale=colours)
    layers = [
        shown.encode(
            x=x, x2="x2:Q", y=y, y2="below:Q", color=color, tooltip=tooltip
        )
    ]
    names = name_levels(requests, start, end, height)
    for align in ("left", "right"):
        if group := [name for name in names if name["align"] == align]:
            style = {
                "baseline": "bottom",
                "align": align,
                "dy": -2,
                "fontSize": 12,
            }
            layers.append(write_text(group, "text", style, x=x, y=y))
    if counts := count_timeless(bars, TEXT_PX * rows_per_px):
        text = make_plot(counts).mark_text(
            align="left", dx=6, color=DARK_RED, fontSize=12
        )
        layers.append(text.encode(x=x, y=y, text="text:N"))
    return alt.layer(*layers).properties(height=height)


def order_of_request(row: Row) -> tuple[float, float, float]:
    return row["at_s"], row["first_s"] or 1e99, row["end_s"] or 1e99


def make_bars(requests: list[Row], least_s: float) -> list[Row]:
    level_ends = last_ends(requests)
    # thin bars overlap: no seams
    thickness = 0.85 if len(requests) < 150 else 1.2
    bars = []
    for index, row in enumerate(requests):
        level_end_s = level_ends[row["level_id"]]
        bars += bars_of_request(
            row, index, index + thickness, least_s, level_end_s
        )
    return bars


def last_ends(requests: list[Row]) -> dict[int, float | None]:
    """Return when the last request of each level ended; None if that is not known of any."""
    in_order = sorted(requests, key=lambda row: row["end_s"] or 0)
    return {row["level_id"]: row["end_s"] for row in in_order}


def bars_of_request(
    row: Row,
    index: int,
    below: float,
    least_s: float,
    level_end_s: float | None,
) -> list[Row]:
    """Return a request as bars: it waits, then reasons, then answers.

    A failure is red and at least least_s long. One whose end is unknown is pale over its level.
    """
    common = {
        "index": index,
        "below": below,
        "level": f"{row['concurrency']} {CROWD}",
        "level_id": row["level_id"],
        "number": row["number"],
        "status": row["status"],
    }
    sent, first, end = row["at_s"], row["first_s"], row["end_s"]
    is_completed = row["status"] == "completed"
    if end is None and row["status"] not in ("completed", "in_flight"):
        until = max(level_end_s or 0, sent + least_s)
        return [{**common, "x": sent, "x2": until, "state": TIMELESS}]
    if first is None:
        return [
            {
                **common,
                "x": sent,
                "x2": max(end or 0, sent + least_s),
                "state": "failed",
            }
        ]
    spans = [(sent, first, "waiting")]
    if not is_completed:
        spans.append((first, end, "failed"))
    elif row["answer_s"] is None:
        spans.append((first, end, name_unsplit(row)))
    else:
        spans.append((first, row["answer_s"], "reasoning"))
        spans.append((row["answer_s"], end, "answering"))
    return [
        {**common, "x": left, "x2": right, "state": state}
        for left, right, state in spans
        if right is not None and right > left
    ]


def name_unsplit(row: Row) -> str:
    """Return what a stream without an answer was: reasoning alone, or nobody knows what."""
    chunks = row["chunks"]
    is_reasoning = bool(chunks) and row["reasoning_chunks"] == chunks
    return "reasoning" if is_reasoning else STREAMING


def count_timeless(bars: list[Row], least_rows: float) -> list[Row]:
    """Return a text for each block of failures of unknown time that is high enough for one."""
    blocks: dict[tuple[str, float], list[Row]] = {}
    for bar in bars:
        if bar["state"] == TIMELESS:
            blocks.setdefault((bar["level"], bar["x"]), []).append(bar)
    return [
        {
            "x": x,
            "index": (own[0]["index"] + own[-1]["below"]) / 2,
            "text": f"{len(own)} {TIMELESS}",
        }
        for (_, x), own in blocks.items()
        if len(own) >= least_rows
    ]


def name_levels(
    requests: list[Row], start: float, end: float, height: int
) -> list[Row]:
    """Return the name of each level above its first bar; of names that would touch, the largest."""
    tops: dict[int, Row] = {}
    for index, row in enumerate(requests):
        top = {
            "x": row["at_s"],
            "index": index,
            "concurrency": row["concurrency"],
        }
        tops.setdefault(row["level_id"], top)
    above = NAME_PX * len(requests) / height  # the room on top, in rows
    found: list[Row] = []
    taken: list[Box] = []
    for top in sorted(tops.values(), key=lambda top: -top["concurrency"]):
        text = str(top["concurrency"]) + ("" if found else f" {CROWD}")
        x = WIDTH * (top["x"] - start) / (end - start)
        y = height * (top["index"] + above) / (len(requests) + above)
        align, width = (
            ("right" if x > WIDTH * 0.9 else "left"),
            8 * len(text.replace(CROWD, "at once")) + 4,
        )
        middle = x + (width / 2 if align == "left" else -width / 2)
        box = Box(middle, y - 8, width, 13)
        if box.is_free(taken):
            taken.append(box)
            found.append(
                {
                    "x": top["x"],
                    "index": top["index"],
                    "text": text,
                    "align": align,
                }
            )
    return found
