"""Datasette plugin: describe every table, view and column of each results file.

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

PACKAGED = pathlib.Path(__file__).parents[1] / "storage" / "metadata.yaml"
METADATA = (
    PACKAGED
    if PACKAGED.exists()
    else pathlib.Path(__file__).parents[2] / "metadata.yaml"
)
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
