"""bench.py from the outside: the command line, the exit code, what is in the file then."""

import contextlib
import json
import re
import socket
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import types
from array import array

import pytest

from ollama_bench.load.request import Outcome, Task
from ollama_bench.run import bench_run, system_limits
from ollama_bench.run.error import RunError
from ollama_bench.run.level_recorder import LevelRecorder
from ollama_bench.run.model_names import ReplyNames
from tests.run.programs import (
    QUICK,
    ROOT,
    rows,
    run,
    start,
)


def test_the_rows_of_a_long_answer_are_made_as_they_are_written():
    """One of 256 MiB has 16 million: as rows they are gigabytes."""
    outcome, added = Outcome(Task(7, None, "", {})), []
    outcome.chunk_ns.extend(range(1000, 101_000))
    outcome.chunk_is_reasoning = bytearray([1]) + bytearray(99_999)
    outcome.chunk_characters = array("L", [7]) + array("L", [4]) * 99_999
    writer = types.SimpleNamespace(
        add=lambda *_: None,
        update=lambda *_: None,
        execute_many=lambda *what: added.append(what),
    )
    tracemalloc.start()
    try:
        record = types.SimpleNamespace(origin_ns=100, writer=writer)
        LevelRecorder(
            record, 2, None, None, None, ReplyNames(print)
        ).ended(outcome)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    database = sqlite3.connect(":memory:")
    for _ in range(2):  # a full disk makes the writer try again
        database.executescript(
            "DROP TABLE IF EXISTS chunk;"
            "CREATE TABLE chunk (request_id, number, at_ns, is_reasoning, characters)"
        )
        database.executemany(*added[0])
        made = list(
            database.execute("SELECT * FROM chunk ORDER BY number")
        )
        assert (
            len(made) == 100_000
            and made[0] == (2_000_007, 0, 900, 1, 7)
            and made[-1] == (2_000_007, 99_999, 100_899, 0, 4)
        )
    database.close()


def test_a_run_end_to_end(fast, tmp_path):
    code, out, err = run(
        "1,4,8",
        "--host",
        fast.url,
        "--label",
        "first",
        *QUICK,
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    assert (
        max(map(len, out.splitlines())) <= 100
        and "simulated" in out
        and "\x1b" not in out
    )
    levels = rows(
        tmp_path,
        "SELECT * FROM level_summary WHERE is_control IN (0, 1) ORDER BY level_id",
    )
    assert [
        (
            r["concurrency"],
            r["completed"],
            r["peak_streaming"],
            r["simulated"],
            r["status"],
            r["is_control"],
        )
        for r in levels
    ] == [
        (1, 1, 1, 1, "finished", 0),
        (4, 4, 4, 1, "finished", 0),
        (8, 8, 4, 1, "finished", 0),
        (1, 1, 1, 1, "finished", 1),
    ]
    assert [r["output_tokens"] for r in levels] == [
        30,
        120,
        240,
        30,
    ] and levels[2]["ttft_max_s"] > levels[1]["ttft_max_s"] + 0.1
    assert [
        r["n"] for r in rows(tmp_path, "SELECT count(*) AS n FROM chunk")
    ] == [420]
    requests = rows(tmp_path, "SELECT * FROM main.request")
    assert len({r["prefix"] for r in requests}) == 14 and all(
        r["server_total_ns"] > 0 for r in requests
    )
    assert (
        rows(
            tmp_path,
            "SELECT count(*) AS n FROM reply WHERE answer IS NOT NULL OR reasoning IS NOT NULL",
        )[0]["n"]
        == 14
    )
    assert (
        rows(
            tmp_path,
            "SELECT count(*) AS n FROM reply WHERE"
            " coalesce(length(reasoning), 0) + coalesce(length(answer), 0)"
            " <> (SELECT sum(characters) FROM chunk"
            " WHERE chunk.request_id = reply.request_id)",
        )[0]["n"]
        == 0
    )
    (kept,) = rows(tmp_path, "SELECT * FROM run")
    assert (kept["label"], kept["status"], kept["simulated"]) == (
        "first",
        "finished",
        1,
    ) and json.loads(kept["arguments"])["levels"] == [1, 4, 8]
    (target,) = rows(tmp_path, "SELECT * FROM target")
    assert (target["model"], target["api"], target["host"]) == (
        "deepseek-r1:7b",
        "ollama",
        fast.url,
    ) and target["server_version"]
    assert (
        rows(tmp_path, "SELECT count(*) AS n FROM process_sample")[0]["n"]
        > 0
    )
    (machine,) = rows(tmp_path, "SELECT * FROM machine")
    assert (
        socket.gethostname() not in json.dumps(machine)
        and machine["cpu_cores"] >= 1
    )


def test_the_simulators_own_log_agrees(fast, tmp_path):
    before = len(fast.log())
    assert (
        run(
            "5", "--host", fast.url, *QUICK, "--warmup", "0", cwd=tmp_path
        )[0]
        == 0
    )
    deadline = time.monotonic() + 5
    while (
        len(log := fast.log()[before:]) < 5 and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert len(log) == 5
    stored = rows(
        tmp_path,
        "SELECT output_tokens, (first_text_ns - sent_ns) / 1e9 AS ttft "
        "FROM request ORDER BY sent_ns",
    )
    true = sorted(
        (entry["writes_ns"][0] - entry["read_ns"]) / 1e9 for entry in log
    )
    assert all(
        -0.001 < a - b < 1
        for a, b in zip(sorted(row["ttft"] for row in stored), true)
    )  # sent before it was read, and a busy machine is slow
    assert sum(len(entry["writes_ns"]) for entry in log) >= sum(
        row["output_tokens"] for row in stored
    )


@pytest.mark.faults
def test_openai_and_several_models_and_repeats(module_sim, tmp_path):
    two = module_sim(
        "--profile",
        "exact",
        "--ttft",
        "20",
        "--itl",
        "2",
        "--tokens",
        "10",
        "--model",
        "a:1b",
        "--model",
        "b:2b",
    )
    code, out, err = run(
        "1,2",
        "--host",
        two.url,
        "--api",
        "openai",
        "--model",
        "a:1b",
        "--model",
        "b:2b",
        "--repeat",
        "2",
        "--tokens",
        "5",
        "--cache",
        "warm",
        *QUICK,
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    levels = rows(
        tmp_path,
        "SELECT model, concurrency, repeat, completed, output_tokens "
        "FROM level_summary ORDER BY model, repeat, concurrency",
    )
    assert [tuple(r.values()) for r in levels] == [
        (m, c, k, c, 5 * c)
        for m in ("a:1b", "b:2b")
        for k in (1, 2)
        for c in (1, 2)
    ]
    assert {
        r["prefix"] for r in rows(tmp_path, "SELECT prefix FROM request")
    } == {None}
    assert re.findall(r"^([ab]:.b)(?:   SIM.*)?$", out, re.MULTILINE) == [
        "a:1b",
        "b:2b",
        "a:1b",
        "b:2b",
    ]  # above its answer, above its levels


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["1", "--host", "127.0.0.1:9"], 1, "no server answers"),
        (["1,x"], 2, "invalid level 'x'"),
        (["4097"], 2, "4096"),
    ],
)
def test_what_cannot_run_says_so_in_one_line(
    arguments, code, words, tmp_path
):
    found, out, err = run(*arguments, *QUICK, cwd=tmp_path)
    assert (
        found == code
        and words in err
        and len(err.strip().splitlines()) == 1
    )
    assert not (tmp_path / "results.db").exists()


def test_a_missing_model_lists_those_that_are_there(fast, tmp_path):
    code, _, err = run(
        "1",
        "--host",
        fast.url,
        "--model",
        "nobody:7b",
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 1
        and "'nobody:7b' is not on" in err
        and "deepseek-r1:7b" in err
        and not (tmp_path / "results.db").exists()
    )


def test_files_that_cannot_be_used(fast, tmp_path):
    (tmp_path / "notes.db").write_text("shopping list\n" * 100)
    code, _, err = run(
        "1", "--host", fast.url, "--db", "notes.db", *QUICK, cwd=tmp_path
    )
    assert (
        code == 1
        and "not an SQLite file" in err
        and (tmp_path / "notes.db").read_text().startswith("shopping")
    )


@pytest.mark.faults
def test_two_runs_share_a_file(fast, tmp_path):
    processes = [
        start(
            "2,3",
            "--host",
            fast.url,
            "--label",
            label,
            *QUICK,
            cwd=tmp_path,
        )
        for label in ("a", "b")
    ]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    found = rows(
        tmp_path,
        "SELECT label, count(*) AS n, sum(completed) AS done "
        "FROM level_summary JOIN run ON run.id = run_id WHERE NOT is_control GROUP BY label",
    )
    assert [tuple(r.values()) for r in found] == [("a", 2, 5), ("b", 2, 5)]


def test_escape_codes_of_a_server_do_not_reach_the_terminal(sim, tmp_path):
    evil = sim(
        "--profile", "exact", "--tokens", "5", "--fault", "escape_codes"
    )
    _, out, err = run("1", "--host", evil.url, *QUICK, cwd=tmp_path)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err)


def test_fail_if_gives_an_exit_code(fast, tmp_path):
    assert (
        run(
            "1",
            "--fail-if",
            "ttft>30",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 0
    )
    assert (
        run(
            "1",
            "--fail-if",
            "ttft>0.001",
            "--host",
            fast.url,
            *QUICK,
            cwd=tmp_path,
        )[0]
        == 1
    )
    code, _, err = run(
        "1",
        "--fail-if",
        "speed>1",
        "--host",
        fast.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 2 and "invalid condition" in err


def test_a_key_is_used_and_stored_nowhere(module_sim, tmp_path):
    guarded = module_sim(
        "--profile", "exact", "--tokens", "5", "--api-key", "sesame-4711"
    )
    arguments = ["1", "--api", "openai", "--host", guarded.url, *QUICK]
    code, _, err = run(*arguments, cwd=tmp_path)
    assert code == 1 and "OPENAI_API_KEY" in err
    code, out, err = run(
        *arguments, cwd=tmp_path, env={"OPENAI_API_KEY": "sesame-4711"}
    )
    assert (code, err) == (0, "")
    assert (
        b"sesame" not in (tmp_path / "results.db").read_bytes()
        and "sesame" not in out
    )


@pytest.mark.faults
def test_https_with_a_certificate_of_ones_own(module_sim, tmp_path):
    fixtures = ROOT / "tests" / "fixtures"
    safe = module_sim(
        "--profile",
        "exact",
        "--tokens",
        "5",
        "--tls",
        str(fixtures / "localhost-cert.pem"),
        str(fixtures / "localhost-key.pem"),
    )
    code, _, err = run("2", "--host", safe.url, *QUICK, cwd=tmp_path)
    assert code == 1 and "certificate" in err.lower()
    code, _, err = run(
        "2",
        "--host",
        safe.url,
        *QUICK,
        cwd=tmp_path,
        env={"REQUESTS_CA_BUNDLE": str(fixtures / "localhost-cert.pem")},
    )
    assert (code, err) == (0, "")
    assert (
        rows(tmp_path, "SELECT completed FROM level_summary")[0][
            "completed"
        ]
        == 2
    )


def test_a_pid_of_nobody_is_one_line_and_no_run(tmp_path):
    code, out, err = run("1", "--pid", 99999999, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("bench.py: invalid --pid '99999999': expected")
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_help_answers_without_loading_the_world(tmp_path):
    found = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            str(ROOT / "bench.py"),
            "--help",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (
        found.returncode == 0
        and "LEVELS" in found.stdout
        and "requests.sessions" not in found.stderr
        and "rich" not in found.stderr
    )


@pytest.mark.parametrize(
    "platform, limit, level, refused",
    [
        ("darwin", "2048", 1984, False),
        ("darwin", "2048", 1985, True),
        ("darwin", None, 4096, False),
        ("darwin", "many", 4096, False),
        ("linux", "2048", 4096, False),
    ],
)
def test_a_mac_without_so_many_threads_is_told_before_anything_is_fired(
    monkeypatch, platform, limit, level, refused
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(
        system_limits.machine,
        "sysctl",
        lambda name: limit if name == "kern.num_taskthreads" else None,
    )
    with (
        pytest.raises(
            RunError,
            match="level 1985 needs 1985 threads but macOS gives a process 2048 "
            ".* use at most 1984",
        )
        if refused
        else contextlib.nullcontext()
    ):
        system_limits.refuse_too_many_threads(level)


def test_scipy_is_loaded_before_a_level_waits_to_be_stored(
    fast, tmp_path, monkeypatch
):
    events, close = [], LevelRecorder.close
    monkeypatch.setattr(
        bench_run, "load_scipy", lambda: events.append("loaded")
    )

    def note(*arguments):
        events.append("stored")
        close(*arguments)

    monkeypatch.setattr(LevelRecorder, "close", note)
    assert run("1", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 0
    assert events[:2] == ["loaded", "stored"]
