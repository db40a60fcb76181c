"""bench.py from the outside: the command line, the exit code, what is in the file afterwards."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import types
from pathlib import Path

import pytest

from ollama_bench.load.request import Outcome, Task
from ollama_bench.run import system_limits
from ollama_bench.run.error import RunError
from ollama_bench.run.level_recorder import LevelRecorder
from ollama_bench.simulator import child

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--cooldown", "0", "--idle", "0", "--plain"]


def start(*arguments, cwd, env=None, **options):
    clean = {
        k: v for k, v in os.environ.items() if k not in ("OLLAMA_HOST", "SUDO_UID", "HTTP_PROXY")
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "bench.py"), *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean | (env or {}),
        **options,
    )


def run(*arguments, cwd, env=None):
    process = start(*arguments, cwd=cwd, env=env)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def rows(folder, sql):
    connection = sqlite3.connect(folder / "results.db")
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def test_the_rows_of_a_long_answer_are_made_as_they_are_written():
    """One of 256 MiB has 16 million: as rows they are gigabytes."""
    outcome, added = Outcome(Task(7, None, "", {})), []
    outcome.chunk_ns.extend(range(1000, 101_000))
    outcome.chunk_is_reasoning = bytearray([1]) + bytearray(99_999)
    writer = types.SimpleNamespace(
        add=lambda *_: None, update=lambda *_: None, execute_many=lambda *what: added.append(what)
    )
    tracemalloc.start()
    try:
        record = types.SimpleNamespace(origin_ns=100, writer=writer)
        LevelRecorder(record, 2, None, None, None).ended(outcome)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    database = sqlite3.connect(":memory:")
    for _ in range(2):  # a full disk makes the writer try again
        database.executescript(
            "DROP TABLE IF EXISTS chunk; CREATE TABLE chunk (request_id, number, at_ns, is_reasoning)"
        )
        database.executemany(*added[0])
        made = list(database.execute("SELECT * FROM chunk ORDER BY number"))
        assert (
            len(made) == 100_000
            and made[0] == (2_000_007, 0, 900, 1)
            and made[-1] == (2_000_007, 99_999, 100_899, 0)
        )
    database.close()


@pytest.fixture(scope="module")
def fast(module_sim):
    return module_sim(
        "--profile", "exact", "--ttft", "60", "--itl", "5", "--tokens", "30", "--slots", "4"
    )


def test_a_run_end_to_end(fast, tmp_path):
    code, out, err = run("1,4,8", "--host", fast.url, "--label", "first", *QUICK, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100 and "simulated" in out and "\x1b" not in out
    levels = rows(tmp_path, "SELECT * FROM level_summary ORDER BY level_id")
    assert [
        (r["concurrency"], r["completed"], r["peak_streaming"], r["simulated"], r["status"])
        for r in levels
    ] == [(1, 1, 1, 1, "finished"), (4, 4, 4, 1, "finished"), (8, 8, 4, 1, "finished")]
    assert [r["output_tokens"] for r in levels] == [30, 120, 240] and levels[2][
        "ttft_max_s"
    ] > levels[1]["ttft_max_s"] + 0.1
    assert [r["n"] for r in rows(tmp_path, "SELECT count(*) AS n FROM chunk")] == [390]
    requests = rows(tmp_path, "SELECT * FROM request")
    assert len({r["prefix"] for r in requests}) == 13 and all(
        r["server_total_ns"] > 0 for r in requests
    )
    assert (
        rows(
            tmp_path,
            "SELECT count(*) AS n FROM reply WHERE answer IS NOT NULL OR reasoning IS NOT NULL",
        )[0]["n"]
        == 13
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
    assert rows(tmp_path, "SELECT count(*) AS n FROM process_sample")[0]["n"] > 0
    (machine,) = rows(tmp_path, "SELECT * FROM machine")
    assert socket.gethostname() not in json.dumps(machine) and machine["cpu_cores"] >= 1


def test_the_simulators_own_log_agrees(fast, tmp_path):
    before = len(fast.log())
    assert run("5", "--host", fast.url, *QUICK, "--warmup", "0", cwd=tmp_path)[0] == 0
    deadline = time.monotonic() + 5
    while len(log := fast.log()[before:]) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(log) == 5
    stored = rows(
        tmp_path,
        "SELECT output_tokens, (first_text_ns - sent_ns) / 1e9 AS ttft FROM request ORDER BY sent_ns",
    )
    true = sorted((entry["writes_ns"][0] - entry["read_ns"]) / 1e9 for entry in log)
    assert all(
        -0.001 < a - b < 1 for a, b in zip(sorted(row["ttft"] for row in stored), true)
    )  # sent before it was read, and a busy machine is slow
    assert sum(len(entry["writes_ns"]) for entry in log) >= sum(
        row["output_tokens"] for row in stored
    )


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
        "SELECT model, concurrency, repeat, completed, output_tokens FROM level_summary ORDER BY model, repeat, concurrency",
    )
    assert [tuple(r.values()) for r in levels] == [
        (m, c, k, c, 5 * c) for m in ("a:1b", "b:2b") for k in (1, 2) for c in (1, 2)
    ]
    assert {r["prefix"] for r in rows(tmp_path, "SELECT prefix FROM request")} == {None}
    assert re.findall(r"^[ab]:.b:?$", out, re.MULTILINE) == [
        "a:1b",
        "b:2b",
        "a:1b:",
        "b:2b:",
    ]  # above its levels, above its sentences


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["1", "--host", "127.0.0.1:9"], 1, "no server answers"),
        (["1,x"], 2, "invalid level 'x'"),
        (["4097"], 2, "4096"),
        ([], 2, "LEVELS"),
    ],
)
def test_what_cannot_run_says_so_in_one_line(arguments, code, words, tmp_path):
    found, out, err = run(*arguments, *QUICK, cwd=tmp_path)
    assert found == code and words in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "results.db").exists()


def test_a_missing_model_lists_those_that_are_there(fast, tmp_path):
    code, _, err = run("1", "--host", fast.url, "--model", "nobody:7b", *QUICK, cwd=tmp_path)
    assert (
        code == 1
        and "'nobody:7b' is not on" in err
        and "deepseek-r1:7b" in err
        and not (tmp_path / "results.db").exists()
    )


def test_files_that_cannot_be_used(fast, tmp_path):
    (tmp_path / "notes.db").write_text("shopping list\n" * 100)
    code, _, err = run("1", "--host", fast.url, "--db", "notes.db", *QUICK, cwd=tmp_path)
    assert (
        code == 1
        and "not an SQLite file" in err
        and (tmp_path / "notes.db").read_text().startswith("shopping")
    )


@pytest.fixture
def slow(module_sim):
    return module_sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "60")


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said: {process.stderr.read()}")


def test_ctrl_c_keeps_what_is_finished(slow, tmp_path):
    process = start("1,2,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 3")
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (
        process.returncode == 130 and "Traceback" not in err and "python analyze.py --run 1 " in out
    )
    assert [
        tuple(r.values())
        for r in rows(
            tmp_path,
            "SELECT concurrency, status, completed, errors FROM level_summary ORDER BY level_id",
        )
    ] == [(1, "finished", 1, 0), (2, "interrupted", 0, 2)]
    assert {
        r["status"] for r in rows(tmp_path, "SELECT status FROM request WHERE level_id = 2")
    } == {"cancelled"}
    assert rows(tmp_path, "SELECT status FROM run")[0]["status"] == "interrupted"


def test_kill_9_then_resume(slow, tmp_path):
    process = start("1,2,4,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 3 of 4")
    time.sleep(0.7)
    process.kill()
    process.communicate()
    first = rows(
        tmp_path,
        "SELECT request.* FROM request JOIN level ON level.id = level_id WHERE concurrency < 3 ORDER BY id",
    )
    assert len(first) == 3 and {r["status"] for r in first} == {"completed"}
    assert {
        r["status"] for r in rows(tmp_path, "SELECT status FROM request WHERE level_id = 3")
    } == {"in_flight"}
    assert (
        rows(tmp_path, "PRAGMA integrity_check")[0]["integrity_check"] == "ok"
        and rows(tmp_path, "PRAGMA foreign_key_check") == []
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        connection.execute("UPDATE run SET seen_unix = seen_unix - 60")  # or it is waited for
        connection.commit()
    code, out, _ = run("1,2,4,3", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path)
    assert code == 0 and "2 of 4 levels are measured" in out
    levels = rows(
        tmp_path,
        "SELECT concurrency, completed FROM level_summary WHERE status = 'finished' ORDER BY concurrency",
    )
    assert [tuple(r.values()) for r in levels] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert rows(tmp_path, "SELECT * FROM request WHERE level_id < 3 ORDER BY id") == first
    assert [r["status"] for r in rows(tmp_path, "SELECT status FROM run")] == ["finished"]
    code, out, _ = run("1", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path)
    assert code == 0 and "no interrupted run of these options to resume" in out


def test_a_file_of_prompts_that_was_edited_is_not_gone_on_with(slow, tmp_path):
    arguments = ["1,2", "--prompts", "prompts.jsonl", "--host", slow.url, *QUICK]
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "one"}))
    process = start(*arguments, cwd=tmp_path)
    wait_for(process, "level 2 of 2")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "another"}))
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert code == 0 and "no interrupted run of these options to resume" in out
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "one"}))
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert code == 0 and "1 of 2 levels are measured" in out


def test_an_attempt_that_ctrl_c_cut_does_not_spoil_the_answer_of_its_resume(module_sim, tmp_path):
    """Six slots, so that most of the ten have ended when the rest is cut."""
    ten = module_sim(
        "--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "40", "--slots", "6"
    )
    arguments = ["10", "--host", ten.url, "--slo", "ttft=60", *QUICK]
    process = start(*arguments, cwd=tmp_path)
    wait_for(process, "6 ended")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err.strip().startswith("interrupted")
    assert "0 % of the requests" not in out
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert code == 0 and "10 at once are served within 60 s" in out
    assert rows(
        tmp_path, "SELECT status, completed, good_ratio FROM level_summary ORDER BY level_id"
    )[1] == {"status": "finished", "completed": 10, "good_ratio": 1}
    table = [line.split()[:2] for line in out.splitlines() if re.match(r" +10 +\d+/10 ", line)]
    assert table == [["10", "10/10"]]


def test_a_server_that_dies_and_comes_back(sim, tmp_path):
    dying = sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "60")
    process = start("1-4", "--host", dying.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 4")
    time.sleep(0.5)
    dying.process.kill()
    dying.process.wait()
    wait_for(process, "does not answer")
    again = subprocess.Popen(
        child.command(
            "--port",
            str(dying.port),
            "--profile",
            "exact",
            "--tokens",
            "10",
            "--parent-pid",
            str(os.getpid()),
        ),
        stdout=subprocess.DEVNULL,
    )
    try:
        _, err = process.communicate(timeout=40)
    finally:
        again.terminate()
        again.wait()
    assert process.returncode == 1 and "Traceback" not in err  # one level without a single reply
    levels = rows(
        tmp_path, "SELECT concurrency, completed, errors FROM level_summary ORDER BY level_id"
    )
    assert [tuple(r.values()) for r in levels] == [(1, 1, 0), (2, 0, 2), (3, 3, 0), (4, 4, 0)]
    assert {
        r["status"] for r in rows(tmp_path, "SELECT status FROM request WHERE level_id = 2")
    } == {"reset"}


def test_two_runs_share_a_file(fast, tmp_path):
    processes = [
        start("2,3", "--host", fast.url, "--label", label, *QUICK, cwd=tmp_path)
        for label in ("a", "b")
    ]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    found = rows(
        tmp_path,
        "SELECT label, count(*) AS n, sum(completed) AS done FROM level_summary JOIN run ON run.id = run_id GROUP BY label",
    )
    assert [tuple(r.values()) for r in found] == [("a", 2, 5), ("b", 2, 5)]


def test_escape_codes_of_a_server_do_not_reach_the_terminal(sim, tmp_path):
    evil = sim("--profile", "exact", "--tokens", "5", "--fault", "escape_codes")
    _, out, err = run("1", "--host", evil.url, *QUICK, cwd=tmp_path)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err)


def test_a_closed_loop_replaces_who_is_done(fast, tmp_path):
    code, out, err = run(
        "3", "--requests", "10", "--steady", "--host", fast.url, *QUICK, cwd=tmp_path
    )
    assert (code, err) == (0, "") and "steady" in out
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert (level["load"], level["requests"], level["completed"], level["peak_streaming"]) == (
        "closed",
        10,
        10,
        3,
    )
    numbers = rows(tmp_path, "SELECT number, sent_ns, ended_ns FROM request ORDER BY sent_ns")
    assert sorted(r["number"] for r in numbers) == list(range(1, 11))
    flying = [sum(o["sent_ns"] < r["sent_ns"] < o["ended_ns"] for o in numbers) for r in numbers]
    assert max(flying) <= 2  # besides itself
    (steady,) = rows(tmp_path, "SELECT * FROM steady_summary")
    assert (
        steady["requests"] == 8 and steady["output_tokens_per_s"] > 0
    )  # from the third sending to the last


def test_a_duration_lets_what_is_in_flight_finish(fast, tmp_path):
    assert run("2", "--duration", "1", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 0
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert level["requests"] == level["completed"] >= 4 and level["duration_s"] >= 0.8


def test_an_open_loop_counts_latency_from_when_a_request_was_due(fast, tmp_path):
    code, out, _ = run(
        "2", "--rate", "40", "--requests", "12", "--host", fast.url, *QUICK, cwd=tmp_path
    )
    assert code == 0
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert (level["load"], level["completed"], level["rate_per_s"]) == ("open", 12, 40.0)
    found = rows(
        tmp_path, "SELECT due_ns, sent_ns, first_text_ns, ttft_s FROM request ORDER BY due_ns"
    )
    assert (
        all(r["sent_ns"] >= r["due_ns"] for r in found) and len({r["due_ns"] for r in found}) == 12
    )
    assert all(abs(r["ttft_s"] - (r["first_text_ns"] - r["due_ns"]) / 1e9) < 1e-6 for r in found)
    assert (
        level["pool_waits"] > 0 and "came due while all 2 were in flight" in out
    )  # two at once can't keep up with 40/s
    assert found[-1]["sent_ns"] - found[-1]["due_ns"] > 0.1e9


def test_what_an_open_loop_never_sent_is_stored_and_said_in_the_answer(fast, tmp_path):
    code, out, _ = run(
        "1", "--rate", "40", "--duration", "1", "--host", fast.url, *QUICK, cwd=tmp_path
    )
    (level,) = rows(tmp_path, "SELECT * FROM level_summary")
    assert code == 0 and level["never_sent"] > 5 and level["requests"] + level["never_sent"] > 20
    assert (
        " ".join(out.split()).count(
            f"{level['never_sent']} were never sent because the level ended"
        )
        == 1
    )
    assert out.index(
        f"{level['never_sent']} requests came due before the end and were never sent"
    ) > out.index(" LEVEL ")


def test_an_open_loop_that_ends_by_time_leaves_no_row_of_what_was_never_sent(fast, tmp_path):
    assert (
        run("30", "--rate", "10", "--duration", "1", "--host", fast.url, *QUICK, cwd=tmp_path)[0]
        == 0
    )
    found = rows(
        tmp_path, "SELECT status, due_ns - (SELECT started_ns FROM level) AS due FROM request"
    )
    assert (
        len(found) >= 2
        and {r["status"] for r in found} == {"completed"}
        and all(0 <= r["due"] < 1e9 for r in found)
    )


@pytest.mark.parametrize(
    "mode", [["--requests", "6"], ["--duration", "1"], ["--rate", "20", "--duration", "1"], []]
)
def test_a_server_that_is_gone_in_every_load(sim, tmp_path, mode):
    dying = sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "30")
    process = start("1,3", *mode, "--host", dying.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 1 of 2")
    time.sleep(0.3)
    dying.process.kill()
    dying.process.wait()
    wait_for(process, "does not answer")
    process.send_signal(signal.SIGINT)  # it would wait half a minute for the server to come back
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err and "rejected" not in err
    found = {r["status"] for r in rows(tmp_path, "SELECT status FROM request")}
    assert "in_flight" not in found and found & {"reset", "refused"}


def test_the_same_seed_arrives_at_the_same_times(fast, tmp_path):
    for _ in range(2):
        assert (
            run(
                "8",
                "--rate",
                "50",
                "--requests",
                "6",
                "--seed",
                "7",
                "--host",
                fast.url,
                *QUICK,
                cwd=tmp_path,
            )[0]
            == 0
        )
    first, second = (
        [
            r["gap"]
            for r in rows(
                tmp_path,
                f"""SELECT due_ns - (SELECT started_ns FROM level WHERE id = {level}) AS gap
        FROM request WHERE level_id = {level} ORDER BY due_ns""",
            )
        ]
        for level in (1, 2)
    )
    assert first == second and len(set(first)) == 6


def test_a_ramp_spreads_the_first_requests(fast, tmp_path):
    assert run("4", "--ramp", "0.4", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 0
    sent = [
        r["sent_ns"] / 1e9 for r in rows(tmp_path, "SELECT sent_ns FROM request ORDER BY sent_ns")
    ]
    assert all(later - earlier > 0.09 for earlier, later in zip(sent, sent[1:]))


def test_prompts_from_a_file_and_conversations(fast, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"prompt": "one two three four", "tokens": 3})
        + "\n"
        + json.dumps({"turns": ["first", "second", "third"], "tokens": 4})
        + "\n"
    )
    assert run("2", "--prompts", "prompts.jsonl", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 0
    found = rows(
        tmp_path,
        "SELECT prompt_number, turn, output_tokens, prompt_tokens FROM request ORDER BY prompt_number, turn",
    )
    assert [(r["prompt_number"], r["turn"], r["output_tokens"]) for r in found] == [
        (1, 1, 3),
        (2, 1, 4),
        (2, 2, 4),
        (2, 3, 4),
    ]
    talk = [r["prompt_tokens"] for r in found[1:]]
    assert (
        talk == sorted(talk) and talk[0] < talk[1] < talk[2]
    )  # each turn carries what was said before


def test_made_up_prompts_have_about_the_length_and_are_unique(fast, tmp_path):
    assert run("3", "--prompt-tokens", "200", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 0
    assert all(
        195 <= r["prompt_tokens"] <= 205
        for r in rows(tmp_path, "SELECT prompt_tokens FROM request")
    )


def test_several_hosts_share_a_level(fast, module_sim, tmp_path):
    other = module_sim("--profile", "exact", "--ttft", "10", "--itl", "2", "--tokens", "10")
    code, out, _ = run(
        "6",
        "--host",
        fast.url,
        "--host",
        other.url,
        "--api",
        "ollama",
        "--api",
        "openai",
        *QUICK,
        cwd=tmp_path,
    )
    assert code == 0 and f"  deepseek-r1:7b, 6 at once, {other.url}: 3/3 requests" in out
    found = rows(
        tmp_path,
        "SELECT host, api, requests, completed, output_tokens FROM host_summary ORDER BY api",
    )
    assert [tuple(r.values()) for r in found] == [
        (fast.url, "ollama", 3, 3, 90),
        (other.url, "openai", 3, 3, 30),
    ]


def test_cache_both_fires_each_level_cold_and_warm(fast, tmp_path):
    code, out, _ = run("1,2", "--cache", "both", "--host", fast.url, *QUICK, cwd=tmp_path)
    assert code == 0 and "prompt cache saves" in out
    assert [
        tuple(r.values())
        for r in rows(tmp_path, "SELECT concurrency, cache FROM level ORDER BY id")
    ] == [(1, "cold"), (1, "warm"), (2, "cold"), (2, "warm")]
    assert len(rows(tmp_path, "SELECT * FROM cache_effect")) == 2


def logged(server, count):
    """The simulator's log once it has so many entries."""
    until = time.monotonic() + 5
    while len(found := server.log()) < count and time.monotonic() < until:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    "arguments, fired, stored",
    [
        (["2", "--cache", "both"], 2 + 2 + 2, 4),
        (["2", "--cache", "warm", "--requests", "5"], 2 + 5, 5),
        (["2", "--cache", "warm", "--requests", "5", "--prompt-tokens", "50"], 5 + 5, 5),
    ],
)
def test_a_warm_level_has_been_primed_with_its_own_bodies(sim, tmp_path, arguments, fired, stored):
    server = sim("--profile", "exact", "--ttft", "10", "--itl", "2", "--tokens", "5")
    assert run(*arguments, "--warmup", "0", "--host", server.url, *QUICK, cwd=tmp_path)[0] == 0
    log = logged(server, fired)
    assert len(log) == fired and rows(tmp_path, "SELECT count(*) AS n FROM request") == [
        {"n": stored}
    ]
    asked = [entry["prompt_prefix"] for entry in log]
    measured = stored // 2 if "both" in arguments else stored
    assert set(asked[-measured:]) <= set(
        asked[-measured - (fired - stored) : -measured]
    )  # each warm one had been sent before


def test_a_warm_level_that_did_not_hit_says_so(fast, tmp_path):
    """The simulator's OpenAI tells of no cached token."""
    code, out, _ = run(
        "1", "--cache", "both", "--api", "openai", "--host", fast.url, *QUICK, cwd=tmp_path
    )
    assert code == 0 and "no hits: 0% of the prompt tokens" in out
    assert rows(tmp_path, "SELECT cold_cached_ratio, warm_cached_ratio FROM cache_effect") == [
        {"cold_cached_ratio": 0, "warm_cached_ratio": 0}
    ]


def test_find_capacity_finds_the_simulators_slots(module_sim, tmp_path):
    six = module_sim(
        "--profile", "exact", "--ttft", "20", "--itl", "10", "--tokens", "20", "--slots", "6"
    )
    code, out, _ = run(
        "32",
        "--find-capacity",
        "--slo",
        "ttft=0.15,tokens_per_s=1",
        "--host",
        six.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 0
        and "serves 6 at once within ttft=0.15,tokens_per_s=1" in out
        and max(map(len, out.splitlines())) <= 100
    )
    probes = [r["concurrency"] for r in rows(tmp_path, "SELECT concurrency FROM level ORDER BY id")]
    assert probes == [1, 2, 4, 8, 6, 7]
    good = {
        r["concurrency"]: r["good_ratio"]
        for r in rows(tmp_path, "SELECT concurrency, good_ratio FROM level_summary")
    }
    assert good[6] == 1.0 and good[7] < 0.95


def test_a_search_that_is_interrupted_says_how_far_it_came_and_goes_on_there(module_sim, tmp_path):
    six = module_sim(
        "--profile",
        "exact",
        "--ttft",
        "20",
        "--itl",
        "10",
        "--tokens",
        "20",
        "--slots",
        "6",
        "--model",
        "m:1b",
        "--model",
        "n:1b",
    )
    arguments = [
        "32",
        "--find-capacity",
        "--slo",
        "ttft=0.15",
        "--model",
        "m:1b",
        "--model",
        "n:1b",
        "--host",
        six.url,
        *QUICK,
    ]
    process = start(*arguments, cwd=tmp_path)
    wait_for(process, "probe between 4 and 8, 6 at once")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert "search interrupted: m:1b serves between 4 and 7 at once within ttft=0.15" in out
    assert "nobody" not in out and "n:1b" not in out  # who was never asked
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert code == 0 and "4 probes are measured" in out and "warming up m:1b" in out
    assert "m:1b serves 6 at once" in out and "n:1b serves 6 at once" in out
    found = [
        tuple(r.values())
        for r in rows(tmp_path, "SELECT model, concurrency, status FROM level ORDER BY id")
    ]
    assert found[:7] == [
        *(("m:1b", n, "finished") for n in (1, 2, 4, 8)),
        ("m:1b", 6, "interrupted"),
        ("m:1b", 6, "finished"),
        ("m:1b", 7, "finished"),
    ]
    assert [(model, n) for model, n, _ in found[7:]] == [("n:1b", n) for n in (1, 2, 4, 8, 6, 7)]


def test_a_search_in_which_nothing_can_be_judged_claims_nothing(module_sim, tmp_path):
    long = module_sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "500")
    code, out, _ = run(
        "4",
        "--find-capacity",
        "--slo",
        "e2e=60",
        "--deadline",
        "1",
        "--host",
        long.url,
        *QUICK,
        cwd=tmp_path,
    )
    assert (
        code == 1
        and "cannot judge" in out
        and "nobody" not in out.lower()
        and "serves" not in out
        and "served" not in out
    )


def test_fail_if_gives_an_exit_code(fast, tmp_path):
    assert run("1", "--fail-if", "ttft>30", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 0
    assert run("1", "--fail-if", "ttft>0.001", "--host", fast.url, *QUICK, cwd=tmp_path)[0] == 1
    code, _, err = run("1", "--fail-if", "speed>1", "--host", fast.url, *QUICK, cwd=tmp_path)
    assert code == 2 and "invalid condition" in err


def test_a_key_is_used_and_stored_nowhere(module_sim, tmp_path):
    guarded = module_sim("--profile", "exact", "--tokens", "5", "--api-key", "sesame-4711")
    arguments = ["1", "--api", "openai", "--host", guarded.url, *QUICK]
    code, _, err = run(*arguments, cwd=tmp_path)
    assert code == 1 and "OPENAI_API_KEY" in err
    code, out, err = run(*arguments, cwd=tmp_path, env={"OPENAI_API_KEY": "sesame-4711"})
    assert (code, err) == (0, "")
    assert b"sesame" not in (tmp_path / "results.db").read_bytes() and "sesame" not in out


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
    assert rows(tmp_path, "SELECT completed FROM level_summary")[0]["completed"] == 2


def test_help_answers_without_loading_the_world(tmp_path):
    found = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "bench.py"), "--help"],
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
            match="level 1985 needs 1985 threads but macOS gives a process 2048 .* use at most 1984",
        )
        if refused
        else contextlib.nullcontext()
    ):
        system_limits.refuse_too_many_threads(level)
