"""--resume goes on with no run that is alive, nor where the model or the server is another."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bench
from ollama_bench.platforms import sleep_clock
from ollama_bench.run import opening, targets
from ollama_bench.storage import connection as storage_connection
from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer
from tests.support.beginnings import QUICK, RUN

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(module_sim):
    return module_sim(
        "--profile",
        "exact",
        "--ttft",
        "20",
        "--itl",
        "5",
        "--tokens",
        "20",
    )


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(opening, "LOOK_EVERY_S", 0.05)


@pytest.fixture
def asked(server, tmp_path):
    return [
        "1,2",
        "--host",
        server.url,
        "--db",
        str(tmp_path / "results.db"),
        *QUICK,
    ]


def ask(path, sql, *values):
    with contextlib.closing(
        sqlite3.connect(path, timeout=20)
    ) as connection:
        found = connection.execute(sql, values).fetchall()
        connection.commit()
    return found


def left_behind(path, asked, age_s=0.0, pid=None):
    """A run that measured level 1 and was killed in level 2, as long ago as is said."""
    assert bench.main(asked) == 0
    ask(path, "DELETE FROM request WHERE level_id = 2")
    ask(
        path,
        "UPDATE level SET status = 'running', ended_ns = NULL WHERE id = 2",
    )
    ask(
        path,
        "UPDATE run SET status = 'running', seen_unix = ?, pid = ?",
        time.time() - age_s,
        pid or os.getpid(),
    )


def test_a_level_without_a_reply_before_the_interruption_is_still_1(
    asked, tmp_path
):
    path = tmp_path / "results.db"
    left_behind(path, asked, age_s=3600)
    ask(path, "UPDATE request SET status = 'reset' WHERE level_id = 1")
    assert bench.main([*asked, "--resume"]) == 1
    assert ask(path, "SELECT status FROM run") == [("finished",)]


def content(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_run_is_alive_by_its_signs_and_not_by_its_pid(tmp_path):
    """Its process may be on another computer, or in another container."""
    absent = 2**22 + 1  # higher than any pid
    with Writer(tmp_path / "results.db") as writer:
        writer.insert(
            "run", RUN | {"seen_unix": time.time(), "pid": absent}
        )
        writer.insert(
            "run",
            RUN | {"seen_unix": time.time() - 60, "pid": os.getpid()},
        )
        writer.insert(
            "run", RUN | {"seen_unix": time.time() + 600, "pid": absent}
        )  # a clock that is ahead
    connect(tmp_path / "results.db").close()
    assert ask(tmp_path / "results.db", "SELECT status FROM run") == [
        ("running",),
        ("interrupted",),
        ("running",),
    ]


@pytest.mark.faults
def test_a_run_that_gives_a_sign_of_life_is_not_resumed(
    asked, tmp_path, capsys
):
    path = tmp_path / "results.db"
    left_behind(path, asked, age_s=1)
    before = ask(path, "SELECT * FROM level")
    over = threading.Event()

    def beat():
        while not over.wait(0.6):
            ask(path, "UPDATE run SET seen_unix = seen_unix + 2")

    beating = threading.Thread(target=beat)
    beating.start()
    capsys.readouterr()
    try:
        assert bench.main([*asked, "--resume"]) == 1
    finally:
        over.set()
        beating.join()
    said = capsys.readouterr()
    assert said.err == "bench.py: run 1 is still running\n"
    assert (
        len(
            [
                line
                for line in said.out.splitlines()
                if "sign of life" in line
            ]
        )
        == 1
    )
    age_s, left_s = re.search(
        r"run 1 gave a sign of life (\d+) s ago; waiting up to (\d+) s",
        said.out,
    ).groups()
    assert int(age_s) + int(left_s) == 15
    assert ask(path, "SELECT * FROM level") == before and ask(
        path, "SELECT count(*), max(status) FROM run"
    ) == [(1, "running")]


@pytest.mark.parametrize("age_s", [14.2, 16, -3600])
@pytest.mark.faults
def test_a_run_that_gives_none_is_resumed_when_it_is_surely_dead(
    asked, tmp_path, monkeypatch, capsys, age_s
):
    """A sign from the future, of a clock that is ahead, is waited for as long as any."""
    if age_s < 0:
        monkeypatch.setattr(storage_connection, "DEAD_AFTER_S", 0.5)
    path = tmp_path / "results.db"
    left_behind(path, asked, age_s)
    assert bench.main([*asked, "--resume"]) == 0
    out = capsys.readouterr().out
    assert ("gave a sign of life" in out) == (
        age_s < 15
    ) and "resuming run 1: 1 of 2 levels are measured" in out
    assert ask(
        path,
        "SELECT concurrency, status FROM level WHERE is_control IS NOT 1",
    ) == [
        (1, "finished"),
        (2, "interrupted"),
        (2, "finished"),
    ]
    assert ask(path, "SELECT status FROM run") == [("finished",)]


@pytest.mark.faults
def test_a_run_that_ends_while_it_is_waited_for_is_no_run_to_wait_for(
    asked, tmp_path, capsys
):
    path = tmp_path / "results.db"
    left_behind(path, asked)
    end = threading.Timer(
        0.4,
        lambda: ask(
            path,
            "UPDATE run SET status = 'finished', seen_unix = seen_unix + 1",
        ),
    )
    end.start()
    assert bench.main([*asked, "--resume"]) == 0
    end.join()
    assert (
        "no interrupted run of these options to resume"
        in capsys.readouterr().out
    )
    assert ask(path, "SELECT status FROM run") == [
        ("finished",),
        ("finished",),
    ]


@pytest.mark.faults
def test_of_two_that_resume_at_once_one_does(module_sim, tmp_path):
    slow = module_sim(
        "--profile",
        "exact",
        "--ttft",
        "20",
        "--itl",
        "80",
        "--tokens",
        "20",
    )
    path = tmp_path / "results.db"
    asked = ["1,2", "--host", slow.url, "--db", str(path), *QUICK]
    left_behind(path, asked, age_s=13)
    command = [sys.executable, str(ROOT / "bench.py"), *asked, "--resume"]
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(
                lambda _: subprocess.run(
                    command, capture_output=True, text=True, timeout=60
                ),
                range(2),
            )
        )
    assert sorted(process.returncode for process in done) == [0, 1], done
    assert {process.stderr for process in done} == {
        "",
        "bench.py: run 1 is still running\n",
    }
    assert ask(
        path,
        "SELECT count(*) FROM level WHERE status = 'finished' "
        "AND is_control IS NOT 1",
    ) == [(2,)]


def test_a_run_is_taken_over_once(tmp_path):
    with Writer(tmp_path / "results.db") as writer:
        run_id = writer.insert(
            "run", RUN | {"status": "interrupted", "seen_unix": None}
        )
        writer.insert(
            "level",
            {
                "run_id": run_id,
                "model": "m",
                "concurrency": 1,
                "status": "running",
            },
        )
        assert not writer.take_over(run_id, 5.0, {"status": "running"})
        assert writer.take_over(
            run_id, None, {"status": "running", "seen_unix": 7.0}
        )
        assert not writer.take_over(
            run_id, None, {"status": "running", "seen_unix": 8.0}
        )
        assert (
            not writer.take_over(99, None, {"status": "running"})
            and writer.rejected == 0
        )
    assert ask(
        tmp_path / "results.db",
        "SELECT seen_unix, (SELECT status FROM level) FROM run",
    ) == [(7.0, "interrupted")]


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_ends_the_waiting(asked, tmp_path):
    path = tmp_path / "results.db"
    left_behind(path, asked)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bench.py"), *asked, "--resume"],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert any("gave a sign of life" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "\ninterrupted\n")
    assert ask(path, "SELECT status FROM run") == [("running",)]


@pytest.mark.parametrize(
    "column, was, what",
    [
        (
            "digest",
            "abc",
            "the digest of deepseek-r1:7b at {url} changed from abc to ",
        ),
        (
            "server_version",
            "0.1",
            "the version of the server at {url} changed from 0.1 to 0.24.0",
        ),
    ],
)
def test_what_was_measured_is_not_mixed_with_another_model_or_server(
    asked, server, tmp_path, capsys, column, was, what
):
    path = tmp_path / "results.db"
    left_behind(path, asked, age_s=60)
    connect(path).close()  # which notes that it died
    ask(path, f"UPDATE target SET {column} = ?", was)
    before, requests = content(path), len(server.log())
    capsys.readouterr()
    assert bench.main([*asked, "--resume"]) == 1
    said = capsys.readouterr()
    assert (
        len(said.err.splitlines()) == 1
        and "run 1 cannot be resumed: " + what.format(url=server.url)
        in said.err
    )
    assert (
        content(path) == before
        and len(server.log()) == requests
        and "warming" not in said.out
    )


@pytest.mark.faults
def test_what_the_levels_before_were_measured_on_stays_as_it_was_noted(
    asked, tmp_path
):
    """Also where it was not known then; where nothing was measured yet it is noted."""
    path = tmp_path / "results.db"
    left_behind(path, asked, age_s=60)
    ask(
        path,
        "UPDATE target SET digest = NULL, slots = 3, slots_source = 'then'",
    )
    before = ask(path, "SELECT * FROM target")
    assert bench.main([*asked, "--resume"]) == 0
    assert ask(path, "SELECT * FROM target") == before
    ask(path, "UPDATE run SET status = 'interrupted'")
    ask(path, "DELETE FROM chunk")
    ask(path, "DELETE FROM reply")
    ask(path, "DELETE FROM request")
    ask(path, "DELETE FROM level")
    assert bench.main([*asked, "--resume"]) == 0
    assert ask(
        path, "SELECT digest IS NOT NULL, slots IS NULL FROM target"
    ) == [(1, 1)]


@pytest.mark.faults
def test_a_level_in_which_the_machine_slept_is_fired_again(
    asked, tmp_path, capsys
):
    path = tmp_path / "results.db"
    left_behind(path, asked, age_s=60)
    ask(
        path,
        "UPDATE level SET slept_s = 30, client_limited = 1 WHERE id = 1",
    )
    capsys.readouterr()
    assert bench.main([*asked, "--resume"]) == 0
    assert (
        "resuming run 1: 0 of 2 levels are measured"
        in capsys.readouterr().out
    )
    found = ask(
        path,
        "SELECT concurrency, slept_s > 0, superseded FROM level_summary "
        "WHERE NOT is_control ORDER BY level_id",
    )
    assert found[0] == (1, 1, 1) and sorted(found[2:]) == [
        (1, 0, 0),
        (2, 0, 0),
    ]


@pytest.mark.faults
def test_a_probe_in_which_the_machine_slept_ends_a_search_and_counts_for_nothing(
    server, tmp_path, monkeypatch, capsys
):
    clock = iter(range(0, 10**15, 30 * 10**9))
    monkeypatch.setattr(sleep_clock, "slept_ns", lambda: next(clock))
    path = tmp_path / "results.db"
    search = [
        "4",
        "--find-capacity",
        "--slo",
        "ttft=60",
        "--host",
        server.url,
        "--db",
        str(path),
    ]
    bench.main([*search, *QUICK])
    out = capsys.readouterr().out
    assert "do not trust this level: the machine slept for 30.0 s" in out
    assert out.count("4 at once: disturbed by this machine") == 3
    ended = "the search ended early: 3 loads in a row were disturbed"
    assert ended in " ".join(out.split())
    assert "Up to" not in out and "At least" not in out
    tried = "SELECT concurrency, slept_s, trial FROM level"
    assert ask(path, tried) == [(4, 30.0, None)] * 3


@pytest.mark.faults
def test_a_run_that_came_to_its_end_is_resumed_where_the_machine_slept(
    asked, tmp_path, capsys
):
    path = tmp_path / "results.db"
    assert bench.main(asked) == 0
    ask(
        path,
        "UPDATE level SET slept_s = 30, client_limited = 1 WHERE id = 2",
    )
    capsys.readouterr()
    assert bench.main([*asked, "--resume"]) == 0
    assert (
        "resuming run 1: 1 of 2 levels are measured"
        in capsys.readouterr().out
    )
    levels = (
        "SELECT concurrency, slept_s > 0, superseded, is_control FROM level_summary "
        "ORDER BY level_id"
    )
    assert ask(path, levels) == [
        (1, 0, 0, 0),
        (2, 1, 1, 0),
        (1, 0, 0, 1),  # the control, before and after
        (2, 0, 0, 0),
        (1, 0, 0, 1),
    ]
    assert ask(path, "SELECT id, status FROM run") == [(1, "finished")]
    assert bench.main([*asked, "--resume"]) == 0
    assert (
        "no interrupted run of these options to resume"
        in capsys.readouterr().out
    )


def test_ctrl_c_before_the_warm_up_is_sent_is_no_traceback(
    asked, monkeypatch
):
    def run(burst, observer):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(targets.load.Burst, "run", run)
    assert bench.main([*asked, "--warmup", "1"]) == 130


@pytest.mark.faults
def test_a_search_goes_on_with_the_probes_that_it_has(
    server, tmp_path, capsys
):
    path = tmp_path / "results.db"
    search = ["4", "--find-capacity", "--slo", "ttft=60", *QUICK]
    search += ["--host", server.url, "--db", str(path)]
    assert bench.main(search) == 0
    ask(path, "DELETE FROM level WHERE id = 2")
    ask(path, "UPDATE run SET status = 'interrupted'")
    capsys.readouterr()
    assert bench.main([*search, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "resuming run 1: 1 probe is measured" in out
    assert "At least 4 at once get the first token within 60 s" in (
        " ".join(out.split())
    )
    probes = ask(path, "SELECT concurrency, repeat FROM level ORDER BY id")
    assert probes == [(4, 1), (4, 2)]
