"""The plugin of Datasette: what it adds to the pages of a results file, and to no other."""

import asyncio
import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_bench import browsing
from tests.support import made_up_results
from tests.support.datasette_server import load, plugged_in

SCRIPT = "/-/ollama-bench/datasette.js"
STYLE = "/-/ollama-bench/datasette.css"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The text of pages of a results file, "a b.db", and of somebody's own."""
    folder = tmp_path_factory.mktemp("browsing")
    made_up_results.write(folder / "a b.db", levels=(1,))
    with contextlib.closing(sqlite3.connect(folder / "cats.db")) as other:
        other.execute("CREATE TABLE level_summary (name)")
    files = [str(folder / "a b.db"), str(folder / "cats.db")]

    async def get(server):
        await server.invoke_startup()
        names = ["/", "/a+b", "/a+b/level_summary"]
        names += ["/cats", "/cats/level_summary"]
        found = {
            name: (await server.client.get(name)).text for name in names
        }
        for database in server.databases.values():
            database.close()
        return found

    with plugged_in() as make_server:
        return asyncio.run(get(make_server(files)))


def test_a_table_has_its_style_its_script_and_what_its_columns_mean(pages):
    assert SCRIPT in pages["/a+b/level_summary"]
    assert STYLE in pages["/a+b/level_summary"]
    assert "first token, mean, seconds" in pages["/a+b/level_summary"]


def test_the_names_to_start_with_are_links(pages):
    links = re.findall(
        r'<a href="([^"]*)">level_summary</a>', pages["/a+b"]
    )
    assert links[0] == "/a+b/level_summary"
    assert "Start with <a" in pages["/a+b"]


def test_a_file_that_is_none_of_ours_gets_nothing(pages):
    for name in ("/cats", "/cats/level_summary"):
        assert (
            SCRIPT not in pages[name] and "Start with" not in pages[name]
        )


@pytest.mark.faults
def test_a_clone_shows_the_pages_from_any_folder(tmp_path):
    made_up_results.write(tmp_path / "results.db", levels=(1,))
    plugins = Path(browsing.__file__).parent / "plugins"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "datasette", "results.db"),
            *("--plugins-dir", str(plugins), "--get", "/results/-/run/1"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "<h1>Run 1" in done.stdout


FORBIDDEN = {"allow": {"id": "root"}}


def test_what_the_owner_forbids_stays_forbidden(tmp_path):
    """Questions for permissions are answered without our descriptions."""
    made_up_results.write(tmp_path / "results.db", levels=(1,))
    table = {"databases": {"results": {"tables": {"reply": FORBIDDEN}}}}

    async def get(server):
        await server.invoke_startup()
        found = [
            await server.client.get(f"/results{name}")
            for name in ("", "/reply", "/request")
        ]
        for database in server.databases.values():
            database.close()
        return found

    with plugged_in() as make_server:
        server = make_server([tmp_path / "results.db"], metadata=table)
        page, reply, request = asyncio.run(get(server))
        facets = server.metadata("tables", database="results")
    assert [a.status_code for a in (page, reply, request)] == [
        200,
        403,
        200,
    ]
    assert 'href="/results/reply"' not in page.text
    assert 'href="/results/request"' in page.text
    assert facets["request"]["facets"] == ["ending", "done_reason"]


def test_our_descriptions_say_nothing_of_permissions():
    found, ours = load().ours.descriptions(), load().ours.PERMISSIONS
    results = found["databases"]["results"]
    for place in (found, results, *results["tables"].values()):
        assert not place.keys() & {*ours, "permissions"}
