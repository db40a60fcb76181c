"""Answer a request for a page of a results file, read in a thread by a connection of its own."""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
from collections.abc import Callable
from html import escape
from typing import Any

from datasette.utils import tilde_decode
from datasette.utils.asgi import Response
from sqlite_utils import Database

from ollama_bench.browsing.links import Links
from ollama_bench.browsing.policy import HEADERS
from ollama_bench.storage.connection import connect
from ollama_bench.storage.results_file import (
    ResultsError,
    is_results_file,
)

JSON = "application/json"

# makes a text of an open file; None: there is no such thing in it
Make = Callable[[Database, Links], "str | None"]


async def answer(
    datasette: Any, request: Any, make: Make, content_type: str
) -> Response:
    """Return what make gives of the file that a request names; 404 where it gives nothing."""
    name = tilde_decode(request.url_vars["database"])
    if find_path(datasette, name) is None:
        return refuse(f"{name} is no results file here", content_type)
    await check_allowed(datasette, request, name)
    try:
        text = await read(datasette, name, make)
    except ResultsError as error:
        return refuse(str(error), content_type)
    if text is None:
        return refuse(f"{name} has no such page", content_type)
    return Response(text, headers=HEADERS, content_type=content_type)


def refuse(why: str, content_type: str = "text/html") -> Response:
    if content_type == JSON:
        text = json.dumps({"error": why})
        return Response(text, 404, HEADERS, JSON)
    return Response.html(f"<p>{escape(why)}</p>", 404, headers=HEADERS)


def find_path(datasette: Any, name: str) -> str | None:
    """Return the path of a results file by its name here; None where it is none."""
    database = datasette.databases.get(name)
    path = str(database.path) if database and database.path else ""
    return path if path and is_results_file(path) else None


async def read(datasette: Any, name: str, make: Make) -> str | None:
    """Return what make gives of a results file. Raises ResultsError."""
    path = find_path(datasette, name) or ""
    base = str(datasette.urls.instance()).rstrip("/")
    root = str(datasette.urls.database(name))
    queries = f"{root}/-/query" if is_datasette_1(datasette) else root
    links = Links(name, base, root, queries)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(
        None, functools.partial(read_file, path, make, links)
    )


def is_datasette_1(datasette: Any) -> bool:
    """Tell whether it is Datasette 1.0 or newer: it keeps what describes a file itself."""
    return hasattr(datasette, "set_database_metadata")


def read_file(path: str, make: Make, links: Links) -> str | None:
    database = connect(path, readonly=True)
    try:
        return make(database, links)
    except sqlite3.Error as error:
        raise ResultsError(f"{links.file}: {error}") from None
    finally:
        database.close()


async def check_allowed(datasette: Any, request: Any, name: str) -> None:
    """Raise Forbidden where this Datasette keeps the file from who asks."""
    if not is_datasette_1(datasette):
        await datasette.ensure_permissions(
            request.actor, [("view-database", name), "view-instance"]
        )
        return
    from datasette.resources import DatabaseResource

    await datasette.ensure_permission(
        action="view-database",
        resource=DatabaseResource(name),
        actor=request.actor,
    )
