"""The pages of a results file within Datasette, as a program reads them."""

import asyncio
import contextlib
import html
import json
import re
import sqlite3

import pytest

from ollama_bench.browsing import routes
from ollama_bench.browsing.cards import write_cards
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.policy import POLICY
from ollama_bench.browsing.run_page import write_run_page
from ollama_bench.storage.connection import connect
from tests.support import made_up_results, prompt_lengths
from tests.support.datasette_server import plugged_in

REVERSED = "\u202egnp.exe"
HOSTILE = "</script><img src=x onerror=alert(1)>:7b"
ERROR = "<script>alert(2)</script>"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Ask for addresses of a Datasette of "a b.db", whose second run is hostile, and "cats.db"."""
    folder = tmp_path_factory.mktemp("pages")
    made_up_results.write(folder / "a b.db", levels=(1, 2, 4))
    made_up_results.write(
        folder / "a b.db",
        levels=(1, 4),
        model=HOSTILE,
        label="<b>label</b>",
        failures=1,
        error=ERROR,
    )
    prompt_lengths.write(
        folder / "a b.db", model="lengths:1b", started_unix=1.6e9
    )
    with contextlib.closing(sqlite3.connect(folder / "cats.db")) as other:
        other.execute("CREATE TABLE run (id)")

    def get(*addresses):
        async def get_all():
            await server.invoke_startup()
            return [
                await server.client.get(address) for address in addresses
            ]

        return loop.run_until_complete(get_all())

    with (
        plugged_in() as make_server,
        contextlib.closing(asyncio.new_event_loop()) as loop,
    ):
        server = make_server(
            [str(folder / "a b.db"), str(folder / "cats.db")],
            settings={"base_url": "/lab/"},
        )
        yield get
        for database in server.databases.values():
            database.close()


def first_level(ask, run):
    [page] = ask(f"/a+b/-/run/{run}")
    [places] = re.findall(
        r'<script type="application/json" id="levels">(.*?)</script>',
        page.text,
    )
    return json.loads(places)


def test_the_page_of_a_file_begins_with_its_runs(ask):
    [page] = ask("/a+b")
    assert page.text.index("/lab/a+b/-/run/1") < page.text.index(
        "Start with"
    )
    assert "<b>label</b>" not in page.text


def test_a_card_has_the_answer_and_a_curve(ask):
    [card] = ask("/a+b/-/run/1/answer")
    assert "tokens/s" in card.text and "<polyline" in card.text


def test_a_run_begins_with_its_failures_and_its_answer(ask):
    [page] = ask("/a+b/-/run/2")
    places = [
        page.text.index(text)
        for text in ("Failures", 'class="answer"', 'data-source="')
    ]
    assert places == sorted(places)
    assert html.escape(ERROR) in page.text


def test_a_run_that_failed_says_why_and_turns_no_words_around(tmp_path):
    file = tmp_path / "failed.db"
    made_up_results.write(file, levels=(1,), label=f"a{REVERSED}")
    with contextlib.closing(sqlite3.connect(file)) as database:
        for sql in (
            "DELETE FROM chunk",
            "DELETE FROM reply",
            "DELETE FROM request",
            "DELETE FROM level",
            "UPDATE run SET status = 'failed'",
            "INSERT INTO event (run_id, kind, detail) VALUES "
            "(1, 'run_failed', 'cannot warm up <m>: http_error 500')",
        ):
            database.execute(sql)
        database.commit()
    database = connect(file, readonly=True)
    links = Links("failed.db", "", "/failed", "/failed")
    page = write_run_page(database, 1, links)
    cards = write_cards(database, links)
    database.close()
    assert "It failed: cannot warm up &lt;m&gt;: http_error 500" in page
    assert "Drag over the bars" not in page
    for text in (page, cards):
        assert "gnp.exe" in text and "\u202e" not in text


def test_nothing_of_a_file_becomes_markup(ask):
    [level, *_] = first_level(ask, 2)
    inside = level["page"].removeprefix("/lab")
    for page in ask(
        "/a+b",
        "/a+b/-/run/2",
        inside,
        f"{inside}/request/1",
        f"{inside}/playback",
    ):
        assert page.status_code == 200
        assert "<img src=x" not in page.text
        assert ERROR not in page.text and "<b>label" not in page.text


def test_every_page_forbids_all_but_its_own_server(ask):
    [level, *_] = first_level(ask, 1)
    inside = level["page"].removeprefix("/lab")
    for page in ask(
        "/a+b/-/run/1", inside, f"{inside}/request/1", f"{inside}/playback"
    ):
        assert page.headers["content-security-policy"] == POLICY
        assert not re.search(
            r"(src|href|action)=[\"']?(https?:)?//", page.text
        )


@pytest.mark.faults
def test_every_link_of_a_page_answers(ask):
    [level, *_] = first_level(ask, 1)
    inside = level["page"].removeprefix("/lab")
    addresses = set()
    for page in ask("/a+b/-/run/1", inside, f"{inside}/request/1"):
        addresses |= {
            html.unescape(one)
            for one in re.findall(
                r'(?:href|src|data-source)="(/[^"]*)"', page.text
            )
        }
    assert len(addresses) > 20
    answers = ask(*(address.removeprefix("/lab") for address in addresses))
    wrong = {
        address: answer.status_code
        for address, answer in zip(addresses, answers)
        if answer.status_code != 200
    }
    assert not wrong


def test_the_sql_behind_a_chart_gives_its_rows(ask):
    [page] = ask("/a+b/-/run/1")
    queries = [
        html.unescape(one).removeprefix("/lab")
        for one in re.findall(r'href="([^"]*\?sql=WITH[^"]*)"', page.text)
    ]
    assert len(queries) > 10
    for answer in ask(
        *(query.replace("?", ".json?") for query in queries)
    ):
        assert answer.json()["rows"], answer.json().get("error")


def test_a_chart_of_a_level_shows_that_level_alone(ask):
    levels = first_level(ask, 1)
    inside = levels[1]["page"].removeprefix("/lab")
    [answer] = ask(f"{inside}/chart/timeline")
    shown = {
        row["level"]
        for rows in answer.json()["datasets"].values()
        for row in rows
        if "level" in row
    }
    assert shown == {f"{levels[1]['concurrency']} at once"}


def test_each_length_of_prompts_has_its_own_charts_and_rows(ask):
    [page] = ask("/a+b/-/run/3")
    assert "lengths:1b, prompts of 4,000 tokens" in page.text
    assert (
        ">4 at once (lengths:1b, prompts of 500 tokens)</a>" in page.text
    )
    waits = "lengths-1b~{}"
    rows = {}
    for tokens in (500, 4000):
        [answer] = ask(
            "/a+b/-/run/3/chart/combined_metrics?study="
            + waits.format(tokens)
        )
        rows[tokens] = {
            row["ttft_mean_s"]
            for shown in answer.json()["datasets"].values()
            for row in shown
            if "ttft_mean_s" in row
        }
    assert max(rows[500]) < 1 < min(rows[4000])
    queries = {
        html.unescape(one).removeprefix("/lab")
        for one in re.findall(r'href="([^"]*\?sql=WITH[^"]*)"', page.text)
    }
    combined = [one for one in queries if "duration_s" in one]
    found = ask(*(one.replace("?", ".json?") for one in sorted(combined)))
    assert sorted(len(answer.json()["rows"]) for answer in found) == [2, 2]


def test_a_mark_of_the_timeline_knows_its_level(ask):
    """Another model of the run may have a level of as many, and a level its repeats."""
    levels = first_level(ask, 1)
    [page] = ask("/a+b/-/run/1/chart/timeline?study=tiny-7b")
    known = {
        (row["level"], row["level_id"])
        for rows in page.json()["datasets"].values()
        for row in rows
        if "level" in row
    }
    assert known == {
        (f"{level['concurrency']} at once", level["level_id"])
        for level in levels
    }
    assert {level["study"] for level in levels} == {"tiny-7b"}


def test_a_chart_without_data_is_null(ask):
    [answer] = ask("/a+b/-/run/1/chart/server_split?study=tiny-7b")
    assert answer.status_code == 200
    assert answer.json() is None or "datasets" in answer.json()


@pytest.mark.parametrize(
    "address",
    [
        "/a+b/-/run/99",
        "/a+b/-/run/999999999999999999",
        "/a+b/-/level/99",
        "/a+b/-/level/1/request/99",
        "/a+b/-/run/1/chart/timeline?study=none",
        "/a+b/-/run/99/chart/timeline?study=tiny-7b",
        "/a+b/-/level/99/chart/timeline",
        "/a+b/-/level/99/playback",
        "/a+b/-/level/99/playback/data",
        "/cats/-/level/1/playback/data",
        "/a+b/-/run/1/chart/nothing",
        "/cats/-/run/1",
        "/none/-/run/1",
        "/-/ollama-bench/nothing.js",
    ],
)
def test_what_is_not_there_is_a_line(ask, address):
    [answer] = ask(address)
    assert answer.status_code == 404
    assert len(answer.text) < 300


def test_what_plays_a_level_back_is_plain_json(ask):
    [level, *_] = first_level(ask, 2)
    inside = level["page"].removeprefix("/lab")
    [answer] = ask(f"{inside}/playback/data")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    found = answer.json()
    assert found["page"] == level["page"]
    assert HOSTILE in found["name"]


def test_each_asset_is_of_its_kind(ask):
    names = [*routes.ASSET_ROOMS]
    answers = ask(*(f"/-/ollama-bench/{name}" for name in names))
    for name, answer in zip(names, answers):
        kind = "css" if name.endswith(".css") else "javascript"
        assert kind in answer.headers["content-type"]


@pytest.mark.parametrize(
    "address",
    [
        "/a+b/-/run/abc",
        "/a+b/-/run/99",
        "/a+b/-/run",
        "/a+b/-/run/1/nothing",
        "/a+b/-/level/x/playback",
        "/a+b/-/level/1/request/one",
        "/a+b/-/request/1",
        "/nothing/-/run/x",
        "/cats/-/request/1",
        # Datasette's own page
        "/-/ollama-bench/no/such/file",
        "/nothing",
        "/a+b/nothing",
    ],
)
def test_a_mistyped_address_is_not_found(ask, address):
    [page] = ask(address)
    assert page.status_code == 404
    assert "Internal Server Error" not in page.text
    assert len(page.text) > 20
