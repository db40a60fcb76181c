"""Datasette over a results file: every page answers, described, within its time limit."""

import asyncio
import json
import re
import sqlite3
from types import SimpleNamespace

import pytest
import yaml

from ollama_bench.analysis.wording import digits
from tests.support import made_up_results
from tests.support.datasette_server import load, plugged_in
from tools import describe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a results file lies."""
    folder = tmp_path_factory.mktemp("datasette")
    made_up_results.write(
        folder / "results.db", failures=2, label="a name"
    )
    made_up_results.write(folder / "results.db", levels=(1, 2))
    return folder


def get_pages(folder, paths):
    """Status and text of pages, by path."""

    async def get(server):
        await server.invoke_startup()
        found = {}
        for path in paths:
            answer = await server.client.get(path)
            found[path] = answer.status_code, answer.text
        for database in server.databases.values():
            database.close()
        return found

    with plugged_in() as make_server:
        server = make_server(
            [str(folder / "results.db")],
            metadata=yaml.safe_load(
                describe.METADATA.read_text(encoding="utf-8")
            ),
            # a query for each column; no page fails by them
            settings={"suggest_facets": False},
        )
        return asyncio.run(get(server))


def list_names(folder):
    """Every table and view."""
    connection = sqlite3.connect(folder / "results.db")
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    connection.close()
    return [name for (name,) in rows]


@pytest.fixture(scope="module")
def pages(folder):
    """The first pages, and those of two tables and a view."""
    names = ("level_summary", "level_summary.json", "request", "level")
    paths = [f"/results/{name}" for name in names]
    return get_pages(folder, ["/", "/results", *paths])


def find_broken(pages):
    return {
        path: status
        for path, (status, _) in pages.items()
        if status != 200
    }


def test_pages_answer(pages):
    assert len(pages) == 6
    assert find_broken(pages) == {}


@pytest.mark.faults
@pytest.mark.parametrize("form", ["", ".json"])
def test_every_page_answers(folder, form):
    names = list_names(folder)
    paths = [f"/results/{name}{form}" for name in names]
    assert len(paths) > 30
    assert find_broken(get_pages(folder, paths)) == {}


def test_the_descriptions_are_on_the_page(pages):
    assert (
        "the most requests that were answered at the same time"
        in pages["/results/level_summary"][1]
    )
    assert "one streaming request" in pages["/results/request"][1]
    assert re.search(
        "Start with <a href=[^>]*>level_summary</a>", pages["/results"][1]
    )
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


def test_figures_are_rounded_with_their_unit_and_whole_in_the_json(pages):
    page = pages["/results/level_summary"][1]
    (row, *_) = json.loads(pages["/results/level_summary.json"][1])["rows"]
    # the JSON has rows as lists or by column
    values = row.values() if isinstance(row, dict) else row
    wait_s = 0.2
    assert f'<span title="{wait_s}">0.2 s</span>' in page
    assert wait_s in values
    speeds = [
        value
        for value in values
        if isinstance(value, float) and len(repr(value)) > 8
    ]
    assert speeds
    assert all(
        f'<span title="{speed}">{digits(speed)}' in page
        for speed in speeds
    )


@pytest.mark.parametrize(
    "column, value",
    [
        ("started_unix", 1_760_000_000.25),
        ("ended_ns", 310_284_123),
        ("id", 7),
        ("model", "0.310284123"),
        ("ttft_s", None),
    ],
)
def test_moments_numbers_and_text_are_left_alone(tmp_path, column, value):
    made_up_results.write(tmp_path / "results.db", levels=(1,))
    path = str(tmp_path / "results.db")
    server = SimpleNamespace(databases={"a": SimpleNamespace(path=path)})
    draw = load().ours.render_cell
    assert draw(value, column, "a", server) is None
    assert str(draw(0.310284123, "ttft_s", "a", server)) == (
        '<span title="0.310284123">0.31 s</span>'
    )


def test_the_figures_of_other_files_are_left_alone(tmp_path):
    path = tmp_path / "other.db"
    path.write_bytes(b"no results")
    server = SimpleNamespace(databases={"a": SimpleNamespace(path=path)})
    draw = load().ours.render_cell
    assert draw(0.310284123, "ttft_s", "a", server) is None
