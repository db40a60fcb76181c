"""bench.py from the outside: the command line, the exit code, what is in the file afterwards."""
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["--cooldown", "0", "--idle", "0", "--plain"]


def start(*arguments, cwd, env=None, **options):
    clean = {k: v for k, v in os.environ.items() if k not in ("OLLAMA_HOST", "SUDO_UID", "HTTP_PROXY")}
    return subprocess.Popen([sys.executable, str(ROOT / "bench.py"), *map(str, arguments)], cwd=cwd, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean | (env or {}), **options)


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


@pytest.fixture(scope="module")
def fast(module_sim):
    return module_sim("--profile", "exact", "--ttft", "60", "--itl", "5", "--tokens", "30", "--slots", "4")


def test_a_run_end_to_end(fast, tmp_path):
    code, out, err = run("1,4,8", "--host", fast.url, "--label", "first", *QUICK, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100 and "simulated" in out and "\x1b" not in out
    levels = rows(tmp_path, "SELECT * FROM level_summary ORDER BY level_id")
    assert [(r["concurrency"], r["completed"], r["peak_streaming"], r["simulated"], r["status"]) for r in levels] == [
        (1, 1, 1, 1, "finished"), (4, 4, 4, 1, "finished"), (8, 8, 4, 1, "finished")]
    assert [r["output_tokens"] for r in levels] == [30, 120, 240] and levels[2]["ttft_max_s"] > levels[1]["ttft_max_s"] + 0.1
    assert [r["n"] for r in rows(tmp_path, "SELECT count(*) AS n FROM chunk")] == [390]
    requests = rows(tmp_path, "SELECT * FROM request")
    assert len({r["prefix"] for r in requests}) == 13 and all(r["server_total_ns"] > 0 for r in requests)
    assert rows(tmp_path, "SELECT count(*) AS n FROM reply WHERE answer IS NOT NULL OR reasoning IS NOT NULL")[0]["n"] == 13
    (kept,) = rows(tmp_path, "SELECT * FROM run")
    assert (kept["label"], kept["status"], kept["simulated"]) == ("first", "finished", 1) and json.loads(kept["arguments"])["levels"] == [1, 4, 8]
    (target,) = rows(tmp_path, "SELECT * FROM target")
    assert (target["model"], target["api"], target["host"]) == ("deepseek-r1:7b", "ollama", fast.url) and target["server_version"]
    assert rows(tmp_path, "SELECT count(*) AS n FROM process_sample")[0]["n"] > 0
    (machine,) = rows(tmp_path, "SELECT * FROM machine")
    assert socket.gethostname() not in json.dumps(machine) and machine["cpu_cores"] >= 1


def test_the_simulators_own_log_agrees(fast, tmp_path):
    before = len(fast.log_path.read_text().splitlines())
    assert run("5", "--host", fast.url, *QUICK, "--warmup", "0", cwd=tmp_path)[0] == 0
    deadline = time.monotonic() + 5
    while len(log := [json.loads(line) for line in fast.log_path.read_text().splitlines()[before:]]) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(log) == 5
    stored = rows(tmp_path, "SELECT output_tokens, (first_text_ns - sent_ns) / 1e9 AS ttft FROM request ORDER BY sent_ns")
    true = sorted((entry["writes_ns"][0] - entry["read_ns"]) / 1e9 for entry in log)
    assert all(abs(a - b) < 0.05 for a, b in zip(sorted(row["ttft"] for row in stored), true))
    assert sum(len(entry["writes_ns"]) for entry in log) >= sum(row["output_tokens"] for row in stored)


def test_openai_and_several_models_and_repeats(module_sim, tmp_path):
    two = module_sim("--profile", "exact", "--ttft", "20", "--itl", "2", "--tokens", "10", "--model", "a:1b", "--model", "b:2b")
    code, _, err = run("1,2", "--host", two.url, "--api", "openai", "--model", "a:1b", "--model", "b:2b", "--repeat", "2", "--tokens", "5",
                       "--cache", "warm", *QUICK, cwd=tmp_path)
    assert (code, err) == (0, "")
    levels = rows(tmp_path, "SELECT model, concurrency, repeat, completed, output_tokens FROM level_summary ORDER BY level_id")
    assert [tuple(r.values()) for r in levels] == [(m, c, k, c, 5 * c) for m in ("a:1b", "b:2b") for k in (1, 2) for c in (1, 2)]
    assert {r["prefix"] for r in rows(tmp_path, "SELECT prefix FROM request")} == {None}


@pytest.mark.parametrize("arguments, code, words", [
    (["1", "--host", "127.0.0.1:9"], 1, "no server answers"), (["1,x"], 2, "no level"), (["4097"], 2, "4096"), ([], 2, "LEVELS"),
])
def test_what_cannot_run_says_so_in_one_line(arguments, code, words, tmp_path):
    found, out, err = run(*arguments, *QUICK, cwd=tmp_path)
    assert found == code and words in err and len(err.strip().splitlines()) <= 2
    assert not (tmp_path / "results.db").exists()


def test_a_missing_model_lists_those_that_are_there(fast, tmp_path):
    code, _, err = run("1", "--host", fast.url, "--model", "nobody:7b", *QUICK, cwd=tmp_path)
    assert code == 1 and "'nobody:7b' is not there" in err and "deepseek-r1:7b" in err and not (tmp_path / "results.db").exists()


def test_files_that_cannot_be_used(fast, tmp_path):
    (tmp_path / "notes.db").write_text("shopping list\n" * 100)
    code, _, err = run("1", "--host", fast.url, "--db", "notes.db", *QUICK, cwd=tmp_path)
    assert code == 1 and "not an SQLite file" in err and (tmp_path / "notes.db").read_text().startswith("shopping")


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
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert [tuple(r.values()) for r in rows(tmp_path, "SELECT concurrency, status, completed, errors FROM level_summary ORDER BY level_id")] == [
        (1, "finished", 1, 0), (2, "interrupted", 0, 2)]
    assert {r["status"] for r in rows(tmp_path, "SELECT status FROM request WHERE level_id = 2")} == {"cancelled"}
    assert rows(tmp_path, "SELECT status FROM run")[0]["status"] == "interrupted"


def test_kill_9_then_resume(slow, tmp_path):
    process = start("1,2,4,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 3 of 4")
    time.sleep(0.7)
    process.kill()
    process.communicate()
    first = rows(tmp_path, "SELECT request.* FROM request JOIN level ON level.id = level_id WHERE concurrency < 3 ORDER BY id")
    assert len(first) == 3 and {r["status"] for r in first} == {"completed"}
    assert {r["status"] for r in rows(tmp_path, "SELECT status FROM request WHERE level_id = 3")} == {"in_flight"}
    assert rows(tmp_path, "PRAGMA integrity_check")[0]["integrity_check"] == "ok" and rows(tmp_path, "PRAGMA foreign_key_check") == []
    code, out, _ = run("1,2,4,3", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path)
    assert code == 0 and "2 of 4 levels are there" in out
    levels = rows(tmp_path, "SELECT concurrency, completed FROM level_summary WHERE status = 'finished' ORDER BY concurrency")
    assert [tuple(r.values()) for r in levels] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert rows(tmp_path, "SELECT * FROM request WHERE level_id < 3 ORDER BY id") == first
    assert [r["status"] for r in rows(tmp_path, "SELECT status FROM run")] == ["finished"]
    code, out, _ = run("1", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path)
    assert code == 0 and "nothing to resume" in out


def test_a_server_that_dies_and_comes_back(sim, tmp_path):
    dying = sim("--profile", "exact", "--ttft", "20", "--itl", "20", "--tokens", "60")
    process = start("1,2,1-2", "--repeat", "2", "--host", dying.url, *QUICK, cwd=tmp_path)
    wait_for(process, "level 2 of 4")
    time.sleep(0.5)
    dying.process.kill()
    dying.process.wait()
    wait_for(process, "does not answer")
    again = subprocess.Popen([sys.executable, str(ROOT / "sim.py"), "--port", str(dying.port), "--profile", "exact", "--tokens", "10",
                              "--parent-pid", str(os.getpid())], stdout=subprocess.DEVNULL)
    try:
        _, err = process.communicate(timeout=40)
    finally:
        again.terminate()
        again.wait()
    assert process.returncode == 1 and "Traceback" not in err  # one level without a single reply
    levels = rows(tmp_path, "SELECT concurrency, repeat, completed, errors FROM level_summary ORDER BY level_id")
    assert [tuple(r.values()) for r in levels] == [(1, 1, 1, 0), (2, 1, 0, 2), (1, 2, 1, 0), (2, 2, 2, 0)]
    assert {r["status"] for r in rows(tmp_path, "SELECT status FROM request WHERE level_id = 2")} == {"reset"}


def test_two_runs_share_a_file(fast, tmp_path):
    processes = [start("2,3", "--host", fast.url, "--label", label, *QUICK, cwd=tmp_path) for label in ("a", "b")]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    found = rows(tmp_path, "SELECT label, count(*) AS n, sum(completed) AS done FROM level_summary JOIN run ON run.id = run_id GROUP BY label")
    assert [tuple(r.values()) for r in found] == [("a", 2, 5), ("b", 2, 5)]


def test_escape_codes_of_a_server_do_not_reach_the_terminal(sim, tmp_path):
    evil = sim("--profile", "exact", "--tokens", "5", "--fault", "escape_codes")
    _, out, err = run("1", "--host", evil.url, *QUICK, cwd=tmp_path)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err)


def test_help_answers_without_loading_the_world(tmp_path):
    code = "import sys; sys.argv = ['bench.py', '--help']; sys.path.insert(0, %r)\ntry:\n import bench; bench.main()\nexcept SystemExit: pass\nprint(sorted({'requests', 'sqlite_utils', 'rich', 'altair', 'psutil'} & set(sys.modules)))" % str(ROOT)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path).stdout
    assert out.splitlines()[-1] == "[]"
