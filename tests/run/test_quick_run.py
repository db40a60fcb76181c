"""A run without LEVELS, from the command line to the sentence and the rows."""

import json
import signal

import pytest

from ollama_bench.inputs.objectives import find_reach
from ollama_bench.run.quick import Probe, choose_next
from tests.run.programs import ROOT, rows, run, start, wait_for

PLAIN = ["--cooldown", "0", "--idle", "0", "--plain", "--no-monitor"]


@pytest.fixture(scope="module")
def quick(module_sim, tmp_path_factory):
    """What such a run of a server with two slots says, and the folder of its rows."""
    server = module_sim(
        *("--profile", "exact", "--ttft", "20", "--itl", "10"),
        *("--tokens", "500", "--slots", "2"),
    )
    folder = tmp_path_factory.mktemp("quick")
    code, out, err = run(
        *("--host", server.url, "--budget", "3", *PLAIN), cwd=folder
    )
    assert (code, err) == (0, "")
    return server, out, folder


def test_each_level_is_the_one_that_those_before_it_call_for(quick):
    levels = rows(
        quick[2],
        "SELECT level_id, concurrency, repeat, duration_s, output_tokens_per_s,"
        " load, status, is_control FROM level_summary ORDER BY level_id",
    )
    probes = [
        Probe(
            row["concurrency"],
            row["duration_s"],
            row["output_tokens_per_s"],
            find_reach(
                rows(
                    quick[2],
                    f"SELECT * FROM demand_summary WHERE level_id = {row['level_id']}",
                )
            ),
        )
        for row in levels
    ]
    # which they are on a machine of two slots: test_quick.py
    chosen = [
        choose_next(probes[:number], 3.0, 256)
        for number in range(len(probes) + 1)
    ]
    assert chosen == [*(probe.concurrency for probe in probes), None]
    assert len(probes) > 3 and max(row["repeat"] for row in levels) > 1
    assert sum(probe.seconds for probe in probes) < 4
    assert {row["load"] for row in levels} == {"burst"}
    assert {row["status"] for row in levels} == {"finished"}


def test_its_ceiling_is_said_and_stored(quick):
    server, out, folder = quick
    # 100 tokens/s of one alone, 3 s / 24, the least
    assert "replies end at 16 tokens" in out
    (row,) = rows(folder, "SELECT status, arguments FROM run")
    arguments = json.loads(row["arguments"])
    assert (arguments["tokens"], arguments["budget"]) == (16, 3.0)
    assert row["status"] == "finished"
    lengths = rows(
        folder, "SELECT DISTINCT output_tokens FROM request WHERE level_id"
    )
    assert lengths == [{"output_tokens": 16}]


def test_it_ends_with_the_command_that_makes_it_sharper(quick):
    server, out, _ = quick
    highest = rows(quick[2], "SELECT max(concurrency) AS n FROM level")[0][
        "n"
    ]
    # as it was told, but for the budget and the plain lines
    assert out.splitlines()[-2:] == [
        "Sharper, with whole replies and each level three times:",
        f"  python {ROOT / 'bench.py'} x2:{2 * highest} --repeat 3 --host {server.url} "
        "--cooldown 0 --idle 0 --no-monitor --model deepseek-r1:7b",
    ]


@pytest.mark.faults
@pytest.mark.parametrize("end", ["--tokens=7", "--option=num_predict=7"])
def test_a_ceiling_that_is_named_is_kept(quick, tmp_path, end):
    code, out, _ = run(
        *("--host", quick[0].url, "--budget=1", end, *PLAIN), cwd=tmp_path
    )
    assert code == 0 and "replies end at" not in out
    lengths = rows(tmp_path, "SELECT DISTINCT output_tokens FROM request")
    assert lengths == [{"output_tokens": 7}]


@pytest.mark.faults
def test_it_is_not_resumed_and_says_so(quick, tmp_path):
    code, out, _ = run(
        *("--host", quick[0].url, "--budget", "1", "--resume", *PLAIN),
        cwd=tmp_path,
    )
    assert code == 0
    assert "a run without LEVELS is not resumed; starting a new one" in out


@pytest.mark.faults
def test_a_level_that_takes_much_longer_than_expected_is_cut(
    module_sim, tmp_path
):
    slow = module_sim(
        *("--profile", "exact", "--ttft", "20", "--itl", "400"),
        *("--tokens", "500"),
    )
    code, out, _ = run(
        *("--host", slow.url, "--budget", "2", *PLAIN), cwd=tmp_path
    )
    (level,) = rows(tmp_path, "SELECT duration_s FROM level_summary")
    assert level["duration_s"] < 3.5
    assert code == 1  # no reply at all


@pytest.mark.faults
def test_a_repeat_that_is_cut_by_the_budget_is_no_failed_run(
    sim, tmp_path
):
    """Every level was answered: the repeat is what was left of the time."""
    hung = sim(profile="exact", ttft=20, itl=10, tokens=20)
    process = start(
        *("--host", hung.url, "--budget", "3", *PLAIN), cwd=tmp_path
    )
    wait_for(process, ", again")
    hung.process.send_signal(signal.SIGSTOP)
    wait_for(process, " 0/")
    hung.process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, ""), out
