"""Power where it is used: what workers on the servers' machines read, and what it comes to."""

from pathlib import Path

import pytest

from tests.run.programs import QUICK, rows, run, start, wait_for
from tests.support.cluster import running_cluster

pytestmark = pytest.mark.faults
PRELOAD = (
    "--preload",
    Path(__file__).parents[1] / "support" / "powered_worker.py",
)
MACHINES = {
    "one": {"TEST_MACHINE": "first", "TEST_WATTS": "40"},
    "two": {"TEST_MACHINE": "second", "TEST_WATTS": "10"},
}
BY_MACHINE = """
SELECT by_machine.*, chip FROM energy_by_machine AS by_machine
JOIN machine ON machine.id = machine_id ORDER BY level_id, watcher"""
WHOLE = """
SELECT energy.*, (ended_ns - started_ns) / 1e9 AS length_s
FROM energy_summary AS energy JOIN level ON level.id = level_id
ORDER BY level_id"""
PROCESSES = """
SELECT watcher, chip, role, count(DISTINCT process.id) AS processes
FROM process JOIN machine ON machine.id = machine_id
JOIN process_sample ON process_id = process.id GROUP BY watcher"""


@pytest.fixture(scope="module")
def servers(module_sim):
    """Two whose replies of 100 tokens take two seconds."""
    return [
        module_sim(ttft=50, itl=20, tokens=100, slots=64) for _ in range(2)
    ]


def ask(servers, address):
    asked = ["4", "--fleet", address, *QUICK]
    for server, worker in zip(servers, ("one", "two"), strict=True):
        asked += [
            "--host",
            server.url,
            "--watch",
            f"{worker}={server.url}",
        ]
    return asked


def test_each_machine_has_its_joules_until_its_worker_dies(
    servers, tmp_path
):
    with running_cluster(MACHINES, *PRELOAD) as (address, processes):
        asked = [*ask(servers, address), "--repeat", "2"]
        process = start(*asked, cwd=tmp_path)
        wait_for(process, "time 2 of 2")
        wait_for(process, "4 streaming")
        processes["one"].kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    check_whole_level(servers, tmp_path)
    assert rows(tmp_path, PROCESSES) == [
        {"watcher": name, "chip": chip, "role": "serve", "processes": 1}
        for name, chip in (("one", "first"), ("two", "second"))
    ]
    machines = rows(tmp_path, "SELECT count(*) AS n FROM machine")
    assert machines == [{"n": 3}]
    assert "worker one does not watch its machine any more" in out + err
    (event,) = rows(
        tmp_path, "SELECT detail FROM event WHERE kind = 'watcher_lost'"
    )
    lost, kept = rows(
        tmp_path,
        "SELECT status, samples FROM power_source ORDER BY watcher",
    )
    assert lost["status"].startswith("lost: ") and lost["samples"] > 1
    assert kept["status"] == "ok" and kept["samples"] > lost["samples"]
    again = rows(tmp_path, WHOLE)[-1]
    assert again["energy_j"] is None and again["coverage_ratio"] < 0.95
    one, two = rows(tmp_path, BY_MACHINE)[-2:]
    assert one["energy_j"] is None
    assert two["mean_w"] == pytest.approx(10, rel=0.01)


def test_another_worker_of_the_machine_watches_the_level_again(
    servers, tmp_path
):
    machines = {"one": MACHINES["one"], "twin": MACHINES["one"]}
    with running_cluster(machines, *PRELOAD) as (address, processes):
        out = lose_one(servers[0], address, processes, tmp_path)
    assert "machine any more: the link broke; worker twin goes on" in out
    cut, again = rows(tmp_path, WHOLE)[:2]
    assert cut["energy_j"] is None and cut["coverage_ratio"] < 0.95
    assert again["coverage_ratio"] == pytest.approx(1, abs=0.01)
    taken_j = 40 * again["length_s"]
    assert again["energy_j"] == pytest.approx(taken_j, rel=0.01)


def test_without_another_worker_the_machine_is_not_watched(
    servers, tmp_path
):
    machines = {"one": MACHINES["one"], "two": {"TEST_MACHINE": "second"}}
    with running_cluster(machines, *PRELOAD) as (address, processes):
        out = lose_one(servers[0], address, processes, tmp_path)
    assert "machine any more: the link broke\n" in out
    shown = " ".join(out.split())
    nothing = "not measured: no power was read on the server's machine"
    assert nothing in shown
    host = servers[0].url.removeprefix("http://")
    assert f"no power was read on the machine of {host} at 4" in shown
    cut, again = rows(tmp_path, BY_MACHINE)[:2]
    assert cut["energy_j"] is None and cut["coverage_ratio"] < 0.95
    assert again["energy_j"] is None and again["coverage_ratio"] == 0


def lose_one(server, address, processes, folder):
    """Kill worker one, which watches, in the middle of a level; return what the run said."""
    process = start(
        *("4", "--fleet", address, "--host", server.url),
        *("--watch", f"one={server.url}", *QUICK),
        cwd=folder,
    )
    wait_for(process, "4 streaming")
    processes["one"].kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return out + err


def check_whole_level(servers, folder):
    """Compare the first level with the watts that the stand-ins take."""
    level = rows(folder, WHOLE)[0]
    one, two = rows(folder, BY_MACHINE)[:2]
    for row, watts, host in ((one, 40, 0), (two, 10, 1)):
        assert row["chip"] == ("first", "second")[host]
        assert row["hosts"] == servers[host].url
        assert row["coverage_ratio"] == pytest.approx(1, abs=0.01)
        assert row["mean_w"] == pytest.approx(watts, rel=0.01)
        taken_j = watts * level["length_s"]
        assert row["energy_j"] == pytest.approx(taken_j, rel=0.01)
        each_j = taken_j / row["output_tokens"]
        assert row["joules_per_output_token"] == pytest.approx(
            each_j, rel=0.01
        )
    assert level["energy_j"] == one["energy_j"] + two["energy_j"]
    tokens = one["output_tokens"] + two["output_tokens"]
    assert tokens == level["output_tokens"] == 400
    assert level["source"] == "one: rapl package-0 + two: rapl package-0"


def test_without_the_power_of_one_machine_there_is_no_sum(
    servers, tmp_path
):
    machines = {**MACHINES, "two": {"TEST_MACHINE": "second"}}
    with running_cluster(machines, *PRELOAD) as (address, _):
        asked = [*ask(servers, address), "--report"]
        code, out, err = run(*asked, cwd=tmp_path)
    assert code == 0, out + err
    for server, worker in zip(servers, machines, strict=True):
        said = f"worker {worker} watches the machine of {server.url}"
        assert said in out
    nothing = "worker two: power: found no readable sensor on this machine"
    assert nothing in out + err
    (one, two, *_) = rows(tmp_path, BY_MACHINE)
    assert one["energy_j"] > 0 and two["energy_j"] is None
    assert (two["source"], two["coverage_ratio"]) == (None, 0)
    level = rows(tmp_path, WHOLE)[0]
    assert level["energy_j"] is None and level["coverage_ratio"] == 0
    shown = " ".join(out.split())
    second = servers[1].url.removeprefix("http://")
    assert f"what a token takes on the machine of {second}" in shown
    assert f"no power was read on the machine of {second}" in shown


def test_workers_of_this_machine_do_not_watch_it_again(servers, tmp_path):
    host = servers[0].url
    asked = ["2", "--host", host, "--fleet", "local:2", *QUICK]
    asked += ["--watch", f"local-2={host}"]
    code, out, err = run(*asked, cwd=tmp_path)
    assert code == 0, out + err
    assert "watches the machine of" not in out + err
    watchers = rows(tmp_path, "SELECT DISTINCT watcher FROM process")
    assert watchers == [{"watcher": None}]
    target = rows(
        tmp_path,
        "SELECT target.machine_id = run.machine_id AS is_own, watcher "
        "FROM target JOIN run ON run.id = run_id",
    )
    assert target == [{"is_own": 1, "watcher": None}]


def test_a_worker_that_is_not_there_ends_it_before_a_run_begins(
    servers, tmp_path
):
    host = servers[0].url
    asked = ["2", "--host", host, "--fleet", "local:1", *QUICK]
    code, _, err = run(*asked, "--watch", f"mouse={host}", cwd=tmp_path)
    assert (code, err) == (
        2,
        f"bench.py: invalid --watch 'mouse={host}': "
        "expected a worker of the fleet, one of local-1\n",
    )
    assert not (tmp_path / "results.db").exists()
