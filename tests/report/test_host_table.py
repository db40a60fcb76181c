"""Levels by host, on the terminal, on the page and on Datasette's pages."""

from __future__ import annotations

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.verdict import judge
from ollama_bench.browsing.level_page import write_level_page
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.request_page import write_request_page
from ollama_bench.report import drawing
from ollama_bench.report.host_table import format_hosts, write_hosts
from ollama_bench.report.page import write_chapter
from ollama_bench.storage.connection import connect
from tests.support import several_hosts
from tests.support.chart_specs import drawing_nothing

LINKS = Links("results.db", "", "/results", "/results/-/query")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("hosts") / "results.db"
    more = {"levels": (1, 8), "chunks": False}
    several_hosts.write(path, hosts=1, **more)
    several_hosts.write(path, hosts=2, started_unix=1.77e9, **more)
    opened = connect(path, readonly=True)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def verdict(database):
    (study,) = selection.choose(database, [], [])
    return judge(database, study)


def test_on_the_terminal(verdict):
    heading, *lines = format_hosts(verdict.study, 80)
    assert heading.splitlines()[1].split() == [
        *("LEVEL", "HOST", "OK", "mean", "each", "busy", "most")
    ]
    assert [line.split()[:3] for line in lines] == [
        ["8", "127.0.0.1:9000", "4/4"],
        ["8", "127.0.0.1:9001", "4/4"],
    ]
    assert all(line.endswith(" 4") and len(line) < 80 for line in lines)


def test_each_host_has_the_throughput_of_its_own_time(tmp_path):
    path = tmp_path / "results.db"
    several_hosts.write(path, levels=(8,), slots=8, chunks=False)
    opened = connect(path)
    fast = "target_id = (SELECT min(id) FROM target)"
    began = "SELECT min(sent_ns) FROM request"
    # one after the other in the first second, the other host all the time
    opened.execute(
        f"UPDATE request SET sent_ns = ({began}) + number * 1e8, "
        f"ended_ns = ({began}) + (number + 2) * 1e8 WHERE {fast}"
    )
    (study,) = selection.choose(opened, [], [])
    first, second = study.hosts
    tokens, level = first["output_tokens"], study.levels[0]
    assert first["busy_s"] == pytest.approx(0.8)
    assert first["busy_tokens_per_s"] == pytest.approx(tokens / 0.8)
    assert second["busy_s"] > 3
    assert first["output_tokens_per_s"] == second["output_tokens_per_s"]
    both = first["output_tokens_per_s"] + second["output_tokens_per_s"]
    assert both == pytest.approx(level["output_tokens_per_s"])
    _, line, _ = format_hosts(study, 80)
    assert line.split()[-2] == f"{tokens / 0.8:.1f}"
    assert "tokens/s all, while busy" in write_hosts(study)
    opened.close()


def test_one_host_has_no_table(database, verdict):
    (study,) = selection.choose(database, [], [1])
    assert format_hosts(study, 80) == [] and write_hosts(study) == ""
    # of this table only
    selection.choose(database, [], [])


def test_on_the_page_with_all_servers(verdict):
    page = write_chapter(verdict, "")
    assert "<h3>By host</h3>" in page
    assert page.count("127.0.0.1:9001") >= 2
    both = ", ".join(
        f"{several_hosts.name_url(place)} with 4 slots" for place in (0, 1)
    )
    assert f"<dt>servers</dt><dd>{both}" in page
    assert "<dt>balance</dt><dd>round-robin" in page
    assert "By the number of servers: 1 server gave" in page


def test_on_the_pages_of_a_level_and_a_request(database):
    level_id = max(
        row["id"] for row in database.query("SELECT id FROM level")
    )
    page = write_level_page(database, level_id, LINKS)
    assert page and "<h3>By host</h3>" in page
    page = write_request_page(database, level_id, 1, LINKS)
    assert page and several_hosts.name_url(1) in page


def test_what_each_further_server_gives_is_drawn_where_it_is_chosen(
    database, verdict, tmp_path, capsys
):
    with drawing_nothing():
        drawing.draw(database, [verdict], tmp_path, ["host_scaling"])
    folder = tmp_path / verdict.study.folder
    assert [file.name for file in folder.iterdir()] == ["host_scaling.png"]
    assert (
        "What each further server gives"
        in (tmp_path / "report.html").read_text()
    )
    assert "1 charts" in capsys.readouterr().out
