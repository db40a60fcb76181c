"""What each further server gives, from runs of other numbers of them in the same file."""

import pytest

from ollama_bench.analysis import selection
from ollama_bench.analysis.host_scaling import (
    describe_scaling,
    find_scaling,
)
from ollama_bench.charts.host_charts import draw_scaling
from ollama_bench.storage.connection import connect
from tests.support import several_hosts
from tests.support.studies import change

MORE = {"levels": (1, 4), "chunks": False}


@pytest.fixture
def file(tmp_path):
    """Runs of 1, 2 and 4 servers; of 2 there are an older and a newer one."""
    path = tmp_path / "results.db"
    rates = ((1, 40.0), (2, 10.0), (2, 72.0), (4, 120.0))
    for place, (hosts, rate) in enumerate(rates):
        several_hosts.write(
            path,
            hosts=hosts,
            rate=rate,
            started_unix=1.76e9 + place,
            **MORE,
        )
    return path


def find(path, run_ids=()):
    database = connect(path, readonly=True)
    (study,) = selection.choose(database, [], run_ids)
    found = find_scaling(database, study)
    database.close()
    return study, found


def test_each_number_of_servers_has_its_newest_run(file):
    _, found = find(file)
    assert [(one.hosts, one.run_id) for one in found] == [
        *((1, 1), (2, 3), (4, 4))
    ]
    # the run that was chosen is the one of its number
    assert [one.run_id for one in find(file, [2])[1]] == [1, 2, 4]


def test_it_is_told_beside_the_ideal(file):
    _, found = find(file)
    (said,) = describe_scaling(found)
    rates = [one.tokens_per_s for one in found]
    assert said.startswith("By the number of servers: 1 server gave ")
    assert f"2 gave {rates[1] / rates[0]:.3g} times as many" in said
    assert "2 would be ideal) and 4 gave" in said


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET arguments = json_set(arguments, '$.tokens', 9) WHERE id < 4",
        "UPDATE run SET arguments = '{' WHERE id = 4",
        "UPDATE run SET simulated = 0 WHERE id < 4",
        "UPDATE level SET status = 'interrupted' WHERE run_id < 4",
        "UPDATE level SET is_control = 1 WHERE run_id < 4",
        "UPDATE run SET machine_id = NULL WHERE id < 4",
    ],
)
def test_what_was_asked_otherwise_is_not_compared(file, statement):
    change(file, statement)
    assert find(file, [4])[1] == []
    assert describe_scaling([]) == []


def test_the_levels_and_the_balance_may_differ(file):
    change(
        file,
        "UPDATE run SET arguments = json_set(arguments, '$.levels',"
        " json('[1]'), '$.balance', 'random') WHERE id = 4",
    )
    assert len(find(file)[1]) == 3


def test_the_chart_has_a_point_for_each_and_the_ideal_line(file):
    study, found = find(file)
    spec = draw_scaling(study, found)
    (rows,) = {
        str(rows): rows for rows in spec["datasets"].values()
    }.values()
    first = rows[0]["y"]
    assert [row["hosts"] for row in rows] == [1, 2, 4]
    assert [row["ideal"] for row in rows] == pytest.approx(
        [first, 2 * first, 4 * first]
    )
    assert draw_scaling(study, found[:1]) is None
