"""charts.py - one Altair chart for each question, each drawn from one view.

    for chart in charts.CHARTS: spec = chart.draw(database, study)      # None: its data is absent
    charts.save_png(spec, Path("data/qwen3-8b/timeline.png"), top=Path("data"))

A chart is drawn twice from the same spec: still as a 1600 px PNG, live in the report.
"""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Callable, Iterable

import altair as alt
import vl_convert

from ollama_bench.storage import files
from ollama_bench.inputs import objectives
from ollama_bench.analysis.selection import Study
from ollama_bench.analysis.verdict import P99_FLOOR, digits, seconds

PNG_WIDTH_PX = 1600
NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
WIDTH, HEIGHT = 720, 340  # of a single plot; the PNG shows it about twice as large
SMALL = 170  # height of each of some below each other
MOST_BARS = 3000  # requests in a timeline: more are thinner than a pixel
MOST_POINTS = 600  # of a line over time: one for each pixel or so
SPREAD = 9  # dots of a level lie in so many columns
LABEL_PX = 15  # height of a label; it is so wide for each letter ...
LETTER_PX = 7.5
LABEL_ROOM = 0.09  # of an axis, left free for the label of the last point
NAME_PX = 18  # room above the first bars of a timeline for the name of their level
TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
EDGES_NS = [
    round(10 ** (6 + tenth / 10)) for tenth in range(-10, 71)
]  # cells of gaps, 0.1 ms to 3 h; what is shorter came in one read
FINE_DIGITS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
LOG_TICKS_S = (  # the coarsest that gives FEW_TICKS within the axis: 1-3, 1-2-5, every digit
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000),
    (
        0.001,
        0.002,
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        20,
        30,
        60,
        120,
        300,
        600,
        1200,
        1800,
        3600,
        7200,
        18000,
        36000,
    ),
    tuple(
        round(digit * power, 5)
        for power in (0.001, 0.01, 0.1, 1, 10)
        for digit in FINE_DIGITS
        if digit * power < 60
    )
    + tuple(
        unit * digit
        for unit in (60, 600, 3600, 36000)
        for digit in FINE_DIGITS
        if unit != 600 or digit < 6
    ),
)
FEW_TICKS = 3
ABOVE, HIGHER, BELOW, LEFT, RIGHT = (
    (0, -13, "center"),
    (0, -26, "center"),
    (0, 15, "center"),
    (-5, -10, "right"),
    (5, -10, "left"),
)
NUMBER_PLACES = (ABOVE, RIGHT, LEFT, BELOW, HIGHER)  # of a line's numbers, the best place first
CROWDED = 9  # levels: with more of them "12 failed" would touch the next
TWO_DECADES = 100  # below this 1-3 leaves the upper end bare

BLUE, ORANGE, GREEN, RED, GREY, PURPLE, AMBER, PALE_RED, DARK_RED = (
    "#2f7ed8",
    "#e69f00",
    "#1b9e77",
    "#d7301f",
    "#8b949e",
    "#8e6bbf",
    "#d97706",
    "#f4b6ad",
    "#7f1d12",
)
PALETTE = [BLUE, ORANGE, GREEN, PURPLE, "#56b4e9", "#cc79a7", "#a6761d", GREY]
MSS = "floor(datum.value / 60) + ':' + format(floor(datum.value % 60), '02d')"
SECONDS_OR_MSS = f"datum.value >= 60 ? {MSS} : datum.value + ' s'"

TIMELESS = "failed, time unknown"
SIMULATED = "simulated server: no measurement of a real machine"
WORDS_NOTE = "Tokens are words here: the original tool split the text on blanks."
NOTE_LETTERS = 118  # of a subtitle's line

OF_STUDY = "JOIN chosen USING (run_id, model) WHERE model = :model"
OF_LEVELS = (
    OF_STUDY + " AND level_id NOT IN (SELECT level_id FROM aside)"
)  # for views with a level_id


@dataclass
class Chart:
    """A question, the file that answers it, the SQL that feeds it and the function that draws it."""

    name: str
    title: str
    sql: str
    paint: Callable[[Study, list[dict]], alt.TopLevelMixin | None]
    needs: str  # what a file without it lacks
    top: int = 10**9  # levels above are left out
    note: str | Callable[[Study, list[dict]], str] = ""  # what the marks mean; the subtitle says it
    tokens: bool = False  # what it shows is made of counted tokens

    def draw(self, database, study: Study, limits: dict[str, float] | None = None) -> dict | None:
        """The Vega-Lite spec, or None when the study has nothing to draw; limits are objectives other than the run's own."""
        if limits is not None:
            study = replace(
                study,
                objectives={objectives.COLUMNS[name][0]: bound for name, bound in limits.items()},
            )
        rows = list(database.query(self.sql, {"model": study.model, "top": self.top}))
        painted = self.paint(study, rows) if rows else None
        if not painted:
            return None
        note = self.note if isinstance(self.note, str) else self.note(study, rows)
        notes = [note] * bool(note) + [WORDS_NOTE] * (self.tokens and counts_words(study))
        return finish(
            painted,
            self.title,
            study.model,
            study.simulated,
            any(level["errors"] for level in study.levels),
            notes,
        )

    def says_more(self, study: Study) -> bool:
        """Is there a level that its larger sibling shows and it does not, or no sibling at all?"""
        return self.top == 10**9 or any(level["concurrency"] > self.top for level in study.levels)


def counts_words(study: Study) -> bool:
    return any(run["source"] == "import" for run in study.runs)


def finish(
    painted: alt.TopLevelMixin,
    title: str,
    of: str,
    simulated: bool,
    failures: bool = False,
    notes: Iterable[str] = (),
) -> dict:
    """Title and subtitle on top: whose figures, that they are simulated, and the notes (also in usermeta, for the page)."""
    lines = [line for note in notes for line in textwrap.wrap(note, NOTE_LETTERS)]
    subtitle = [of] + ([SIMULATED] if simulated else []) + lines
    return painted.properties(
        usermeta={"notes": list(notes)},
        title=alt.TitleParams(
            title,
            subtitle=subtitle,
            anchor="start",
            offset=26 if failures else 14,
            subtitleColor=AMBER if simulated else GREY,
        ),
    ).to_dict()


TEXT, FAINT, PAGE = (
    "#20262d",
    "#dde1e6",
    "#ffffff",
)  # no mark has these colours: the page recolours them in the dark


def config() -> dict:
    """The look of every chart."""
    text, faint, page = TEXT, FAINT, PAGE
    return {
        "background": page,
        "font": "Helvetica, Arial, sans-serif",
        "padding": 14,
        "title": {"color": text, "fontSize": 19, "subtitleFontSize": 13, "subtitlePadding": 5},
        "axis": {
            "labelColor": text,
            "titleColor": text,
            "gridColor": faint,
            "domainColor": faint,
            "tickColor": faint,
            "labelFontSize": 13,
            "titleFontSize": 13,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "labelAngle": 0,
        },
        "axisX": {
            "grid": False,
            "labelFontSize": 11.5,
            "labelOverlap": "greedy",
            "labelSeparation": 3,
        },
        "axisXQuantitative": {"labelSeparation": 8},
        "style": {
            "halo": {"fill": page, "stroke": page, "strokeWidth": 4, "strokeJoin": "round"}
        },  # keeps lines off the numbers
        "legend": {
            "labelColor": text,
            "titleColor": text,
            "labelFontSize": 13,
            "titleFontSize": 13,
            "orient": "top",
            "title": None,
            "symbolStrokeWidth": 3,
        },
        "text": {"color": text, "fontSize": 13},
        "rule": {"color": text},
        "tick": {"color": text},
        "view": {"stroke": None},
        "range": {"category": PALETTE},
        "point": {"filled": True, "size": 70},
    }


def save_png(spec: dict, path: Path, top: Path) -> None:
    """Write a chart 1600 px wide, below the folder top."""
    svg = vl_convert.vegalite_to_svg(drawable(spec), config=config())
    width = float(re.search(r'<svg[^>]* width="([\d.]+)"', svg).group(1))
    files.write(path, vl_convert.svg_to_png(svg, scale=PNG_WIDTH_PX / width), top)


def drawable(part):
    """The spec without characters that no SVG can hold: one of them would end the whole program."""
    if isinstance(part, str):
        return NOT_IN_XML.sub("·", part)
    if isinstance(part, dict):
        return {key: drawable(value) for key, value in part.items()}
    return [drawable(one) for one in part] if isinstance(part, list) else part


# Pieces that the charts share.


def base(rows: list[dict]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows)).properties(width=WIDTH, height=HEIGHT)


def written(
    rows: list[dict], text: str, style: dict, letters: dict | None = None, **where
) -> alt.LayerChart:
    """Text on a halo of the page's colour; letters: how the text itself differs from that."""
    return alt.layer(
        *[
            base(rows).mark_text(**style, **more).encode(text=f"{text}:N", **where)
            for more in ({"style": "halo"}, letters or {})
        ]
    )


def levels_axis(**more) -> alt.X:
    """Levels evenly spaced: they double, and a linear axis would press the small ones together."""
    return alt.X("concurrency:O", title="requests at once", **more)


def time_axis(
    values: list[float], what: str | None, channel=alt.Y, field: str = "y", start: float = 0
) -> alt.X | alt.Y:
    """From start to the largest value: seconds below two minutes, m:ss above, with ticks on round times."""
    longest = max((value for value in values if value is not None), default=1) or 1
    scale = alt.Scale(domain=[start, longest], nice=False)
    if longest < 120:
        return channel(
            f"{field}:Q",
            title=what and f"{what} (s)",
            scale=scale,
            axis=alt.Axis(labelOverlap="parity"),
        )  # evenly
    step = next((step for step in TIME_STEPS_S if (longest - start) / step <= 8), TIME_STEPS_S[-1])
    ticks = list(range(math.ceil(start / step) * step, int(longest) + 1, step))
    return channel(
        f"{field}:Q",
        title=what and f"{what} (m:ss)",
        scale=scale,
        axis=alt.Axis(values=ticks, labelExpr=MSS),
    )


def log_time_axis(
    values: list[float], what: str, channel=alt.Y, field: str = "y", room: float = 0
) -> alt.X | alt.Y:
    """A logarithmic time axis from a little below the shortest to a little above the longest; room: share of it left free on top."""
    low, high = log_domain(values, room)
    return channel(
        f"{field}:Q",
        title=f"{what} (logarithmic)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=log_ticks(low, high), labelExpr=SECONDS_OR_MSS),
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Round times between low and high, enough to read a point by."""
    choices = [
        [tick for tick in ticks if low <= tick <= high]
        for ticks in LOG_TICKS_S[high / low < TWO_DECADES :]
    ]
    return next((ticks for ticks in choices if len(ticks) >= FEW_TICKS), choices[-1])


def log_domain(values: list[float], room: float = 0) -> tuple[float, float]:
    known = [value for value in values if value and value > 0] or [1]
    low, high = min(known) * 0.75, max(known) * 1.3
    return low, high * (high / low) ** room


def failed(study: Study, top: int = 10**9) -> list[alt.Chart]:
    """A red count above each level where requests failed."""
    rows = [
        {
            "concurrency": n,
            "failed": sum(level["errors"] for level in levels),
            "of": sum(level["requests"] for level in levels),
        }
        for n, levels in study.by_concurrency().items()
        if n <= top
    ]
    rows = [row for row in rows if row["failed"]]
    if not rows:
        return []
    between = (
        "\n" if len(rows) > 1 and len(study.by_concurrency()) > CROWDED else " "
    )  # two lines where neighbours would meet
    rows = [{**row, "text": f"{row['failed']}{between}failed"} for row in rows]
    return [
        base(rows)
        .mark_text(color=RED, fontSize=12, baseline="line-bottom", lineBreak="\n")
        .encode(
            x=levels_axis(),
            y=alt.value(-5),
            text="text:N",
            tooltip=[
                alt.Tooltip("concurrency:O", title="at once"),
                alt.Tooltip("failed:Q"),
                alt.Tooltip("of:Q"),
            ],
        )
    ]


def line(
    rows: list[dict],
    field: str,
    y: alt.Y,
    colour: str,
    text: str | None = None,
    above: str | None = None,
    height: int = SMALL,
) -> alt.LayerChart:
    """A line through the mean of each level, a point for each repeat; with text a number at each mean, or above what else is drawn there."""
    rows = [{**row, "y": row[field]} for row in rows if row[field] is not None]
    through = y.copy()
    through.shorthand = "mean(y):Q"
    shown = base(rows)
    layers = [
        shown.mark_line(color=colour, strokeWidth=2.5).encode(x=levels_axis(), y=through),
        shown.mark_point(color=colour).encode(x=levels_axis(), y=y, tooltip=tips(rows)),
    ]
    if text:
        means = [
            {
                "concurrency": n,
                "y": fmean(row["y"] for row in own),
                "text": (number if text == "number" else seconds)(fmean(row["y"] for row in own)),
                "over": max(row["y"] if row.get(above) is None else row[above] for row in own),
            }
            for n, own in at_levels(rows).items()
        ]
        at = y.copy()
        at.shorthand = "over:Q"
        layers += [
            written(group, "text", {"dx": dx, "dy": dy, "align": align}, x=levels_axis(), y=at)
            for (dx, dy, align), group in beside(means, y["scale"]["domain"][1], height).items()
        ]
    return alt.layer(*layers)


def at_levels(rows: list[dict]) -> dict[int, list[dict]]:
    groups: dict[int, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["concurrency"], []).append(row)
    return groups


def beside(means: list[dict], top: float, height: int) -> dict[tuple, list[dict]]:
    """The numbers of a line by their offset (dx, dy, align): off the line, off each other and off the axis, above it if that goes."""
    means = sorted(means, key=lambda row: row["concurrency"])
    step = WIDTH / max(1, len(means))
    points = [((i + 0.5) * step, height * (1 - row["y"] / top)) for i, row in enumerate(means)]
    path = path_boxes(points)
    groups: dict[tuple, list[dict]] = {}
    taken: list[tuple] = []
    for row, (x, y) in zip(means, points):
        high, wide = height * (1 - row["over"] / top), LETTER_PX * len(row["text"])
        boxes = {
            place: (
                x + place[0] + {"left": wide / 2, "center": 0, "right": -wide / 2}[place[2]],
                high + place[1],
                wide,
                10,
            )
            for place in NUMBER_PLACES
            if place is not BELOW or (y < height - 22 and high == y)
        }  # the axis, or a bar, is in the way
        apart = [
            place
            for place, box in boxes.items()
            if box[0] >= wide / 2 and not any(overlap(box, other) for other in taken[-3:])
        ] or [ABOVE]
        best = next(
            (place for place in apart if not any(overlap(boxes[place], other) for other in path)),
            apart[0],
        )
        taken.append(boxes[best])
        groups.setdefault(best, []).append(row)
    return groups


def path_boxes(points: list[tuple[float, float]]) -> list[tuple]:
    """Small boxes along the line through some points, in pixels."""
    return [
        (x + (x2 - x) * part / 30, y + (y2 - y) * part / 30, 3, 3)
        for (x, y), (x2, y2) in zip(points, points[1:])
        for part in range(31)
    ]


def grouped(rows: list[dict], field: str) -> dict[int, list[float]]:
    groups: dict[int, list[float]] = {}
    for row in rows:
        groups.setdefault(row["concurrency"], []).append(row[field])
    return groups


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.5 else f"{value:.3g}"


def tips(rows: list[dict]) -> list[alt.Tooltip]:
    """What the pointer shows: every column of a row, names with blanks, three digits."""
    first = rows[0] if rows else {}
    return [
        alt.Tooltip(
            f"{name}:{'Q' if isinstance(value, float) else 'N'}",
            title=name.replace("_", " "),
            **({"format": ",.4~g"} if isinstance(value, float) else {}),
        )
        for name, value in first.items()
        if name not in ("y", "y2", "text", "model", "spread", "index", "offset")
    ]


def quantity(title: str, rows: list[dict], *fields: str) -> alt.Y:
    """A linear axis with room for the numbers above the points."""
    return alt.Y(
        "y:Q", title=title, scale=alt.Scale(domain=[0, headroom(rows, *fields)], nice=False)
    )


def headroom(rows: list[dict], *fields: str) -> float:
    return 1.12 * (
        max(
            (row[field] for row in rows for field in fields if row.get(field) is not None),
            default=1,
        )
        or 1
    )


def ranges(
    rows: list[dict], y: alt.Y, colour: str, text: str = "number", height: int = SMALL
) -> alt.LayerChart:
    """For each level a bar from the least to the most, the mean as a point, its number above both."""
    low, high, middle = y.copy(), alt.Y2("max(max):Q"), [{**row, "y": row["mean"]} for row in rows]
    low.shorthand = "min(min):Q"
    bars = (
        base([row for row in rows if row["min"] is not None])
        .mark_bar(color=colour, opacity=0.28, width={"band": 0.5})
        .encode(x=levels_axis(), y=low, y2=high, tooltip=tips_of_range())
    )
    return bars + line(middle, "y", y, colour, text, "max", height)


def tips_of_range() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("concurrency:O", title="at once"),
        alt.Tooltip("min(min):Q", title="least", format=",.4~g"),
        alt.Tooltip("mean(mean):Q", title="mean", format=",.4~g"),
        alt.Tooltip("max(max):Q", title="most", format=",.4~g"),
    ]


def grid(panels: list[alt.TopLevelMixin]) -> alt.ConcatChart:
    """Plots in two columns, half as large."""
    small = [panel.properties(width=WIDTH // 2 - 40, height=220) for panel in panels]
    return alt.concat(*small, columns=2).resolve_scale(color="shared")


def stack(panels: list[alt.TopLevelMixin], height: int = SMALL) -> alt.VConcatChart:
    return alt.vconcat(*[panel.properties(width=WIDTH, height=height) for panel in panels])


# The charts.


def durations(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    rows = [row for row in rows if row["mean"] is not None]
    y = time_axis([row["max"] * 1.12 for row in rows], "first to last token")
    return (
        alt.layer(
            ranges(rows, y, BLUE, "time", HEIGHT),
            *failed(study, max((row["concurrency"] for row in rows), default=0)),
        )
        if rows
        else None
    )


def waits(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    rows = [{**row, "y": row["wait_s"]} for row in rows if row["wait_s"]]
    if not rows:
        return None
    middle = [
        {"concurrency": n, "y": sorted(values)[(len(values) - 1) // 2]}
        for n, values in grouped(rows, "y").items()
    ]
    cloud = dots(
        rows,
        middle,
        log_time_axis([row["y"] for row in rows], "wait for the first token", room=0.1),
        seconds,
    )
    return alt.layer(cloud, *failed(study, max(row["concurrency"] for row in rows)))


def dots(
    rows: list[dict], middle: list[dict], y: alt.Y, write: Callable[[float], str]
) -> alt.LayerChart:
    """A dot for each request, spread over the width of its level; the level's middle as a bar, its number on top of the plot."""
    spread = alt.XOffset("spread:O", scale=alt.Scale(domain=list(range(SPREAD)), paddingOuter=0.5))
    rows = [{**row, "spread": row["number"] * 4 % SPREAD} for row in rows]
    middle = [{**row, "text": write(row["y"])} for row in middle]
    size = 13 if len(middle) <= 12 else 11
    return alt.layer(
        base(rows)
        .mark_circle(color=BLUE, opacity=0.45, size=26)
        .encode(x=levels_axis(), xOffset=spread, y=y, tooltip=tips(rows)),
        across_level(middle, y, 0.1, 0.9),
        base(middle)
        .mark_text(fontWeight="bold", color=AMBER, fontSize=size)
        .encode(x=levels_axis(), y=alt.value(9), text="text:N"),
    )


def across_level(rows: list[dict], y: alt.Y, left: float, right: float) -> alt.Chart:
    """A thick line at y over a part of each level's width."""
    return (
        base(rows)
        .mark_rule(strokeWidth=3, color=ORANGE)
        .encode(
            x=levels_axis(bandPosition=left), x2=alt.X2("concurrency:O", bandPosition=right), y=y
        )
    )


def gpu(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    panels = []
    for metric, what, factor, colour in (
        ("gpu_power_w", "GPU power (W)", 1, ORANGE),
        ("gpu_mhz", "GPU clock (MHz)", 1, PURPLE),
        ("gpu_busy_ratio", "GPU busy (%)", 100, GREEN),
    ):
        known = [
            {
                **row,
                **{
                    name: None if row[name] is None else row[name] * factor
                    for name in ("min", "mean", "max")
                },
            }
            for row in rows
            if row["metric"] == metric
        ]
        if known:
            panels.append(ranges(known, quantity(what, known, "max", "mean"), colour))
    return stack(panels) if panels else None


def performance(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    for row in rows:
        row["error_percent"] = (row["error_ratio"] or 0) * 100.0
    return grid(
        [
            line(
                rows,
                "tokens_per_s",
                quantity("tokens/s of one request", rows, "tokens_per_s"),
                BLUE,
            ),
            line(
                rows,
                "output_tokens_per_s",
                quantity("tokens/s of all", rows, "output_tokens_per_s"),
                GREEN,
            ),
            line(
                rows,
                "ttft_mean_s",
                log_time_axis([row["ttft_mean_s"] for row in rows], "mean wait"),
                ORANGE,
            ),
            line(
                rows,
                "error_percent",
                alt.Y("y:Q", title="failed requests (%)", scale=alt.Scale(domain=[0, 100])),
                RED,
            ),
        ]
    )


def note_on_processes(study: Study, rows: list[dict]) -> str:
    bare = sorted(set(study.by_concurrency()) - {row["concurrency"] for row in rows})
    return (
        f"Not shown, too short for a sample: {', '.join(map(str, bare))} at once." if bare else ""
    )


def processes(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    panels, memory = [], "resident memory (GiB, most)"
    for row in rows:
        row["memory_gib"], footprint = row.pop("rss_gib"), row.pop("footprint_gib")
        if (footprint or 0) > (row["memory_gib"] or 0):
            row["memory_gib"], memory = footprint, "memory with the GPU's (GiB, most)"
    for field, title in (
        ("cpu_cores", "processor (cores, mean)"),
        ("memory_gib", memory),
        ("threads", "threads (most)"),
        ("fds", "open files (most)"),
    ):
        known = [{**row, "y": row[field]} for row in rows if row[field] is not None]
        if known:
            y, colour = (
                alt.Y("y:Q", title=title, scale=alt.Scale(zero=True)),
                alt.Color("process:N", legend=alt.Legend(columns=4)),
            )
            through = y.copy()
            through.shorthand = "mean(y):Q"
            panels.append(
                base(known)
                .mark_line(strokeWidth=2.5)
                .encode(x=levels_axis(), y=through, color=colour)
                + base(known)
                .mark_point()
                .encode(x=levels_axis(), y=y, color=colour, tooltip=tips(known))
            )
    return grid(panels) if panels else None


def evolution(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    states = {"completed": GREEN, "answering": BLUE, "waiting": GREY, "failed": RED}
    timeless = without_time(rows)
    rows = thinned(
        list({row["at_s"]: row for row in rows}.values()), MOST_POINTS
    )  # the last state of each instant
    if timeless:
        states[TIMELESS] = PALE_RED
        rows = [{**row, TIMELESS: timeless} for row in rows]
    long = [
        {
            "x": row["at_s"],
            "state": state,
            "order": place,
            "y": row[state],
            "concurrency": row["concurrency"],
        }
        for row in rows
        for place, state in enumerate(states)
    ]
    return (
        base(long)
        .mark_area(interpolate="step-after", clip=True)
        .encode(
            x=time_axis([row["at_s"] for row in rows], "time since the level began", alt.X, "x"),
            y=alt.Y(
                "y:Q",
                stack="zero",
                title=f"requests of the level with {rows[0]['concurrency']} at once",
                axis=alt.Axis(tickMinStep=1, format="d"),
                scale=alt.Scale(
                    domain=[0, max(sum(row[state] for state in states) for row in rows)], nice=False
                ),
            ),
            color=alt.Color(
                "state:N", scale=alt.Scale(domain=list(states), range=list(states.values()))
            ),
            order="order:Q",
            tooltip=[
                alt.Tooltip("x:Q", title="s", format=".1f"),
                "state:N",
                alt.Tooltip("y:Q", title="requests"),
            ],
        )
        .add_params(zoom("x"))
    )


def without_time(rows: list[dict]) -> int:
    """Failures of the level that no instant is known of: they are in no change."""
    return rows[0]["errors"] - max(row["failed"] for row in rows)


def note_on_evolution(study: Study, rows: list[dict]) -> str:
    timeless = without_time(rows)
    return (
        f"{timeless} of the requests failed, nobody noted when: they are a band on top."
        if timeless
        else ""
    )


def thinned(rows: list[dict], most: int) -> list[dict]:
    """Evenly fewer rows, first and last kept."""
    step = -(-len(rows) // most)
    return rows if step <= 1 else rows[:-1:step] + rows[-1:]


def lengths(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    rows = [{**row, "y": row["tokens"]} for row in rows if row["tokens"]]
    middle = [
        {"concurrency": n, "y": sum(values) / len(values)}
        for n, values in grouped(rows, "y").items()
    ]
    return (
        dots(rows, middle, quantity("output tokens of a reply", rows, "y"), number)
        if rows
        else None
    )


def against_mean_wait(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    return trade_off(
        [{**row, "wait_s": row["ttft_mean_s"], "kind": "known"} for row in rows],
        "mean wait for the first token",
    )


def against_p99_wait(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    return trade_off([{**row, **slowest(row)} for row in rows], "p99 wait for the first token")


def slowest(level: dict) -> dict:
    """The p99 wait with failures as endless; where it is not known the longest wait, and why: too few requests, or it is endless."""
    p99 = level["ttft_p99_with_errors_s"]
    if p99 is not None:
        return {"wait_s": p99, "kind": "known"}
    return {
        "wait_s": level["ttft_max_s"],
        "kind": "few" if level["completed"] + level["errors"] < P99_FLOOR else "endless",
    }


def trade_off(rows: list[dict], what: str) -> alt.TopLevelMixin | None:
    """What more load buys and what it costs: total speed over wait, a path through the means of the levels, each repeat faint."""
    rows = [
        {**row, "x": row["wait_s"], "y": row["output_tokens_per_s"]}
        for row in rows
        if (row["wait_s"] or 0) > 0 and row["output_tokens_per_s"]
    ]
    if not rows:
        return None
    means = [mean_of_level(n, own) for n, own in sorted(at_levels(rows).items())]
    repeats = [row for own in at_levels(rows).values() if len(own) > 1 for row in own]
    x = log_time_axis([row["x"] for row in rows], what, alt.X, "x", LABEL_ROOM)
    y = quantity("tokens/s of all together", rows, "y")
    place_labels(
        means, log_domain([row["x"] for row in rows], LABEL_ROOM), headroom(rows, "y"), repeats
    )
    layers = [
        base(means)
        .mark_line(color=GREY, strokeWidth=1.5)
        .encode(x=x, y=y, order="concurrency:Q")
        .add_params(zoom("x", "y"))
    ]
    if repeats:
        layers.append(
            base(repeats)
            .mark_point(color=BLUE, size=45, opacity=0.3)
            .encode(x=x, y=y, tooltip=tips(repeats))
        )
    for kind, look in {
        "known": {"color": BLUE},
        "few": {"color": BLUE, "filled": False},
        "endless": {"color": RED, "filled": False},
    }.items():
        if group := [row for row in means if row["kind"] == kind]:
            layers.append(
                base(group)
                .mark_point(size=90, strokeWidth=2, opacity=1, **look)
                .encode(x=x, y=y, tooltip=tips(group))
            )
    layers += [
        written(group, "label", {"dx": dx, "dy": dy}, {"color": RED} if errors else {}, x=x, y=y)
        for (dx, dy, errors), group in by_offset(means).items()
    ]
    return alt.layer(*layers)


def mean_of_level(n: int, repeats: list[dict]) -> dict:
    """Its repeats in one point; the doubt of one is the doubt of all."""
    errors = sum(row["errors"] for row in repeats)
    return {
        "concurrency": n,
        "x": fmean(row["x"] for row in repeats),
        "y": fmean(row["y"] for row in repeats),
        "repeats": len(repeats),
        "failed": errors,
        "label": f"{n}, {errors} failed" if errors else str(n),
        "kind": max((row["kind"] for row in repeats), key=("known", "few", "endless").index),
    }


def place_labels(
    rows: list[dict], domain: tuple[float, float], highest: float, others: Iterable[dict] = ()
) -> None:
    """Give each point an offset for its label where no other label or point lies, off the path if that goes; none: no label."""
    spots = [spot(row, domain, highest) for row in rows]
    taken = [(x, y, 10, 10) for x, y in spots + [spot(row, domain, highest) for row in others]]
    path = path_boxes(spots)
    for row, (x, y) in sorted(
        zip(rows, spots), key=lambda placed: not placed[0].get("failed")
    ):  # what failed finds a place first
        wide = label_px(row)
        boxes = [(x + dx, y + dy, wide, LABEL_PX) for dx, dy in label_offsets(wide)]
        free = [
            box
            for box in boxes
            if wide / 2 <= box[0] <= WIDTH - wide / 2
            and 0 <= box[1] <= HEIGHT - LABEL_PX
            and not any(overlap(box, other) for other in taken)
        ]
        if free:
            best = next(
                (box for box in free if not any(overlap(box, other) for other in path)), free[0]
            )
            row["offset"] = [best[0] - x, best[1] - y]
            taken.append(best)


def label_px(row: dict) -> float:
    return LETTER_PX * len(row["label"]) + 8


def label_offsets(wide: float) -> list[tuple[float, float]]:
    """Where a label may go, the best place first."""
    side, corner = wide / 2 + 8, wide / 2 + 4
    inward = 8 - wide / 2  # for a point near the edge
    return [
        (0, -16),
        (0, 17),
        (side, 0),
        (-side, 0),
        (corner, -14),
        (-corner, -14),
        (corner, 14),
        (-corner, 14),
        (0, -31),
        (0, 32),
        (inward, 20),
        (inward, -20),
        (inward, 36),
        (inward, -36),
        (-inward, 20),
        (-inward, -20),
    ]


def overlap(one: tuple, other: tuple) -> bool:
    """Do two boxes (x and y of the middle, width, height) share a spot?"""
    return (
        abs(one[0] - other[0]) * 2 < one[2] + other[2]
        and abs(one[1] - other[1]) * 2 < one[3] + other[3]
    )


def spot(row: dict, domain: tuple[float, float], highest: float) -> tuple[float, float]:
    """Where a point lies on a logarithmic x and a linear y, in pixels."""
    return WIDTH * math.log(row["x"] / domain[0]) / math.log(domain[1] / domain[0]), HEIGHT * (
        1 - row["y"] / highest
    )


def by_offset(rows: list[dict]) -> dict[tuple, list[dict]]:
    """The labels that share an offset and a colour."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if "offset" in row:
            groups.setdefault((*row["offset"], bool(row["failed"])), []).append(row)
    return groups


def speed_of_one(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    wish = wished_speed(study, rows)
    y = quantity("tokens/s of one request", [*rows, {"max": wish}], "max")
    rule = (
        [base([{"y": wish}]).mark_rule(strokeDash=[6, 4], color=GREEN).encode(y=y)] if wish else []
    )
    return alt.layer(*rule, ranges(rows, y, BLUE, height=HEIGHT), *failed(study))


def wished_speed(study: Study, rows: list[dict]) -> float | None:
    """The objective in tokens/s, where it lies within the picture."""
    wish = study.objectives.get("tokens_per_s") or 1 / study.objectives.get("tpot_s", math.inf)
    return wish if 0 < wish <= 2 * max((row["max"] for row in rows), default=0) else None


def note_on_speed(study: Study, rows: list[dict]) -> str:
    wish = wished_speed(study, rows)
    return RANGE_NOTE + (f" Dashed: the objective, {digits(wish)} tokens/s." if wish else "")


def combined(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    wait = time_axis([(row["ttft_mean_s"] or 0) * 1.2 for row in rows], "mean wait")
    panels = [
        line(rows, field, y, colour, text)
        for field, y, colour, text in (
            (
                "output_tokens_per_s",
                quantity("tokens/s of all", rows, "output_tokens_per_s"),
                GREEN,
                "number",
            ),
            (
                "tokens_per_s",
                quantity("tokens/s of one", rows, "tokens_per_s"),
                BLUE,
                "number",
            ),  # a single token has none
            ("ttft_mean_s", wait, ORANGE, "time"),
        )
        if any(row[field] is not None for row in rows)
    ]
    return stack([alt.layer(panels[0], *failed(study)), *panels[1:]]) if panels else None


def energy(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    fields = [
        ("mean_w", "mean power (W)", ORANGE),
        ("joules_per_output_token", "energy (J per token)", BLUE),
        ("net_joules_per_output_token", "less idle power (J per token)", PURPLE),
    ]
    if is_of_gpu(rows):
        fields += [
            ("gpu_power_w", "GPU alone, mean power (W)", ORANGE),
            ("gpu_joules_per_output_token", "GPU alone, energy (J per token)", BLUE),
        ]
    panels = []
    for field, title, colour in fields:
        known = [row for row in rows if row[field] is not None]
        if known:
            panels.append(line(known, field, quantity(title, known, field), colour, "number"))
    return stack(panels) if panels else None


def is_of_gpu(rows: list[dict]) -> bool:
    """Is of some level only the GPU's energy known?"""
    return any(row["mean_w"] is None and row["gpu_power_w"] is not None for row in rows)


def note_on_energy(study: Study, rows: list[dict]) -> str:
    sources = sorted({row["source"] for row in rows if row["source"]})
    alone = " GPU alone: what the CPU took is not known." if is_of_gpu(rows) else ""
    means = f"By {', '.join(sources)}.{alone} Means of a level; energy where samples cover it."
    return means if sources else ""


def split(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    parts = {"queue": GREY, "load": PURPLE, "prefill": ORANGE, "decode": BLUE}
    long = [
        {"concurrency": row["concurrency"], "part": part, "order": place, "y": row[f"{part}_s"]}
        for row in rows
        for place, part in enumerate(parts)
        if row[f"{part}_s"] is not None
    ]
    total = [
        {"concurrency": n, "text": seconds(sum(values) / len(values))}
        for n, values in grouped(rows, "total_s").items()
    ]
    bars = (
        base(long)
        .mark_bar()
        .encode(
            x=levels_axis(),
            order="order:Q",
            y=alt.Y(
                "sum(y):Q",
                stack="normalize",
                title="share of a request's time on the server",
                axis=alt.Axis(format="%"),
            ),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(parts), range=list(parts.values())),
                legend=alt.Legend(offset=26),
            ),
            tooltip=[
                alt.Tooltip("concurrency:O", title="at once"),
                "part:N",
                alt.Tooltip("mean(y):Q", title="seconds", format=",.3f"),
            ],
        )
    )
    return alt.layer(
        bars,
        base(total)
        .mark_text(baseline="bottom")
        .encode(x=levels_axis(), y=alt.value(-4), text="text:N"),
    )


def gaps(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    """How the gaps between chunks spread: dark where they are many."""
    cells = shares(rows)
    y = alt.Y(
        "y:Q",
        title="gap between chunks (ms, logarithmic)",
        scale=alt.Scale(
            type="log",
            domain=[min(cell["y"] for cell in cells), max(cell["y2"] for cell in cells)],
            nice=False,
        ),
        axis=alt.Axis(
            values=[digit * 10**power for power in range(-1, 6) for digit in (1, 2, 5)],
            format=",~g",
        ),
    )
    heat = (
        base(cells)
        .mark_rect()
        .encode(
            x=levels_axis(),
            y=y,
            y2="y2:Q",
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(scheme="blues", domainMin=0),
                legend=alt.Legend(title="share of gaps", format="%", gradientLength=180),
            ),
            tooltip=[
                alt.Tooltip("concurrency:O", title="at once"),
                alt.Tooltip("y:Q", title="from ms", format=".3~g"),
                alt.Tooltip("y2:Q", title="to ms", format=".3~g"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    marks = [
        across_level(known, y, left + 0.02, left + 0.31)
        for mark, left in (("p50", 0), ("p95", 1 / 3), ("p99", 2 / 3))
        if (
            known := [
                {"concurrency": level["concurrency"], "y": level[f"itl_{mark}_s"] * 1000}
                for level in study.levels
                if level[f"itl_{mark}_s"]
            ]
        )
    ]
    return alt.layer(heat, *marks) if marks else heat


def shares(rows: list[dict]) -> list[dict]:
    """The histogram's counts as shares of their level; a cell is a tenth of a decade."""
    totals = {n: sum(counts) for n, counts in grouped(rows, "gaps").items()}
    return [
        {
            "concurrency": row["concurrency"],
            "y": EDGES_NS[row["cell"]] / 1e6,
            "y2": EDGES_NS[row["cell"] + 1] / 1e6,
            "share": row["gaps"] / totals[row["concurrency"]],
        }
        for row in rows
    ]


def timeline(study: Study, rows: list[dict]) -> alt.TopLevelMixin | None:
    """Every request a bar, power and the server's memory below, on the same axis."""
    requests = [row for row in rows if row["kind"] == "request"]
    start, end = stretch(requests)
    lines = {
        kind: [
            row
            for row in rows
            if row["kind"] == kind and row["value"] is not None and start <= row["at_s"] <= end
        ]
        for kind in ("power", "memory")
    }
    kinds = ["request"] + [kind for kind, known in lines.items() if known]
    axes = {
        kind: time_axis(
            [end], "time since the run began" if kind == kinds[-1] else None, alt.X, "x", start
        )
        for kind in kinds
    }
    panels = [bars_of(requests, axes["request"], start, end).add_params(zoom("x"))]
    for kind in kinds[1:]:
        title, colour = (
            (power_title(lines[kind]), ORANGE)
            if kind == "power"
            else ("server memory (GiB)", PURPLE)
        )
        panels.append(lines_of(lines[kind], axes[kind], title, colour))
    return alt.vconcat(*panels, spacing=14).resolve_scale(
        x="shared", color="independent", strokeDash="independent"
    )


def zoom(*channels: str) -> alt.Parameter:
    return alt.selection_interval(
        bind="scales", encodings=list(channels), zoom="wheel![event.shiftKey]", name="zoom"
    )


def stretch(requests: list[dict]) -> tuple[float, float]:
    """From a little before the first request, or from the run's beginning when that is near, to the end of the last, seconds."""
    first = min(row["at_s"] for row in requests)
    last = max((row["end_s"] for row in requests if row["end_s"] is not None), default=first + 1)
    start = 0.0 if first < 0.2 * (last - first) else first - 0.04 * (last - first)
    return max(0.0, start), max(last, first + 1e-3)


def power_title(rows: list[dict]) -> str:
    """What the watts include: the GPU alone, or all that the source counts."""
    scopes = {row["name"] for row in rows}
    if all(scope.endswith(" GPU") for scope in scopes):
        return "GPU power (W)"
    return f"{scopes.pop()} (W)" if len(scopes) == 1 else "power (W)"


def note_on_timeline(study: Study, rows: list[dict]) -> str:
    """Which run it is, and what is before the first bar."""
    run = next(row["run_id"] for row in rows if row["kind"] == "request")
    which = f"Run {run} alone, of {len(study.runs)} chosen. " if len(study.runs) > 1 else ""
    before = (
        "" if counts_words(study) else " What is before the first bar is idle baseline and warm-up."
    )  # an import tells of neither
    return f"{which}A number names a level: so many at once.{before}"


def bars_of(requests: list[dict], x: alt.X, start: float, end: float) -> alt.LayerChart:
    """The requests below each other in the order they were sent and answered."""
    requests = thinned(requests, MOST_BARS)
    requests.sort(key=lambda row: (row["at_s"], row["first_s"] or 1e99, row["end_s"] or 1e99))
    level_ends = {
        row["level_id"]: row["end_s"] for row in sorted(requests, key=lambda row: row["end_s"] or 0)
    }
    thickness = 0.85 if len(requests) < 150 else 1.2  # thin bars overlap: no seams
    bars = [
        bar
        for index, row in enumerate(requests)
        for bar in pieces(
            row, index, index + thickness, (end - start) / 200, level_ends[row["level_id"]]
        )
    ]
    states = {
        "waiting": GREY,
        "reasoning": ORANGE,
        "answering": BLUE,
        "failed": RED,
        TIMELESS: PALE_RED,
    }
    if not any(bar["state"] == TIMELESS for bar in bars):
        del states[TIMELESS]
    height = min(440, max(160, 9 * len(requests)))
    y = alt.Y(
        "index:Q",
        axis=None,
        scale=alt.Scale(domain=[len(requests), -NAME_PX * len(requests) / height], nice=False),
    )
    shown = (
        base(bars)
        .mark_bar(clip=True)
        .encode(
            x=x,
            x2="x2:Q",
            y=y,
            y2="below:Q",
            color=alt.Color(
                "state:N", scale=alt.Scale(domain=list(states), range=list(states.values()))
            ),
            tooltip=[
                "level:N",
                "number:N",
                "state:N",
                "status:N",
                alt.Tooltip("x:Q", title="from s", format=".2f"),
                alt.Tooltip("x2:Q", title="to s", format=".2f"),
            ],
        )
    )
    names = level_names(requests, start, end, height)
    labels = [
        written(
            group,
            "text",
            {"baseline": "bottom", "align": align, "dy": -2, "fontSize": 12},
            x=x,
            y=y,
        )
        for align in ("left", "right")
        if (group := [name for name in names if name["align"] == align])
    ]
    counts = (
        [
            base(timeless)
            .mark_text(align="left", dx=6, color=DARK_RED, fontSize=12)
            .encode(x=x, y=y, text="text:N")
        ]
        if (timeless := timeless_blocks(bars, 14 * len(requests) / height))
        else []
    )
    return alt.layer(shown, *labels, *counts).properties(height=height)


def timeless_blocks(bars: list[dict], least_rows: float) -> list[dict]:
    """A text for each block of failures of unknown time that is high enough for one."""
    blocks: dict[tuple, list[dict]] = {}
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


def level_names(requests: list[dict], start: float, end: float, height: int) -> list[dict]:
    """The name of each level above its first bar; of those that would lie on each other the larger stays."""
    tops: dict[int, dict] = {}
    for index, row in enumerate(requests):
        tops.setdefault(
            row["level_id"], {"x": row["at_s"], "index": index, "concurrency": row["concurrency"]}
        )
    found, taken, above = (
        [],
        [],
        NAME_PX * len(requests) / height,
    )  # above: the room on top, in rows
    for top in sorted(tops.values(), key=lambda top: -top["concurrency"]):
        text = str(top["concurrency"]) + (" at once" if not found else "")
        x = WIDTH * (top["x"] - start) / (end - start)
        y = height * (top["index"] + above) / (len(requests) + above)
        align, wide = ("right" if x > WIDTH * 0.9 else "left"), 8 * len(text) + 4
        box = (x + (wide / 2 if align == "left" else -wide / 2), y - 8, wide, 13)
        if not any(overlap(box, other) for other in taken):
            taken.append(box)
            found.append({"x": top["x"], "index": top["index"], "text": text, "align": align})
    return found


def lines_of(rows: list[dict], x: alt.X, title: str, colour: str) -> alt.Chart:
    """A line over time for each source or process."""
    points = unbridged([{"x": row["at_s"], "y": row["value"], "name": row["name"]} for row in rows])
    several = len({point["name"] for point in points}) > 1
    return (
        base(points)
        .mark_line(strokeWidth=1.6, color=colour, clip=True)
        .encode(
            x=x,
            y=alt.Y("y:Q", title=title, scale=alt.Scale(zero=True)),
            detail="name:N",
            strokeDash=alt.StrokeDash("name:N", legend=alt.Legend(columns=4) if several else None),
            tooltip=[
                "name:N",
                alt.Tooltip("x:Q", title="s", format=".1f"),
                alt.Tooltip("y:Q", title=title, format=".3~g"),
            ],
        )
        .properties(height=110)
    )


def unbridged(points: list[dict]) -> list[dict]:
    """Break each line where samples are missing: a gap much longer than usual is a gap."""
    found = []
    for name in dict.fromkeys(point["name"] for point in points):
        own = [point for point in points if point["name"] == name]
        gaps = sorted(right["x"] - left["x"] for left, right in zip(own, own[1:])) or [0]
        for left, right in zip(own, own[1:] + own[-1:]):
            found.append(left)
            if right["x"] - left["x"] > 6 * gaps[len(gaps) // 2]:
                found.append({"x": left["x"], "y": None, "name": name})
    return found


def pieces(
    row: dict, index: int, below: float, least_s: float, level_end_s: float | None
) -> list[dict]:
    """A request as bars: waiting, then reasoning, then answering; red where it failed, however soon; pale over its whole level
    where nobody noted when."""
    common = {
        "index": index,
        "below": below,
        "level": f"{row['concurrency']} at once",
        "number": row["number"],
        "status": row["status"],
    }
    end, ok = row["end_s"], row["status"] == "completed"
    if end is None and row["status"] not in ("completed", "in_flight"):
        return [
            {
                **common,
                "x": row["at_s"],
                "x2": max(level_end_s or 0, row["at_s"] + least_s),
                "state": TIMELESS,
            }
        ]
    if row["first_s"] is None:
        return [
            {
                **common,
                "x": row["at_s"],
                "x2": max(end or 0, row["at_s"] + least_s),
                "state": "failed",
            }
        ]
    answer = row["answer_s"] if row["answer_s"] is not None else (row["first_s"] if ok else end)
    spans = (
        (row["at_s"], row["first_s"], "waiting"),
        (row["first_s"], answer, "reasoning"),
        (answer, end, "answering"),
    )
    return [
        {**common, "x": left, "x2": right, "state": state if ok or state == "waiting" else "failed"}
        for left, right, state in spans
        if right is not None and right > left
    ]


# Several models beside each other.


def comparison(
    studies: list[Study], column: str, title: str, y_title: str, time: bool = False
) -> dict | None:
    """A column of level_summary over the levels, one line a model; None with less than two models that have it."""
    rows = [
        {
            "concurrency": n,
            "model": study.model,
            "y": value,
            "text": seconds(value) if time else number(value),
        }
        for study in studies
        for n, value in study.mean(column).items()
        if value
    ]
    models = list(dict.fromkeys(row["model"] for row in rows))
    if len(models) < 2:
        return None
    y = log_time_axis([row["y"] for row in rows], y_title) if time else quantity(y_title, rows, "y")
    chart = (
        base(rows)
        .mark_line(point=True, strokeWidth=2.5)
        .encode(
            x=levels_axis(),
            y=y,
            color=alt.Color(
                "model:N",
                scale=alt.Scale(domain=models),
                legend=alt.Legend(columns=2, labelLimit=320),
            ),
            tooltip=[
                "model:N",
                alt.Tooltip("concurrency:O", title="at once"),
                alt.Tooltip("text:N", title=y_title),
            ],
        )
    )
    words = [study.model for study in studies if study.model in models and counts_words(study)]
    notes = (
        [WORDS_NOTE if len(words) == len(models) else f"Tokens of {', '.join(words)} are words."]
        if words and not time
        else []
    )
    return finish(
        chart,
        title,
        "means of the levels' repeats",
        any(study.simulated for study in studies),
        notes=notes,
    )


def comparisons(studies: list[Study]) -> dict[str, dict]:
    """The charts across models, by file name."""
    found = {
        "comparative_throughput": comparison(
            studies, "output_tokens_per_s", "All requests together", "tokens/s"
        ),
        "comparative_wait": comparison(
            studies, "ttft_mean_s", "How long a request waits", "mean wait", time=True
        ),
        "comparative_efficiency": comparison(
            studies, "output_tokens_per_joule", "Tokens for a joule", "output tokens per joule"
        ),
    }
    return {name: spec for name, spec in found.items() if spec}


def cell_of_ns(first: int, last: int) -> str:
    """SQL for the cell between EDGES_NS that ns lies in, found by halving: exact, and SQLite may have no logarithm."""
    if first == last:
        return str(first)
    middle = (first + last + 1) // 2
    return f"CASE WHEN ns < {EDGES_NS[middle]} THEN {cell_of_ns(first, middle - 1)} ELSE {cell_of_ns(middle, last)} END"


DURATION_SQL = f"""SELECT run_id, repeat, Concurrency AS concurrency, MinDuration AS min, AvgDuration AS mean, MaxDuration AS max,
  requests, errors FROM duration_metrics {OF_LEVELS} AND Concurrency <= :top ORDER BY 3"""
WAIT_SQL = f"""SELECT run_id, concurrency, RequestID AS number, WaitingTime AS wait_s, Status AS status
FROM request_summary {OF_LEVELS} AND concurrency <= :top AND Status = 'completed' ORDER BY 2"""
LEVEL_SQL = f"""SELECT run_id, repeat, concurrency, requests, completed, errors, error_ratio, ttft_mean_s, ttft_p99_with_errors_s, ttft_max_s,
  tokens_per_s_mean AS tokens_per_s, output_tokens_per_s, duration_s
FROM level_summary {OF_LEVELS} AND completed > 0 ORDER BY 3"""
GPU_SQL = f"""SELECT run_id, repeat, concurrency, metric, source, n AS samples, min, mean, max FROM gpu_summary {OF_LEVELS} ORDER BY concurrency"""
PROCESS_SQL = f"""SELECT concurrency, coalesce(role, name, 'process') || ' ' || PID AS process, avg("CPU%") / 100 AS cpu_cores,
  max(RSS) / 1048576.0 AS rss_gib, max(footprint_bytes) / 1073741824.0 AS footprint_gib,
  max(Threads) AS threads, max(FDs) AS fds, count(*) AS samples
FROM process_metrics {OF_LEVELS} GROUP BY run_id, concurrency, repeat, PID ORDER BY 1"""
EVOLUTION_SQL = f"""WITH largest AS (
  SELECT level_id, errors FROM level_summary {OF_LEVELS} AND completed > 0 ORDER BY concurrency DESC, level_id DESC LIMIT 1)
SELECT concurrency, at_s, waiting, answering, completed, failed, errors FROM request_evolution JOIN largest USING (level_id) ORDER BY at_s"""
LENGTH_SQL = f"""SELECT run_id, concurrency, RequestID AS number, TokenCount AS tokens
FROM request_summary {OF_LEVELS} AND Status = 'completed' ORDER BY 2"""
SPEED_SQL = f"""SELECT run_id, repeat, concurrency, p.min, p.mean, p.max, p.n FROM level_summary
JOIN level_percentiles AS p USING (level_id) {OF_LEVELS} AND metric = 'tokens_per_s' ORDER BY concurrency"""
ENERGY_SQL = f"""SELECT run_id, repeat, concurrency, source, coverage_ratio, mean_w, max_w, idle_w, energy_wh, joules_per_output_token,
  net_joules_per_output_token, output_tokens_per_joule, gpu_power_w,
  gpu_joules_per_output_token FROM energy_summary {OF_LEVELS} ORDER BY 3"""
SPLIT_SQL = f"SELECT run_id, concurrency, queue_s, load_s, prefill_s, decode_s, total_s FROM server_split {OF_LEVELS} ORDER BY 2"
# The histogram is made where the chunks lie: millions of them become a few hundred rows.
GAP_SQL = f"""WITH gap AS (
  SELECT request_id, at_ns - lag(at_ns) OVER (PARTITION BY request_id ORDER BY number) AS ns FROM chunk
  WHERE request_id IN (SELECT request_id FROM request_timeline {OF_LEVELS})
), placed AS (
  SELECT request_id, {cell_of_ns(0, len(EDGES_NS) - 2)} AS cell, count(*) AS gaps FROM gap WHERE ns IS NOT NULL GROUP BY request_id, cell
) SELECT concurrency, cell, sum(gaps) AS gaps FROM placed JOIN request_timeline USING (request_id) GROUP BY concurrency, cell"""
# One run: the chosen one with the most requests. Lines over time are thinned in SQL, a mean for each of MOST_POINTS stretches.
TIMELINE_SQL = f"""WITH one AS (
  SELECT run_id, count(*) AS requests, max(1e-9, max(ended_at_s) / {MOST_POINTS}) AS stretch_s FROM request_timeline {OF_STUDY}
  GROUP BY run_id ORDER BY 2 DESC, 1 DESC LIMIT 1)
SELECT 'request' AS kind, run_id, level_id, status, concurrency, number, sent_at_s AS at_s, first_text_at_s AS first_s,
  first_answer_at_s AS answer_s, ended_at_s AS end_s, NULL AS name, NULL AS value FROM request_timeline JOIN one USING (run_id) WHERE model = :model
UNION ALL SELECT 'power', NULL, NULL, NULL, NULL, NULL, avg(end_at_s), NULL, NULL, NULL,
  source || CASE WHEN max(gpu_power_w) IS NOT NULL THEN ' GPU' ELSE '' END, coalesce(avg(gpu_power_w), avg(power_w))
  FROM power_over_time JOIN one USING (run_id) GROUP BY source, CAST(end_at_s / stretch_s AS INTEGER)
UNION ALL SELECT 'memory', NULL, NULL, NULL, NULL, NULL, avg(at_s), NULL, NULL, NULL, process,
  avg(max(coalesce(rss_bytes, footprint_bytes), coalesce(footprint_bytes, rss_bytes))
    / 1073741824.0)
  FROM process_over_time JOIN one USING (run_id) GROUP BY process, CAST(at_s / stretch_s AS INTEGER) ORDER BY kind, at_s"""

WAIT_NOTE = "Dot: a completed request. Orange: the median of a level, its number on top."
DURATION_NOTE = "From the first to the last token, without the wait. Bar: shortest to longest; line and number: the mean."
RANGE_NOTE = "Bar: least to most of a request; line and number: the mean."
LOAD_NOTE = (
    "Number: requests at once. Line through the means of the levels, faint points: their repeats."
)
CHARTS = [
    Chart(
        "combined_metrics",
        "Speed, wait and failures",
        LEVEL_SQL,
        combined,
        "finished levels",
        tokens=True,
    ),
    Chart(
        "throughput_vs_avg_wait",
        "What more load buys, and what it costs",
        LEVEL_SQL,
        against_mean_wait,
        "finished levels",
        note=LOAD_NOTE,
        tokens=True,
    ),
    Chart(
        "throughput_vs_p99_wait",
        "What more load costs the slowest",
        LEVEL_SQL,
        against_p99_wait,
        "finished levels",
        tokens=True,
        note=f"{LOAD_NOTE} Full: p99, a failure counts as endless. Hollow: the longest wait, "
        f"of fewer than {P99_FLOOR} requests; in red, because more failed than a p99 bears.",
    ),
    Chart(
        "average_throughput",
        "How fast one request is answered",
        SPEED_SQL,
        speed_of_one,
        "token rates",
        note=note_on_speed,
        tokens=True,
    ),
    Chart(
        "timeline",
        "Every request: waiting, reasoning, answering",
        TIMELINE_SQL,
        timeline,
        "requests",
        note=note_on_timeline,
    ),
    Chart(
        "request_evolution",
        "The largest level as it went",
        EVOLUTION_SQL,
        evolution,
        "requests",
        note=note_on_evolution,
    ),
    Chart(
        "ttfb_analysis_32",
        "Wait of every request, up to 32 at once",
        WAIT_SQL,
        waits,
        "waits up to 32 at once",
        top=32,
        note=WAIT_NOTE,
    ),
    Chart("ttfb_analysis_256", "Wait of every request", WAIT_SQL, waits, "waits", note=WAIT_NOTE),
    Chart(
        "duration_metrics_32",
        "How long a reply streams, up to 32 at once",
        DURATION_SQL,
        durations,
        "durations up to 32 at once",
        top=32,
        note=DURATION_NOTE,
    ),
    Chart(
        "duration_metrics_256",
        "How long a reply streams",
        DURATION_SQL,
        durations,
        "durations",
        note=DURATION_NOTE,
    ),
    Chart(
        "performance_metrics",
        "Four measures of each level",
        LEVEL_SQL,
        performance,
        "finished levels",
        tokens=True,
        note="Points: repeats of a level; lines: their means.",
    ),
    Chart(
        "token_distribution",
        "How long the replies are",
        LENGTH_SQL,
        lengths,
        "token counts",
        tokens=True,
        note="Dot: a completed request. Orange: the mean of a level, its number on top.",
    ),
    Chart(
        "server_split",
        "Where the server spends a request's time",
        SPLIT_SQL,
        split,
        "timings of the server",
        note="Above each bar: how long a request was on the server, on average.",
    ),
    Chart(
        "itl",
        "Gaps between the chunks of a stream",
        GAP_SQL,
        gaps,
        "chunks",
        note="Darker: more of the level's gaps. Orange, from the left of each level: median, p95 and p99.",
    ),
    Chart(
        "energy",
        "Power and energy",
        ENERGY_SQL,
        energy,
        "power samples",
        note=note_on_energy,
        tokens=True,
    ),
    Chart(
        "gpu_metrics",
        "The GPU during each level",
        GPU_SQL,
        gpu,
        "GPU samples",
        note="Bar: least to most of the samples at least half within a level; line and number: the mean over its time.",
    ),
    Chart(
        "process_metrics",
        "The server's processes during each level",
        PROCESS_SQL,
        processes,
        "process samples",
        note=note_on_processes,
    ),
]
