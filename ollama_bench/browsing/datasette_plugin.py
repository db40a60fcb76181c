"""Datasette plugin: describe each results file, and round its figures to what they carry.

Installed with the package, so that `datasette results.db` alone shows what
`-m metadata.yaml` shows in a clone, whatever the file is called.
"""

from __future__ import annotations

import copy
import functools
import pathlib
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
    names = [
        name
        for name, database in datasette.databases.items()
        if database.path and is_results_file(str(database.path))
    ]
    if not names:
        return {}
    return {**found, "databases": dict.fromkeys(names, results)}


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
