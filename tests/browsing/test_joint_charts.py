"""Charts of several studies on the page of a run: each that analyze.py makes is there."""

import html
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from ollama_bench.browsing.chart_source import draw_for_run
from ollama_bench.browsing.links import Links
from ollama_bench.browsing.run_page import write_run_page
from ollama_bench.charts import names
from ollama_bench.storage.connection import connect
from tests.support import mixture, prompt_lengths, several_hosts

LINKS = Links("results", "", "/results", "/results")
SOURCE = re.compile(
    r'data-source="/results/-/run/\d+/chart/(\w+)\?study=([^"]*)"'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("joint")
    prompt_lengths.write(found / "lengths.db")
    for place, hosts in enumerate((1, 2)):
        several_hosts.write(
            found / "hosts.db",
            hosts=hosts,
            started_unix=1.76e9 + place,
            levels=(1, 4),
            chunks=False,
        )
    mixture.write(found / "mixture.db")
    return found


@pytest.fixture
def read(folder):
    """Open a file, which is closed after the test."""
    opened = []

    def open_file(name):
        database = connect(folder / f"{name}.db", readonly=True)
        opened.append(database)
        return database

    yield open_file
    for database in opened:
        database.close()


def list_charts(database, run_id):
    """Return the name and the study of each chart of the page of a run."""
    page = write_run_page(database, run_id, LINKS)
    return SOURCE.findall(page)


@pytest.mark.parametrize(
    ("file", "run_id", "expected"),
    [
        (
            "lengths",
            1,
            {"prompt_lengths", "capacity_by_length", *names.ACROSS_MODELS},
        ),
        ("hosts", 1, {"host_scaling"}),
        ("hosts", 2, {"host_scaling"}),
        ("mixture", 1, {"interference"}),
    ],
)
def test_each_chart_of_a_report_is_on_the_page_of_its_run(
    read, file, run_id, expected
):
    database = read(file)
    joint = [
        one
        for one in list_charts(database, run_id)
        if one[0] not in names.OF_MODEL
    ]
    assert {name for name, _ in joint} == expected
    assert len(joint) == len(expected)
    drawn = {
        name
        for name, study in joint
        if draw_for_run(database, run_id, study, name)
    }
    # the made-up runs measure no energy of each length
    assert expected - drawn <= {"comparative_efficiency"}


def test_every_name_of_a_chart_can_be_asked_for(read):
    """A chart of which nothing was measured is none, and no error."""
    database = read("mixture")
    [(_, study), *_] = list_charts(database, 1)
    for name in names.ALL:
        draw_for_run(database, 1, study, name)


def test_a_joint_chart_leaves_title_and_look_to_the_page(read):
    database = read("hosts")
    [(_, study), *_] = list_charts(database, 2)
    spec = draw_for_run(database, 2, study, "host_scaling")
    assert not {"title", "config"} & set(spec)


def test_marks_name_the_study_whose_level_they_show(read):
    database = read("lengths")
    [(_, study), *_] = list_charts(database, 1)
    for name in ("comparative_wait", "prompt_lengths"):
        spec = draw_for_run(database, 1, study, name)
        shown = {
            row["study"]
            for rows in spec["datasets"].values()
            for row in rows
        }
        assert len(shown) == 2, name


def test_the_sql_behind_the_chart_of_servers_has_every_run(read):
    database = read("hosts")
    page = write_run_page(database, 2, LINKS)
    (address,) = {
        html.unescape(one)
        for one in re.findall(r'href="([^"]*level_summary[^"]*)"', page)
        if "hosts" in one and "WITH" not in one
    }
    (sql,) = parse_qs(urlsplit(address).query)["sql"]
    rows = list(database.query(sql))
    assert {(row["run_id"], row["hosts"]) for row in rows} == {
        (1, 1),
        (2, 2),
    }
    assert json.dumps(rows)
