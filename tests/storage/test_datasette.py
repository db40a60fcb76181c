"""Datasette over a results file: every page answers, described, within its time limit."""

import asyncio
import gc
import sqlite3
import warnings

import pytest
import yaml

from tests.support import made_up_results
from tools import describe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is its own affair
    from datasette.app import Datasette

    gc.collect()  # it leaves a connection open when it is imported


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Status and text of the page and the JSON of every table and view, by path."""
    folder = tmp_path_factory.mktemp("datasette")
    made_up_results.write(folder / "results.db", failures=2, label="a name")
    made_up_results.write(folder / "results.db", levels=(1, 2))
    with sqlite3.connect(folder / "results.db") as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
                " AND name NOT LIKE 'sqlite_%'"
            )
        ]
    connection.close()
    paths = [
        "/",
        "/results",
        *[
            f"/results/{name}{ending}"
            for name in names
            for ending in ("", ".json")
        ],
    ]

    async def get():
        server = Datasette(
            [str(folder / "results.db")],
            metadata=yaml.safe_load(
                describe.METADATA.read_text(encoding="utf-8")
            ),
        )
        await server.invoke_startup()
        found = {}
        for path in paths:
            answer = await server.client.get(path)
            found[path] = answer.status_code, answer.text
        for database in server.databases.values():
            database.close()
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = asyncio.run(get())
        gc.collect()  # its threads leave connections open
        return found


def test_every_page_answers(pages):
    assert len(pages) > 60
    assert {
        path: status for path, (status, _) in pages.items() if status != 200
    } == {}


def test_the_descriptions_are_on_the_page(pages):
    assert (
        "the most requests that were answered at the same time"
        in pages["/results/level_summary"][1]
    )
    assert "one streaming request" in pages["/results/request"][1]
    assert "Start with level_summary" in pages["/results"][1]
    assert (
        "how the request ended: in_flight, completed"
        in pages["/results/request"][1]
    )


def test_a_run_shows_by_its_label(pages):
    assert ">a name</a>" in pages["/results/level"][1]


def test_rows_are_there(pages):
    assert (
        '"error_ratio": 0.0625' in pages["/results/level_summary.json"][1]
        or "0.0625" in pages["/results/level_summary.json"][1]
    )
