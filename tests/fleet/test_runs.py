"""Whole runs with real processes: what they store, and what is left when one of them dies."""

import os
import signal
import time

import psutil
import pytest

from ollama_bench.fleet.fleet import open_fleet
from ollama_bench.inputs.fleet_settings import FleetAddress, FleetSettings
from ollama_bench.storage.connection import connect
from tests.run.programs import (
    QUICK,
    rows,
    run,
    start,
    wait_for,
)
from tests.support.cluster import running_cluster
from tests.system.programs import assert_sound, long_dead, wait_until

pytestmark = pytest.mark.faults
LOCAL = ["--fleet", "local:2", *QUICK, "--no-monitor"]
PER_WORKER = """
SELECT level_id, worker, count(*) AS requests, count(DISTINCT number) AS numbers,
  sum(status = 'completed') AS completed
FROM request GROUP BY level_id, worker ORDER BY level_id, worker"""
LONGEST_LOSS_S = 1.0
MANY = ["8", "--requests", "400", "--tokens", "5", "--prompt"]


@pytest.fixture(scope="module")
def steady(module_sim):
    """Replies of 100 tokens that take two seconds."""
    return module_sim(ttft=50, itl=20, tokens=100, slots=64)


def find_workers(process):
    """Return the processes that Dask started for a run."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [
        one for one in found if "spawn_main" in " ".join(one.cmdline())
    ]


def finish(process, timeout=60):
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def find_longest_loss_s():
    """Return what a kill may cost: twice as much where programs wait for processors."""
    if not hasattr(os, "getloadavg"):
        return LONGEST_LOSS_S
    is_busy = os.getloadavg()[0] > os.cpu_count()
    return LONGEST_LOSS_S * (2 if is_busy else 1)


def write_prompts(folder):
    lines = [f'{{"prompt": "prompt {number}"}}' for number in range(40)]
    (folder / "prompts.jsonl").write_text("\n".join(lines))
    return ["--prompts", "prompts.jsonl"]


@pytest.mark.parametrize(
    "load",
    [
        ["7"],
        ["4", "--requests", "10"],
        ["4", "--rate", "8", "--requests", "12"],
        ["5", "--think-time", "0.3:fixed", "--duration", "3"],
    ],
    ids=["burst", "closed", "open", "people"],
)
def test_two_processes_send_what_one_sends(steady, tmp_path, load):
    asked = [*load, "--host", steady.url, "--tokens", "5"]
    asked += write_prompts(tmp_path)
    for more in ([], ["--fleet", "local:2"]):
        code, out, err = run(
            *asked, *QUICK, "--no-monitor", *more, cwd=tmp_path
        )
        assert code == 0, out + err
    found = rows(tmp_path, PER_WORKER)
    workers = [row["worker"] for row in found]
    assert workers == [None, "local-1", "local-2"], (found, out, err)
    _, first, second = found
    assert first["completed"] > 1 and second["completed"] > 1
    together = rows(
        tmp_path,
        "SELECT level_id, count(*) AS n, count(DISTINCT number) AS numbers, "
        "min(number) AS least, sum(status != 'completed') AS bad, sum(chunks) AS chunks, "
        "(SELECT count(*) FROM chunk JOIN request AS own ON own.id = request_id "
        " WHERE own.level_id = request.level_id) AS stored "
        "FROM request GROUP BY level_id",
    )
    for level in together:
        assert level["n"] == level["numbers"] and level["least"] == 1
        assert level["bad"] == 0 and level["chunks"] == level["stored"]
    if "--think-time" not in load:
        assert together[0]["n"] == together[1]["n"]
        prompts = [
            {
                row["prompt_number"]
                for row in rows(
                    tmp_path,
                    f"SELECT prompt_number FROM request WHERE level_id = {level['level_id']}",
                )
            }
            for level in together
        ]
        assert prompts[0] == prompts[1]
    if "--rate" in load:
        due = [
            [
                round(row["s"], 6)
                for row in rows(
                    tmp_path,
                    "SELECT (due_ns - started_ns) / 1e9 AS s FROM request "
                    f"JOIN level ON level.id = level_id WHERE level_id = {level['level_id']} "
                    "ORDER BY due_ns",
                )
            ]
            for level in together
        ]
        # they begin at one instant, but not at one nanosecond
        assert due[0] == pytest.approx(due[1], abs=0.02)
    check_workers(tmp_path)


def check_workers(folder):
    level = rows(
        folder,
        "SELECT * FROM level WHERE clock_uncertainty_s IS NOT NULL",
    )[0]
    workers = rows(
        folder,
        f"SELECT * FROM level_worker WHERE level_id = {level['id']}",
    )
    assert [one["worker"] for one in workers] == ["local-1", "local-2"]
    assert all(one["machine_id"] and one["cpu_s"] > 0 for one in workers)
    # the same clock, truly
    for one in workers:
        assert (
            abs(one["clock_offset_s"]) <= one["clock_uncertainty_s"] < 0.01
        )
    assert level["client_cpu_s"] == pytest.approx(
        sum(one["cpu_s"] for one in workers)
    )
    assert level["clock_uncertainty_s"] == max(
        one["clock_uncertainty_s"] for one in workers
    )
    assert level["status"] == "finished" and level["lost_worker"] is None


def test_a_worker_is_killed_and_the_others_measure_the_level_again(
    steady, tmp_path
):
    process = start("8", "--host", steady.url, *LOCAL, cwd=tmp_path)
    wait_for(process, "8 streaming")
    find_workers(process)[0].kill()
    code, out, err = finish(process)
    assert code == 0, out + err
    assert "was lost in the middle of a level: measuring it again" in out
    levels = rows(
        tmp_path,
        "SELECT id, status, lost_worker FROM main.level "
        "WHERE NOT is_control ORDER BY id",
    )
    lost = levels[0]["lost_worker"]
    assert [one["status"] for one in levels] == ["interrupted", "finished"]
    assert lost.startswith("local-") and levels[1]["lost_worker"] is None
    found = rows(
        tmp_path,
        "SELECT worker, status, error FROM request "
        f"WHERE level_id = {levels[0]['id']}",
    )
    for one in found:
        if one["worker"] == lost:
            assert one["status"] == "client_error"
            assert one["error"].startswith(f"worker {lost} was lost: ")
        else:
            assert one["status"] == "cancelled"
    again = rows(
        tmp_path,
        "SELECT DISTINCT worker, status FROM request "
        f"WHERE level_id = {levels[1]['id']}",
    )
    assert len(again) == 1 and again[0]["status"] == "completed"
    assert again[0]["worker"] != lost


def test_a_worker_that_stands_still_is_lost_as_well(steady, tmp_path):
    process = start("4", "--host", steady.url, *LOCAL, cwd=tmp_path)
    wait_for(process, "4 streaming")
    stopped = find_workers(process)[0]
    stopped.suspend()
    try:
        code, out, err = finish(process, 120)
    finally:
        if stopped.is_running():
            stopped.kill()
    assert code == 0, out + err
    assert "no answer for 10 s" in out
    statuses = rows(
        tmp_path, "SELECT status FROM main.level WHERE NOT is_control"
    )
    assert [one["status"] for one in statuses] == [
        "interrupted",
        "finished",
    ]


def test_the_only_worker_is_killed(steady, tmp_path):
    asked = ["4", "--fleet", "local:1", *QUICK, "--no-monitor"]
    process = start(*asked, "--host", steady.url, cwd=tmp_path)
    wait_for(process, "4 streaming")
    find_workers(process)[0].kill()
    code, _, err = finish(process)
    assert code == 1
    assert "bench.py: no worker of the fleet is left" in err
    assert rows(tmp_path, "SELECT DISTINCT status FROM request") == [
        {"status": "client_error"}
    ]


def test_no_other_machine_reaches_processes_of_this_one():
    with open_fleet(FleetSettings(FleetAddress(1))):
        own = psutil.Process()
        listening = {
            link.laddr.ip
            for process in [own, *own.children(recursive=True)]
            for link in process.net_connections("tcp")
            if link.status == psutil.CONN_LISTEN
        }
    assert listening == {"127.0.0.1"}


def test_ctrl_c_and_resume(steady, tmp_path):
    process = start("2,4", "--host", steady.url, *LOCAL, cwd=tmp_path)
    wait_for(process, "4 streaming")
    workers = find_workers(process)
    # as a terminal does: everybody gets it
    for one in [*workers, process]:
        one.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130, out + err
    assert "kept: 1 of 2 levels" in out
    found = rows(
        tmp_path, "SELECT DISTINCT status FROM request WHERE level_id = 2"
    )
    assert found == [{"status": "cancelled"}]
    code, out, err = run(
        "2,4", "--host", steady.url, *LOCAL, "--resume", cwd=tmp_path
    )
    assert code == 0, out + err
    assert rows(
        tmp_path,
        "SELECT concurrency, completed FROM level_summary "
        "WHERE status = 'finished' ORDER BY concurrency",
    ) == [
        {"concurrency": 2, "completed": 2},
        {"concurrency": 4, "completed": 4},
    ]
    psutil.wait_procs(workers, timeout=10)
    assert not any(one.is_running() for one in workers)


def test_ctrl_c_while_the_processes_start_is_one_line(steady, tmp_path):
    process = start("2", "--host", steady.url, *LOCAL, cwd=tmp_path)
    wait_for(process, "model:")
    while not (workers := find_workers(process)):
        assert process.poll() is None
        time.sleep(0.01)
    # as a terminal does: everybody gets it
    for one in [*workers, process]:
        one.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "\ninterrupted\n"), out
    psutil.wait_procs(workers, timeout=10)
    assert not any(one.is_running() for one in workers)


def test_kill_9_of_the_coordinator_costs_a_second(steady, tmp_path):
    asked = [*MANY, "of a fleet that is killed."]
    process = start(*asked, "--host", steady.url, *LOCAL, cwd=tmp_path)
    wait_for(process, "streaming")
    loss_s = find_longest_loss_s()
    time.sleep(1.5 + loss_s)
    workers = find_workers(process)
    process.kill()
    killed_ns = time.perf_counter_ns()  # the simulator's clock too
    process.communicate()
    # nobody sends for a coordinator that is gone
    _, left = psutil.wait_procs(workers, timeout=30)
    assert not left
    path = tmp_path / "results.db"
    connect(path).close()
    long_dead(path)
    assert_sound(path)
    check_loss(steady, tmp_path, asked[-1], killed_ns - loss_s * 1e9)


def check_loss(server, folder, prompt, until_ns):
    """Compare what is stored with what the server had answered until then."""
    stored = rows(
        folder,
        "SELECT count(*) AS n, count(DISTINCT number) AS numbers FROM request "
        "WHERE status = 'completed'",
    )[0]

    def list_done():
        return [
            one["end_ns"]
            for one in server.log()
            if one["outcome"] == "done" and prompt in one["prompt_prefix"]
        ]

    # it writes its log while nothing streams
    wait_until(lambda: len(list_done()) >= stored["n"])
    witnessed = sum(end_ns < until_ns for end_ns in list_done())
    assert stored["n"] == stored["numbers"] >= witnessed > 8


@pytest.fixture
def cluster():
    """A scheduler and two workers; yields its address and its process."""
    with running_cluster({"one": {}, "two": {}}) as (address, processes):
        yield address, processes["scheduler"]


def test_a_scheduler_that_is_lost_ends_the_run_in_one_line(
    steady, tmp_path, cluster
):
    address, scheduler = cluster
    process = start(
        *("2,8", "--fleet", address, "--host", steady.url),
        *(*QUICK, "--no-monitor"),
        cwd=tmp_path,
    )
    wait_for(process, "8 streaming")
    scheduler.kill()
    code, _, err = finish(process)
    assert code == 1
    lost = (
        "bench.py: the scheduler of the fleet is lost; what came is kept"
    )
    assert lost in err
    assert_sound(tmp_path / "results.db")
    assert rows(tmp_path, PER_WORKER)[:2] == [
        {
            "level_id": 1,
            "worker": name,
            "requests": 1,
            "numbers": 1,
            "completed": 1,
        }
        for name in ("one", "two")
    ]
    assert rows(
        tmp_path, "SELECT DISTINCT status FROM request WHERE level_id = 2"
    ) == [{"status": "client_error"}]


def test_a_scheduler_that_is_lost_costs_a_second(
    steady, tmp_path, cluster
):
    address, scheduler = cluster
    asked = [*MANY, "of no scheduler."]
    asked += ["--host", steady.url, *QUICK, "--no-monitor"]
    process = start(*asked, "--fleet", address, cwd=tmp_path)
    wait_for(process, "streaming")
    loss_s = find_longest_loss_s()
    time.sleep(1.5 + loss_s)
    scheduler.kill()
    killed_ns = time.perf_counter_ns()  # the simulator's clock too
    code, _, err = finish(process)
    assert code == 1 and len(err.splitlines()) == 1, err
    assert_sound(tmp_path / "results.db")
    until_ns = killed_ns - loss_s * 1e9
    check_loss(steady, tmp_path, asked[len(MANY)], until_ns)
    # what is missing is told
    statuses = rows(tmp_path, "SELECT DISTINCT status FROM request")
    assert {one["status"] for one in statuses} == {
        "completed",
        "client_error",
    }
