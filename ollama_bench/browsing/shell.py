"""What every page of a results file has: its head, the way back, and tables of requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.browsing.links import Links
from ollama_bench.charts import theme
from ollama_bench.report.level_table import join_table
from ollama_bench.terminal.output import clean
from ollama_bench.terminal.rows import write_size

# requests of a page; the others are in Datasette's table
MOST_REQUESTS = 300
SUCCESS = "completed"
HEADINGS = (
    *("level", "request", "asked at (s)", "wait", "tokens/s"),
    *("tokens", "end to end", "ended"),
)

OF_CHARTS = "charts"
SCRIPTS = {
    OF_CHARTS: (
        ("defer", "vega.js"),
        ("defer", "charts.js"),
        ('type="module"', "browse.js"),
    ),
    "live": (('type="module"', "live.js"),),
    "playback": (('type="module"', "playback.js"),),
}
MORE_STYLES = {
    OF_CHARTS: (),
    "live": ("live.css",),
    "playback": ("playback.css",),
}

Way = Sequence[tuple[str, str]]  # names and addresses, from the file on


def write_page(
    title: str, way: Way, body: str, links: Links, of: str = OF_CHARTS
) -> str:
    """Return a page as HTML. way: the pages above it; of: what its scripts are for."""
    above = [
        ("results files", links.base or "/"),
        (links.file, links.root),
    ]
    crumbs = " / ".join(
        f'<a href="{escape(address)}">{escape(name)}</a>'
        for name, address in [*above, *way]
    )
    look = json.dumps({**theme.config(), "padding": 4})
    # a module has names of its own, beside those of the library
    scripts = "".join(
        f'<script {kind} src="{escape(links.asset(name))}"></script>'
        for kind, name in SCRIPTS[of]
    )
    styles = "".join(
        f'<link rel="stylesheet" href="{escape(links.asset(name))}">'
        for name in ("page.css", "browse.css", *MORE_STYLES[of])
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(clean(title))} - {escape(links.file)}</title>
<link rel="icon" href="data:,">
{styles}{scripts}
</head>
<body>
<nav aria-label="Pages above">{crumbs}</nav>
<main>
<h1>{escape(clean(title))}</h1>
{body}
</main>
<script type="application/json" id="look">{look}</script>
</body>
</html>
"""


def write_chart(title: str, source: str, query: str) -> str:
    """Return the place of a chart that is fetched when it is looked at, and of its SQL."""
    return (
        f"<figure><h3>{escape(title)}</h3>"
        f'<div class="chart" data-source="{escape(source)}"></div>'
        f'<figcaption class="hint"><a href="{escape(query)}">'
        f"the rows and the SQL behind it</a></figcaption></figure>"
    )


def write_failures(outcomes: Iterable[Row], links: Links) -> str:
    """Return how requests failed, each with the page of its level; "" without any."""
    items = []
    for outcome in outcomes:
        status = outcome["status"]
        if outcome["http_status"] not in (None, 200):
            status = f"{status} {outcome['http_status']}"
        example = f": {outcome['example']}" if outcome["example"] else ""
        items.append(
            f'<li><a href="{escape(links.level(outcome["level_id"]))}">'
            f"{outcome['requests']} of level {write_size(outcome)}</a> "
            f"ended {escape(status)}{escape(example)}</li>"
        )
    if not items:
        return ""
    return f'<section class="warnings"><h2>Failures</h2><ul>{"".join(items)}</ul></section>'


def write_requests(
    timelines: str,
    requests: Sequence[Row],
    count: int,
    all_rows: str,
    links: Links,
) -> str:
    """Return the timelines, and a table of requests that a stretch of time in them filters.

    count: how many there are, of which these are the first.
    """
    shown = f"{count:,} requests, the failed ones first."
    if count > len(requests):
        shown = f"The first {len(requests):,} of {shown}"
    table = join_table(
        HEADINGS, [write_request(row, links) for row in requests]
    )
    return f"""<section id="requests"><h2>Requests</h2>
{timelines}
<p class="hint">{shown} Drag over the bars to see those of a stretch of time.
<a href="{escape(all_rows)}">All rows</a></p>
<div class="filter" hidden><label>from <input type="number" id="from" step="any"> s</label>
<label>to <input type="number" id="to" step="any"> s</label>
<button type="button" id="whole">all of the time</button>
<span id="shown" role="status"></span></div>
{table}</section>"""


def write_request(row: Row, links: Links) -> str:
    """Return a row of the table, with the seconds of the run from its question to its end."""
    place = links.request(row["level_id"], row["number"])
    cells = [
        f'<a href="{escape(links.level(row["level_id"]))}">{write_size(row)}</a>',
        f'<a href="{escape(place)}">{row["number"]}</a>',
        write_known(row["asked_s"], "{:.2f}".format),
        write_known(row["ttft_s"], seconds),
        write_known(row["stream_tokens_per_s"], digits),
        write_known(row["output_tokens"], "{:,}".format),
        write_known(row["e2e_s"], seconds),
        escape(row["ending"]),
    ]
    start_s, end_s = row["asked_s"], row["ended_s"]
    if start_s is None:
        times = ""
    else:
        end_s = start_s if end_s is None else end_s
        times = f' data-from="{start_s!r}" data-to="{end_s!r}"'
    is_bad = row["ending"] not in (SUCCESS, "in_flight")
    marked = ' class="bad"' if is_bad else ""
    last = len(cells) - 1
    columns = "".join(
        f"<td{marked if place == last else ''}>{cell}</td>"
        for place, cell in enumerate(cells)
    )
    return f"<tr{times}>{columns}</tr>"


def write_known(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else escape(write(value))


def write_list(pairs: Iterable[tuple[str, str]]) -> str:
    """Return links with their names, side by side."""
    return " · ".join(
        f'<a href="{escape(address)}">{escape(name)}</a>'
        for name, address in pairs
    )
