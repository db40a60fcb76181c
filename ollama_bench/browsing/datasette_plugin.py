"""Datasette plugin: the pages of each results file, what its columns mean, figures rounded.

Installed with the package, so that `datasette results.db` alone shows them, whatever the file
is called; in a clone `--plugins-dir ollama_bench/browsing/plugins` does. The names in the
text about a file are links, views stand before tables, and the meanings of a table's
columns, some of which are eighty lines, are folded so that its rows come first.
"""

from __future__ import annotations

import functools
import html
import pathlib
import pickle
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import yaml
from datasette import hookimpl
from jinja2 import ChoiceLoader, DictLoader
from markupsafe import Markup

from ollama_bench.analysis.wording import digits
from ollama_bench.browsing import answering, routes
from ollama_bench.browsing.answering import (
    find_path,
    is_datasette_1,
)
from ollama_bench.browsing.links import ASSETS
from ollama_bench.storage.results_file import ResultsError

PACKAGED = pathlib.Path(__file__).parents[1] / "storage" / "metadata.yaml"
METADATA = (
    PACKAGED
    if PACKAGED.exists()
    else pathlib.Path(__file__).parents[2] / "metadata.yaml"
)
# end of a column's name: the unit of its figures
UNITS = {
    "_per_s": "/s",
    "_s": " s",
    "_w": " W",
    "_j": " J",
    "_mhz": " MHz",
}
# keys of a question for who may see something, and that alone
PERMISSIONS = ("allow", "allow_sql")
# Datasette's page of a database, before 1.0 gave it a place for this
DATABASE_PAGE = """{% extends "default:database.html" %}
{% block description_source_license %}{{ cards_of_runs(database) }}{{ super() }}{% endblock %}"""


@functools.cache
def descriptions() -> dict[str, Any]:
    """Return the content of metadata.yaml."""
    found: dict[str, Any] = yaml.safe_load(
        METADATA.read_text(encoding="utf-8")
    )
    return found


@functools.cache
def pack_descriptions(key: str | None) -> bytes:
    """Return what answers a question for this key, or for all of it."""
    found = descriptions()
    if key == "tables":
        results = found["databases"]["results"]
        tables = {
            name: {"facets": about["facets"]}
            for name, about in results["tables"].items()
            if "facets" in about
        }
        found = {"databases": {"results": {**results, "tables": tables}}}
    return pickle.dumps(found)


@hookimpl  # type: ignore[untyped-decorator]
def get_metadata(datasette: Any, key: str | None) -> dict[str, Any]:
    """Return the descriptions for each database that is a results file.

    Datasette asks 300 times for a page of a file, nearly always who may see something. We
    describe and forbid nothing: such a question is answered without the descriptions.
    """
    if key in PERMISSIONS:
        return {}
    # Datasette merges what -m says into what it gets: this copies in a
    # quarter of the time of deepcopy
    found = pickle.loads(pack_descriptions(key))
    results = found["databases"]["results"]
    names = list_results(datasette)
    if not names:
        return {}
    databases = {
        name: results
        | {"description_html": link_names(results, name, datasette)}
        for name in names
    }
    return {**found, "databases": databases}


@hookimpl  # type: ignore[untyped-decorator]
def startup(datasette: Any) -> Callable[[], Awaitable[None]] | None:
    """Describe the files to Datasette 1.0, which keeps descriptions in a database of its own."""
    print_errors_plainly()
    # what the first page would otherwise wait for
    threading.Thread(target=routes.prepare_pages, daemon=True).start()
    if not is_datasette_1(datasette):
        return None

    async def describe() -> None:
        for name, found in (
            get_metadata(datasette, None).get("databases", {}).items()
        ):
            for key in ("title", "description_html", "source", "license"):
                if found.get(key):
                    await datasette.set_database_metadata(
                        name, key, found[key]
                    )
            for table, about in found["tables"].items():
                await describe_table(datasette, name, table, about)

    return describe


def print_errors_plainly() -> None:
    """Keep Datasette's pages of errors from failing where rich is installed, as it is with us.

    Datasette prints each error with rich if it can, and rich refuses where no exception is
    being handled: a wrong address was "Internal Server Error" instead of 404.
    """
    from datasette import handle_exception

    if hasattr(handle_exception, "rich"):
        handle_exception.rich = None


async def describe_table(
    datasette: Any, database: str, table: str, about: dict[str, Any]
) -> None:
    if about.get("description"):
        await datasette.set_resource_metadata(
            database, table, "description", about["description"]
        )
    for column, meaning in about.get("columns", {}).items():
        await datasette.set_column_metadata(
            database, table, column, "description", meaning
        )


@hookimpl  # type: ignore[untyped-decorator]
def register_routes() -> list[tuple[str, routes.View]]:
    return routes.list_routes()


@hookimpl  # type: ignore[untyped-decorator]
def prepare_jinja2_environment(env: Any, datasette: Any) -> None:
    """Put the cards of the runs on the page of a file, where Datasette is older than 1.0."""
    if is_datasette_1(datasette):
        return

    async def cards_of_runs(database: str) -> Markup:
        return await write_cards(datasette, database)

    env.globals["cards_of_runs"] = cards_of_runs
    env.loader = ChoiceLoader(
        [DictLoader({"database.html": DATABASE_PAGE}), env.loader]
    )


@hookimpl  # type: ignore[untyped-decorator]
def top_database(
    datasette: Any, database: str
) -> Callable[[], Awaitable[Markup]]:
    """Put the cards of the runs on the page of a file, in Datasette 1.0."""
    return lambda: write_cards(datasette, database)


async def write_cards(datasette: Any, name: str) -> Markup:
    """Return the runs of a results file as cards; nothing for any other file."""
    from ollama_bench.browsing import cards

    if find_path(datasette, name) is None:
        return Markup("")
    try:
        text = await answering.read(datasette, name, cards.write_cards)
    except ResultsError as error:
        text = f"<p>{html.escape(str(error))}</p>"
    return Markup(text or "")


@hookimpl  # type: ignore[untyped-decorator]
def extra_css_urls(datasette: Any, database: str | None) -> list[str]:
    """Return the style of Datasette's own pages of a results file; none for any other."""
    return list_assets(datasette, database, "datasette.css")


@hookimpl  # type: ignore[untyped-decorator]
def extra_js_urls(
    datasette: Any, database: str | None
) -> list[dict[str, object]]:
    """Return the script of Datasette's own pages of a results file; none for any other."""
    return [
        {"url": address, "module": True}
        for address in list_assets(datasette, database, "datasette.js")
    ]


def list_assets(
    datasette: Any, database: str | None, name: str
) -> list[str]:
    if database not in list_results(datasette):
        return []
    return [str(datasette.urls.path(f"{ASSETS}/{name}"))]


def list_results(datasette: Any) -> list[str]:
    """Return the names of the databases that are results files."""
    return [
        name
        for name in datasette.databases
        if find_path(datasette, name) is not None
    ]


def link_names(
    results: dict[str, Any], database: str, datasette: Any
) -> str:
    """Return the description of a results file with its tables and views as links."""

    def link(match: re.Match[str]) -> str:
        word = match[0]
        if word not in results["tables"]:
            return word
        return (
            f'<a href="{datasette.urls.table(database, word)}">{word}</a>'
        )

    return re.sub(r"\w+", link, html.escape(results["description"]))


@hookimpl  # type: ignore[untyped-decorator]
def render_cell(
    value: object, column: str, database: str, datasette: Any
) -> Markup | None:
    """Return a measured figure with three digits and its unit; None leaves the cell as it is.

    Pointing at it shows it whole; JSON and CSV have it whole. A moment in time is left alone.
    """
    if not isinstance(value, float) or column.endswith("_unix"):
        return None
    if find_path(datasette, database) is None:
        return None
    unit = next((UNITS[end] for end in UNITS if column.endswith(end)), "")
    return Markup('<span title="{}">{}{}</span>').format(
        repr(value), digits(value), unit
    )
