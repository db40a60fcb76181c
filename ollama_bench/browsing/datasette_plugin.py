"""Datasette plugin: describe every table, view and column of each results file.

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

PACKAGED = pathlib.Path(__file__).parents[1] / "storage" / "metadata.yaml"
METADATA = (
    PACKAGED
    if PACKAGED.exists()
    else pathlib.Path(__file__).parents[2] / "metadata.yaml"
)
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
