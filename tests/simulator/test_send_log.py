"""What the simulator knows of its own writes and energy."""

import re
import time

import pytest

from tests.simulator.reader import at_once, generate, log_of


def test_the_log_agrees_with_the_socket(sim):
    server = sim(
        "--profile",
        "exact",
        "--itl",
        "10",
        "--ttft",
        "50",
        "--tokens",
        "20",
    )
    before_ns = time.perf_counter_ns()
    answer = generate(
        server, prompt="[k7] hello", headers=["X-Request-Id: r1"]
    )
    (row,) = log_of(server, 1)
    assert (row["id"], row["prompt_prefix"], row["outcome"]) == (
        "r1",
        "[k7] hello",
        "done",
    )
    token_ends = [
        match.end()
        for match in re.finditer(rb'"done":false}\n', answer.raw)
    ]
    seen_ns = [
        next(at_ns for at_ns, end in answer.reads if end >= token_end)
        for token_end in token_ends
    ]
    assert (
        len(seen_ns) == len(row["writes_ns"]) == len(row["due_ns"]) == 20
    )
    assert (
        before_ns < row["read_ns"] < row["writes_ns"][0]
        and row["writes_ns"][-1] <= row["end_ns"]
    )
    assert all(
        seen > write
        for seen, write in zip(seen_ns, row["writes_ns"], strict=True)
    )
    assert [due - row["read_ns"] for due in row["due_ns"]] == [
        50_000_000 + 10_000_000 * i for i in range(20)
    ]


def test_it_knows_its_own_error(sim):
    server = sim(
        "--profile", "exact", "--itl", "2", "--tokens", "50", "--report"
    )
    at_once(8, lambda i: generate(server))
    errors_ns = sorted(
        write - due
        for row in log_of(server, 8)
        for write, due in zip(row["writes_ns"], row["due_ns"], strict=True)
    )
    said = server.state()["schedule_error_s"]
    assert said["n"] == len(errors_ns) == 400
    assert said["max"] * 1e9 == pytest.approx(errors_ns[-1], abs=1)
    assert said["p50"] * 1e9 == pytest.approx(errors_ns[199], abs=10_001)
    assert said["p99"] * 1e9 == pytest.approx(errors_ns[395], abs=10_001)


def test_energy_is_power_times_time(sim):
    server = sim("--profile", "exact", "--itl", "10", "--tokens", "30")
    first = server.state()
    time.sleep(0.2)
    idle = server.state()
    assert idle["busy_ns"] == 0
    assert idle["energy_j"] - first["energy_j"] == pytest.approx(
        0.15 * (idle["t_ns"] - first["t_ns"]) / 1e9
    )
    generate(server)
    (row,) = log_of(server, 1)
    after = server.state()
    assert after["busy_ns"] == pytest.approx(
        row["end_ns"] - row["admitted_ns"], rel=0.2
    )
    assert after["gpu_energy_j"] == pytest.approx(
        (20 * after["busy_ns"] + 0.05 * after["idle_ns"]) / 1e9
    )
    assert after["energy_j"] == pytest.approx(
        after["gpu_energy_j"] + after["cpu_energy_j"]
    )
    assert after["power_w"] == pytest.approx(0.15)
