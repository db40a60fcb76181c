"""The addresses of the pages of results files within Datasette, and what answers each.

What makes the pages is imported when the first is asked for: Datasette starts without it.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from datasette.utils.asgi import Response
from sqlite_utils import Database

from ollama_bench.browsing import answering
from ollama_bench.browsing.answering import JSON, Make, answer
from ollama_bench.browsing.links import ASSETS, Links
from ollama_bench.charts import names as chart_names

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JAVASCRIPT = "text/javascript; charset=utf-8"
# files that a page asks for: the room that has each
ASSET_ROOMS = {
    "page.css": "report",
    "browse.css": "browsing",
    "live.css": "browsing",
    "charts.js": "report",
    "browse.js": "browsing",
    "live.js": "browsing",
    "datasette.css": "browsing",
    "datasette.js": "browsing",
    "playback.css": "browsing",
    "playback.js": "browsing",
}
LIBRARY = "vega.js"  # made by vl-convert
# a browser may keep them so many seconds
KEPT = {"Cache-Control": "max-age=600"}

View = Callable[[Any, Any], Awaitable[Response]]


def list_routes() -> list[tuple[str, View]]:
    """Return patterns of addresses, and what answers each."""
    file = r"^/(?P<database>[^/]+)/-"
    run = rf"{file}/run/(?P<run>\d{{1,18}})"
    level = rf"{file}/level/(?P<level>\d{{1,18}})"
    request = rf"{level}/request/(?P<number>\d{{1,18}})"
    chart = r"/chart/(?P<name>\w+)$"
    return [
        (f"{run}$", make_view(make_run_page)),
        (f"{run}/answer$", make_view(make_card_answer)),
        (f"{run}/live$", make_view(make_live_state, JSON)),
        (f"{run}/so-far$", make_view(make_levels_so_far)),
        (f"{run}{chart}", make_view(make_run_chart, JSON)),
        (f"{level}$", make_view(make_level_page)),
        (f"{level}{chart}", make_view(make_level_chart, JSON)),
        (f"{level}/playback$", make_view(make_playback_page)),
        (f"{level}/playback/data$", make_view(make_playback, JSON)),
        (f"{request}$", make_view(make_request_page)),
        (rf"{file}/(run|level|request)(/.*)?$", make_view(make_nothing)),
        (rf"^{ASSETS}/(?P<name>[\w.]+)$", show_asset),
    ]


def make_view(
    make_of: Callable[[Any], Make], content_type: str = HTML
) -> View:
    """Return what answers an address. make_of: what makes the text, of a request."""

    async def show(datasette: Any, request: Any) -> Response:
        return await answer(
            datasette, request, make_of(request), content_type
        )

    return show


def number_of(request: Any, name: str) -> int:
    return int(request.url_vars[name])


def make_run_page(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.run_page import write_run_page

        return write_run_page(database, number_of(request, "run"), links)

    return make


def make_nothing(request: Any) -> Make:
    """Return what answers a mistyped address of a page: there is none."""
    return lambda database, links: None


def make_live_state(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.live_rows import write_state

        return write_state(database, number_of(request, "run"))

    return make


def make_levels_so_far(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.live_page import write_levels_so_far

        return write_levels_so_far(database, number_of(request, "run"))

    return make


def make_card_answer(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.cards import write_card_answer

        return write_card_answer(database, number_of(request, "run"))

    return make


def make_level_page(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.level_page import write_level_page

        return write_level_page(
            database, number_of(request, "level"), links
        )

    return make


def make_request_page(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.request_page import write_request_page

        level_id, number = (
            number_of(request, name) for name in ("level", "number")
        )
        return write_request_page(database, level_id, number, links)

    return make


def make_playback_page(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.playback_page import write_playback_page

        level_id = number_of(request, "level")
        return write_playback_page(database, level_id, links)

    return make


def make_playback(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.playback import write_playback

        return write_playback(database, number_of(request, "level"), links)

    return make


def make_run_chart(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.chart_source import draw_for_run

        name = request.url_vars["name"]
        if name not in chart_names.ALL:
            return None
        study = request.args.get("study") or ""
        run_id = number_of(request, "run")
        return json.dumps(draw_for_run(database, run_id, study, name))

    return make


def make_level_chart(request: Any) -> Make:
    def make(database: Database, links: Links) -> str | None:
        from ollama_bench.browsing.chart_source import draw_for_level

        name = request.url_vars["name"]
        if name not in chart_names.OF_MODEL:
            return None
        level_id = number_of(request, "level")
        return json.dumps(draw_for_level(database, level_id, name))

    return make


async def show_asset(datasette: Any, request: Any) -> Response:
    """Return a style sheet or a script of this package."""
    name = request.url_vars["name"]
    if name == LIBRARY:
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(None, bundle_library)
    elif name in ASSET_ROOMS:
        text = load_asset(name)
    else:
        return answering.refuse(f"no file {name}")
    content_type = CSS if name.endswith(".css") else JAVASCRIPT
    return Response(text, headers=KEPT, content_type=content_type)


@functools.cache
def load_asset(name: str) -> str:
    place = resources.files(f"ollama_bench.{ASSET_ROOMS[name]}") / name
    return place.read_text(encoding="utf-8")


@functools.cache
def bundle_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]


def prepare_pages() -> None:
    """Read what the first page would wait for: SciPy and Altair take seconds, and so does Vega."""
    from ollama_bench.browsing import (  # noqa: F401
        cards,
        level_page,
        request_page,
        run_page,
    )
    from ollama_bench.statistics.student_t import t_quantile

    t_quantile(0.975, 3)
    bundle_library()
