"""How late threads wake, and stops of the client itself."""

import contextlib
import queue
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ollama_bench.load import heartbeat
from ollama_bench.platforms import sleep_clock
from tests.load.levels import fire_burst

ROOT = Path(__file__).resolve().parents[2]


def test_the_heart_tells_how_late_threads_wake(exact):
    level = fire_burst(exact.url)
    figures = level.client_figures()
    assert len(level.result.beats_late_ns) >= 5
    assert figures["client_stall_p99_s"] >= 0
    assert figures["client_cpu_ratio"] >= 0
    assert figures["client_send_skew_s"] == 0


def test_the_heart_knows_of_a_sleep_that_the_clock_of_instants_does_not_see(
    monkeypatch,
):
    """On a Mac perf_counter stands still while it sleeps; another clock goes on."""
    jumps = queue.SimpleQueue()
    real = sleep_clock.continuous_ns
    slept = [0]

    def clock():
        with contextlib.suppress(queue.Empty):
            slept[0] += jumps.get_nowait()
        return real() + slept[0]

    monkeypatch.setattr(sleep_clock, "continuous_ns", clock)
    heart = heartbeat.Heartbeat()
    try:
        began = time.perf_counter_ns()
        jumps.put(30_000_000_000)
        until = time.monotonic() + 5
        while not heart.pauses and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        heart.stop()
    assert heart.measure_paused_s(
        began, time.perf_counter_ns()
    ) == pytest.approx(30, abs=1)
    assert len(heart.pauses) == 1


def test_only_the_part_of_a_pause_within_a_level_counts_to_it():
    heart = heartbeat.Heartbeat()
    heart.stop()
    second = 1_000_000_000
    heart.pauses[:] = [(10 * second, 20 * second)]
    heart._pauses_ns[:] = [10 * second]

    def measure(start_s, end_s):
        return heart.measure_paused_s(start_s * second, end_s * second)

    assert measure(0, 30) == 10
    assert measure(12, 15) == 3
    assert measure(0, 12) == 2
    assert measure(18, 30) == 2
    assert measure(20, 30) == measure(0, 10) == 0


@pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="no such signal"
)
@pytest.mark.faults
def test_a_client_that_was_stopped_says_so_and_its_gaps_count_to_no_server(
    module_sim, tmp_path
):
    sim = module_sim(profile="exact", ttft=20, itl=20, tokens=150)
    path = tmp_path / "results.db"
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "bench.py"),
            "4",
            "--host",
            sim.url,
            "--no-monitor",
            "--warmup",
            "0",
            "--user-stamps",
            "--db",
            str(path),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        until = time.monotonic() + 20
        while sim.state()["active"] < 4 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    with contextlib.closing(sqlite3.connect(path)) as database:
        paused_s, itl_max_s, limited, why = database.execute(
            "SELECT client_paused_s, itl_max_s, client_limited, client_limited_why FROM level"
        ).fetchone()
    assert 1.2 < paused_s < 2.5
    assert itl_max_s < 1.0
    assert limited
    assert "this client itself stood still" in why
    assert "(stopped)" in why
    assert "stood still" in " ".join(said.split())
