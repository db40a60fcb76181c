"""From simulated powermetrics to joules per token: what is stored is what it says it drew."""

import json
import time
import urllib.request

import pytest

from ollama_bench.load import load
from ollama_bench.monitor import monitor
from ollama_bench.power.sources import find_sources
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.demo import start_server
from ollama_bench.storage.connection import connect
from ollama_bench.storage.writer import Writer


def state(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        url + "/sim/state", timeout=10
    ) as answer:
        return json.load(answer)


@pytest.mark.faults
def test_a_levels_energy_is_what_the_simulator_drew(tmp_path):
    path, ollama = tmp_path / "results.db", PROTOCOLS["ollama"]
    with start_server() as simulator, Writer(path) as writer:
        origin_ns, started_unix = time.perf_counter_ns(), time.time()
        run_id = writer.insert(
            "run",
            {
                "source": "bench",
                "status": "running",
                "started_unix": started_unix,
                "arguments": "{}",
                "tool_version": "0",
            },
        )
        watch = monitor.Monitor(
            writer,
            run_id,
            origin_ns,
            pid=simulator.pid,
            interval_s=0.4,
            sources=find_sources(
                powermetrics_command=[*simulator.powermetrics[:-1], "400"]
            ),
            say=lambda text: None,
        )
        watch.start()
        assert watch.wait_first_sample(15)
        tasks = [
            load.Task(
                n,
                ollama,
                simulator.url + ollama.path,
                ollama.build_body("deepseek-r1:7b", f"{n} why?", 100),
            )
            for n in range(1, 5)
        ]
        load.Burst(tasks[:1], load.Limits()).run()  # loads the model
        before = state(simulator.url)
        burst = load.Burst(tasks, load.Limits())
        burst.run()
        after = state(simulator.url)
        watch.wait_covered(time.perf_counter_ns())
        watch.stop()
        level_id = writer.insert(
            "level",
            {
                "run_id": run_id,
                "model": "m",
                "concurrency": 4,
                "status": "finished",
                "started_ns": before["t_ns"] - origin_ns,
                "ended_ns": after["t_ns"] - origin_ns,
            },
        )
        writer.insert(
            "request",
            {
                "level_id": level_id,
                "number": 1,
                "status": "completed",
                "output_tokens": 400,
            },
        )
    drawn_j = after["energy_j"] - before["energy_j"]
    database = connect(path, readonly=True)
    (row,) = database.query("SELECT * FROM energy_summary")
    database.conn.close()
    # a window that lasts three times as long, on a stalled machine, has no energy
    assert row["coverage_ratio"] > 0.95 and drawn_j > 10
    # within 3 % on a quiet machine: samples are placed by the arrival of the first
    assert abs(row["energy_j"] / drawn_j - 1) < 0.05
    assert (
        abs(row["joules_per_output_token"] - row["energy_j"] / 400) < 1e-9
        and row["mean_gpu_mhz"] > 1000
    )
