"""Several servers as one service: what is said of hosts that are unlike, or lost."""

import pytest

from ollama_bench.analysis import hosts, selection
from ollama_bench.analysis.bottlenecks import describe_slots, name_limits
from ollama_bench.analysis.caveats import find_caveats
from ollama_bench.storage.connection import connect
from tests.support import several_hosts
from tests.support.studies import change

LEVEL = {
    "concurrency": 8,
    "load": "closed",
    "balance": "round-robin",
    "rate_per_s": None,
}


def host(name, wait_s=0.2, completed=10, slots=None, peak=None, lost=0):
    return {
        "host": f"http://{name}",
        "ttft_mean_s": wait_s,
        "completed": completed,
        "requests": completed + lost,
        "lost": lost,
        "slots": slots,
        "in_flight_peak": peak,
    }


@pytest.mark.parametrize(
    "first, second, said",
    [
        (host("a"), host("b"), ""),
        # unlike, but nobody feels it
        (host("a", 0.01), host("b", 0.09), ""),
        (host("a", 1.0), host("b", 1.4), ""),
        (
            host("a", 1.0),
            host("b", 1.6),
            "With 8 at once requests waited 60 % longer at b than at a "
            "(1.6 s and 1 s until the first token)",
        ),
        (
            host("a", 4.2),
            host("b", 1.0, 30),
            "With 8 at once requests waited 4.2 times as long at a as at b "
            "(4.2 s and 1 s until the first token); "
            "a served 3 times fewer than b (10 and 30)",
        ),
        (
            host("a", None, 0),
            host("b", 1.0, 30),
            "With 8 at once a served none, b 30",
        ),
        # by chance
        (host("a", completed=1), host("b", completed=4), ""),
        (
            host("a", 2.0, slots=1, peak=6),
            host("b", 1.0, slots=8, peak=4),
            "With 8 at once requests waited 2 times as long at a as at b "
            "(2 s and 1 s until the first token); "
            "a had up to 6 for 1 slot, b never more than 4 for 8",
        ),
        (
            host("a", 1.0, 0, lost=3),
            host("b", 0.0, 9),
            "With 8 at once requests waited longer at a than at b "
            "(1 s and 0 ms until the first token); a served none, b 9",
        ),
    ],
)
def test_an_imbalance_is_told_where_it_matters(first, second, said):
    for rows in ((first, second), (second, first)):
        assert hosts.describe_imbalance(LEVEL, rows) == said


def test_what_is_lost_is_told_where_another_went_on():
    lost, whole = host("a", lost=3), host("b")
    assert hosts.describe_lost([lost, whole]) == (
        "a lost 3 of its 13 requests"
    )
    assert hosts.describe_lost([whole, whole]) == ""
    # nobody is left: that is no matter of one host
    assert hosts.describe_lost([lost, lost]) == ""
    assert hosts.describe_lost([lost]) == ""


@pytest.mark.parametrize(
    "changes, advice",
    [
        ({}, " With --balance least-in-flight the faster one gets more."),
        ({"balance": "least-in-flight"}, ""),
        (
            {"load": "burst"},
            " A burst gives each as many, for nothing is answered before all is sent; "
            "with --requests N the faster one gets more.",
        ),
    ],
)
def test_what_would_give_the_faster_host_more(changes, advice):
    assert hosts.suggest_balance(LEVEL | changes) == advice


def read(path, run_ids=()):
    database = connect(path, readonly=True)
    (study,) = selection.choose(database, [], run_ids)
    database.close()
    return study


def test_the_level_that_is_least_alike_is_told(tmp_path):
    path = tmp_path / "results.db"
    several_hosts.write(path, levels=(2, 8), chunks=False)
    study = read(path)
    assert len(hosts.group_hosts(study)) == 2
    assert hosts.describe_hosts(study) == []
    several_hosts.slow_down(path, 1, 5.0)
    (said,) = hosts.describe_hosts(read(path))
    assert said.startswith(
        "With 2 at once requests waited 26 times as long"
    )
    assert "127.0.0.1:9001 as at 127.0.0.1:9000" in said


def test_one_server_is_compared_with_nothing(tmp_path):
    path = tmp_path / "results.db"
    several_hosts.write(path, hosts=1, levels=(2,), chunks=False)
    study = read(path)
    assert study.hosts == [] == hosts.describe_hosts(study)


def test_a_lost_host_and_runs_of_other_numbers_of_hosts_are_caveats(
    tmp_path,
):
    path = tmp_path / "results.db"
    more = {"levels": (4,), "chunks": False}
    several_hosts.write(path, hosts=1, **more)
    several_hosts.write(path, hosts=2, started_unix=1.77e9, **more)
    change(
        path,
        "UPDATE request SET status = 'refused' WHERE id IN (SELECT request.id"
        " FROM request JOIN target ON target.id = target_id"
        " WHERE host LIKE '%9001' LIMIT 1)",
    )
    seen = [caveat.seen for caveat in find_caveats(read(path, [1, 2]))]
    assert seen[:2] == [
        "the runs asked 1 and 2 servers",
        "at 4 at once 127.0.0.1:9001 lost 1 of its 2 requests",
    ]


def test_the_slots_are_those_of_all_servers(tmp_path):
    path = tmp_path / "results.db"
    several_hosts.write(path, levels=(16,), slots=4, chunks=False)
    study = read(path)
    (level,) = study.levels
    assert level["slots"] == 8 and level["peak_streaming"] == 4
    # the servers have more than were seen
    assert describe_slots(level) == ""
    assert describe_slots(level | {"slots": 4}) == (
        "The servers' slots are the limit: of 16 requests at once "
        "they answered 4 at a time; they report no more slots."
    )
    study.levels = [level | {"slots": 4}]
    assert "the servers' slots (4 at a time)" in name_limits(study, study)
