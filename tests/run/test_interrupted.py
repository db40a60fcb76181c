"""Ctrl-C, kill -9, a server that dies: what is finished stays, and --resume goes on."""

import contextlib
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import time

import pytest

from ollama_bench.simulator import child
from tests.run.programs import (
    QUICK,
    ROOT,
    rows,
    run,
    start,
    wait_for,
)


@pytest.mark.faults
def test_ctrl_c_keeps_what_is_finished(slow, tmp_path):
    process = start("1,2,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "2 streaming")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (
        process.returncode == 130
        and "Traceback" not in err
        # on a line of its own where the clone's path is long
        and f"python {ROOT / 'analyze.py'} --run 1 "
        in " ".join(out.split())
    )
    resume = shlex.join(["python", *process.args[1:], "--resume"])
    kept = "interrupted; kept: 1 of 3 levels, 3 requests. To go on:\n"
    assert f"{kept}  {resume}\n" in out
    assert [
        tuple(r.values())
        for r in rows(
            tmp_path,
            "SELECT concurrency, status, completed, errors FROM level_summary ORDER BY level_id",
        )
    ] == [(1, "finished", 1, 0), (2, "interrupted", 0, 2)]
    assert {
        r["status"]
        for r in rows(
            tmp_path, "SELECT status FROM request WHERE level_id = 2"
        )
    } == {"cancelled"}
    assert (
        rows(tmp_path, "SELECT status FROM run")[0]["status"]
        == "interrupted"
    )


@pytest.mark.faults
def test_kill_9_then_resume(slow, tmp_path):
    process = start("1,2,4,3", "--host", slow.url, *QUICK, cwd=tmp_path)
    wait_for(process, "4 streaming")
    time.sleep(0.7)  # until their rows are committed
    process.kill()
    process.communicate()
    first = rows(
        tmp_path,
        "SELECT request.* FROM request JOIN level ON level.id = level_id "
        "WHERE concurrency < 3 ORDER BY id",
    )
    assert len(first) == 3 and {r["status"] for r in first} == {
        "completed"
    }
    assert {
        r["status"]
        for r in rows(
            tmp_path, "SELECT status FROM request WHERE level_id = 3"
        )
    } == {"in_flight"}
    assert (
        rows(tmp_path, "PRAGMA integrity_check")[0]["integrity_check"]
        == "ok"
        and rows(tmp_path, "PRAGMA foreign_key_check") == []
    )
    with contextlib.closing(
        sqlite3.connect(tmp_path / "results.db")
    ) as connection:
        # or it is waited for
        connection.execute("UPDATE run SET seen_unix = seen_unix - 60")
        connection.commit()
    code, out, _ = run(
        "1,2,4,3", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path
    )
    assert code == 0 and "2 of 4 levels are measured" in out
    levels = rows(
        tmp_path,
        "SELECT concurrency, completed FROM level_summary "
        "WHERE status = 'finished' ORDER BY concurrency",
    )
    assert [tuple(r.values()) for r in levels] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    assert (
        rows(
            tmp_path,
            "SELECT * FROM request WHERE level_id < 3 ORDER BY id",
        )
        == first
    )
    assert [
        r["status"] for r in rows(tmp_path, "SELECT status FROM run")
    ] == ["finished"]
    code, out, _ = run(
        "1", "--host", slow.url, "--resume", *QUICK, cwd=tmp_path
    )
    assert (
        code == 0
        and "no interrupted run of these options to resume" in out
    )


@pytest.mark.faults
def test_a_file_of_prompts_that_was_edited_is_not_gone_on_with(
    slow, tmp_path
):
    arguments = [
        "1,2",
        "--prompts",
        "prompts.jsonl",
        "--host",
        slow.url,
        *QUICK,
    ]
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "one"}))
    process = start(*arguments, cwd=tmp_path)
    wait_for(process, "level 2 of 2")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"prompt": "another"})
    )
    code, _, err = run(*arguments, "--resume", cwd=tmp_path)
    words = "run 1 was measured with other prompts in prompts.jsonl: "
    assert code == 2 and words in err
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "one"}))
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert code == 0 and "1 of 2 levels are measured" in out


@pytest.mark.faults
def test_an_attempt_that_ctrl_c_cut_does_not_spoil_the_answer_of_its_resume(
    module_sim, tmp_path
):
    """Six slots, so that most of the ten have ended when the rest is cut."""
    ten = module_sim(profile="exact", ttft=20, itl=20, tokens=40, slots=6)
    arguments = ["10", "--host", ten.url, "--slo", "ttft=60", *QUICK]
    process = start(*arguments, cwd=tmp_path)
    wait_for(process, "6 ended")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err.strip().startswith(
        "interrupted"
    )
    assert "0 % of the requests" not in out
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert (
        code == 0
        and "10 at once get the first token within 60 s"
        in " ".join(out.split())
    )
    assert rows(
        tmp_path,
        "SELECT status, completed, good_ratio FROM level_summary ORDER BY level_id",
    )[1] == {"status": "finished", "completed": 10, "good_ratio": 1}
    table = [
        line.split()[:2]
        for line in out.splitlines()
        if re.match(r" +10 +\d+/10 ", line)
    ]
    assert table == [["10", "10/10"]]


@pytest.mark.faults
def test_a_server_that_dies_and_comes_back(sim, tmp_path):
    dying = sim(profile="exact", ttft=20, itl=20, tokens=120)
    process = start("1-4", "--host", dying.url, *QUICK, cwd=tmp_path)
    wait_for(process, "2 streaming")
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
    # one level without a single reply
    assert process.returncode == 1 and "Traceback" not in err
    levels = rows(
        tmp_path,
        "SELECT concurrency, completed, errors FROM level_summary ORDER BY level_id",
    )
    assert [tuple(r.values()) for r in levels] == [
        (1, 1, 0),
        (2, 0, 2),
        (3, 3, 0),
        (4, 4, 0),
    ]
    assert {
        r["status"]
        for r in rows(
            tmp_path, "SELECT status FROM request WHERE level_id = 2"
        )
    } == {"reset"}


@pytest.mark.faults
def test_a_search_that_is_interrupted_says_how_far_it_came_and_goes_on_there(
    module_sim, tmp_path
):
    # who waits for another's reply gets no first token in 0.15 s
    six = module_sim(
        "--profile",
        "exact",
        "--ttft",
        "10",
        "--itl",
        "10",
        "--tokens",
        "17",
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
    wait_for(process, " of 300 s, 6 at once")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert "interrupted; kept: 2 levels" in out
    code, out, _ = run(*arguments, "--resume", cwd=tmp_path)
    assert (
        code == 0
        and "2 probes are measured" in out
        and "warming up m:1b" in out
    )
    said = " ".join(out.split())
    answer = "Up to 6 at once get the first token within 0.15 s (95 %: 6)"
    assert said.count(answer) == 2
    found = [
        tuple(r.values())
        for r in rows(
            tmp_path,
            "SELECT model, concurrency, status FROM level ORDER BY id",
        )
    ]
    assert found[:5] == [
        *(("m:1b", n, "finished") for n in (4, 8)),
        ("m:1b", 6, "interrupted"),
        ("m:1b", 6, "finished"),
        ("m:1b", 7, "finished"),
    ]
    of_other = [n for model, n, _ in found if model == "n:1b"]
    assert of_other[:4] == [4, 8, 6, 7]
