"""Datasette plugin: describe each results file, and round its figures to what they carry.

Installed with the package, so that `datasette results.db` alone shows what
`-m metadata.yaml` shows in a clone, whatever the file is called. The names in the
text about a file are links, and the meanings of a table's columns, some of which are
eighty lines, are folded so that its rows come first.
"""

from __future__ import annotations

import copy
import functools
import html
import pathlib
import re
from typing import Any

import yaml
from datasette import hookimpl
from markupsafe import Markup

from ollama_bench.analysis.wording import digits

PACKAGED = pathlib.Path(__file__).parents[1] / "storage" / "metadata.yaml"
METADATA = (
    PACKAGED
    if PACKAGED.exists()
    else pathlib.Path(__file__).parents[2] / "metadata.yaml"
)
# end of a column's name: the unit of its figures
UNITS = {"_per_s": "/s", "_s": " s", "_w": " W", "_j": " J", "_mhz": " MHz"}
# marks a results file, at this place in SQLite's header
APPLICATION_ID = b"olbe"
APPLICATION_ID_AT = 68
# of a table's page; without scripts the list stays open
FOLD_COLUMNS = """
const columns = document.querySelector("dl.column-descriptions");
if (columns) {
  const folded = document.createElement("details");
  const heading = document.createElement("summary");
  heading.textContent = "What the columns mean";
  columns.replaceWith(folded);
  folded.append(heading, columns);
}
"""


@functools.cache
def descriptions() -> dict[str, Any]:
    """Return the content of metadata.yaml."""
    found: dict[str, Any] = yaml.safe_load(
        METADATA.read_text(encoding="utf-8")
    )
    return found


@functools.cache
def is_results_file(path: str) -> bool:
    """Tell whether a database is a results file; one that cannot be read is none."""
    try:
        with open(path, "rb") as file:
            file.seek(APPLICATION_ID_AT)
            return file.read(len(APPLICATION_ID)) == APPLICATION_ID
    except OSError:
        return False


@hookimpl  # type: ignore[untyped-decorator]
def get_metadata(datasette: Any) -> dict[str, Any]:
    """Return the descriptions for each database that is a results file."""
    # Datasette merges what -m says into what it gets
    found = copy.deepcopy(descriptions())
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
def extra_body_script(datasette: Any, database: str | None) -> str:
    """Return the script that folds the meanings of the columns of a results file."""
    return FOLD_COLUMNS if database in list_results(datasette) else ""


def list_results(datasette: Any) -> list[str]:
    """Return the names of the databases that are results files."""
    return [
        name
        for name, database in datasette.databases.items()
        if database.path and is_results_file(str(database.path))
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
    path = datasette.databases[database].path
    if not isinstance(value, float) or column.endswith("_unix"):
        return None
    if not path or not is_results_file(str(path)):
        return None
    unit = next((UNITS[end] for end in UNITS if column.endswith(end)), "")
    return Markup('<span title="{}">{}{}</span>').format(
        repr(value), digits(value), unit
    )
