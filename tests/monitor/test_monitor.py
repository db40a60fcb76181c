"""The monitor at work: marks, waiting, conditions, cost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time

import pytest

import bench
from ollama_bench.platforms import conditions
from ollama_bench.power.source import Absent
from ollama_bench.storage.connection import connect
from tests.monitor.support import (
    PATIENCE_S,
    ROOT,
    Counter,
    Told,
    tell,
)

QUICK = ["--idle", "0", "--plain"]


def test_cost_and_counts_are_known_after_stop(watch, fake):
    watched = watch([fake("fine")])
    watched.samples(3)
    cost = watched.monitor.stop()
    assert (
        0 < cost["monitor_cpu_s"] < time.process_time()
        and cost["sampler_cpu_s"] > 0
    )
    (source,) = watched.rows("power_source")
    assert (source["status"], source["dropped"], source["kind"]) == (
        "ok",
        0,
        "interval",
    )
    assert source["samples"] == len(watched.rows("power_sample"))


def test_wait_covered_lasts_until_the_samples_reach_the_instant(
    watch, fake
):
    watched = watch([fake("fine")])
    assert watched.monitor.wait_first_sample(PATIENCE_S)
    at_ns = time.perf_counter_ns()
    while not watched.monitor.wait_covered(at_ns):
        assert time.perf_counter_ns() - at_ns < PATIENCE_S * 1e9
    assert watched.monitor.tracks[0].latest.end_ns >= at_ns
    assert not watched.monitor.wait_covered(at_ns + 10**12)  # bounded
    interrupt = threading.Event()
    interrupt.set()
    assert not watched.monitor.wait_covered(at_ns + 10**12, interrupt)


def test_wait_covered_waits_for_nothing_that_is_not_there(watch):
    watched = watch(
        [Absent("powermetrics", "soc", "interval", "not read")]
    )
    assert watched.monitor.wait_covered(10**18)


def test_a_level_is_covered_when_the_sample_over_its_end_is_stored_not_when_it_came(
    watch,
):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    tell(track, 0, 2.0)
    tell(track, 1, 0.0)  # held back: a slow counter or a dead one?
    threading.Timer(
        0.7, tell, (track, 2, 4.0)
    ).start()  # later than a sample that is not held back may be
    assert watched.monitor.wait_covered(15 * 10**7)
    assert [
        row["cpu_energy_j"] for row in watched.rows("power_sample")
    ] == [2.0, 0.0, 4.0]


@pytest.mark.parametrize(
    "first, stored",
    [(2.0, [(2.0, 3.0), (0.0, 1.0)]), (0.0, [(None, None), (None, None)])],
)
def test_what_is_held_back_is_stored_when_the_waiting_ends(
    watch, first, stored
):
    watched = watch([Told()])
    (track,) = watched.monitor.tracks
    tell(track, 0, first)
    tell(track, 1, 0.0)
    interrupt = threading.Event()
    interrupt.set()
    assert not watched.monitor.wait_covered(15 * 10**7, interrupt)
    assert [
        (row["cpu_energy_j"], row["energy_j"])
        for row in watched.rows("power_sample")
    ] == stored
    watched.monitor.stop()
    assert len(watched.rows("power_sample")) == 2


def test_wait_first_sample_gives_up(watch, fake):
    watched = watch([fake("silent")])
    assert not watched.monitor.wait_first_sample(0.2)


def test_battery_and_low_power_mode_are_told_once_noted_at_each_change_and_known_of_a_level(
    watch, monkeypatch
):
    plugged, mode = [True], [False]
    monkeypatch.setattr(
        conditions, "is_on_battery", lambda: not plugged[0]
    )
    monkeypatch.setattr(
        conditions, "is_in_low_power_mode", lambda *_: mode[0]
    )
    watched = watch()

    def seen(kind, count):
        return watched.until(
            lambda: (
                len(rows := watched.rows("event", kind=kind)) >= count
                and [row["detail"] for row in rows]
            )
        )

    watched.monitor.wait_first_sample(PATIENCE_S)
    assert watched.monitor.conditions_since(0) == {
        "on_battery": 0,
        "low_power_mode": 0,
    }
    assert not watched.rows("event")
    plugged[0], mode[0] = False, True
    assert seen("on_battery", 1) == ["on battery"]
    assert seen("low_power_mode", 1) == ["low power mode is on"]
    plugged[0] = True
    assert seen("on_battery", 2) == ["on battery", "on mains"]
    since_ns = time.perf_counter_ns()
    assert watched.monitor.conditions_since(since_ns) == {
        "on_battery": 0,
        "low_power_mode": 1,
    }
    plugged[0] = False
    seen("on_battery", 3)
    plugged[0] = True
    seen("on_battery", 4)
    for_a_part = {"on_battery": 1, "low_power_mode": 1}
    assert watched.monitor.conditions_since(since_ns) == for_a_part
    assert [
        line for line in watched.said if line.startswith("machine: ")
    ] == [
        "machine: on battery: many machines run slower then",
        "machine: low power mode is on: many machines run slower then",
    ]


def test_mark_reads_counters_at_once(watch):
    source = Counter()
    watched = watch([source], interval_s=30.0)
    watched.until(lambda: source.reads_ns)
    for _ in range(2):
        before, marked_ns = len(source.reads_ns), time.perf_counter_ns()
        watched.monitor.mark()
        watched.until(lambda before=before: len(source.reads_ns) > before)
        assert source.reads_ns[-1] >= marked_ns
    assert len(watched.rows("power_sample")) == 2


def test_a_source_that_raises_is_one_line_and_the_rest_goes_on(watch):
    source, other = Counter(), Counter()
    watched = watch([source, other])
    watched.samples(2)
    source.broken = True
    watched.until(
        lambda: any("fell over" in line for line in watched.said)
    )
    reads = len(other.reads_ns)
    watched.until(lambda: len(other.reads_ns) > reads + 2)
    seen = len(watched.rows("system_sample"))
    watched.until(lambda: len(watched.rows("system_sample")) > seen + 2)
    assert sum("fell over" in line for line in watched.said) == 1


def test_the_machine_is_watched_beside(watch):
    watched = watch()
    rows = watched.until(
        lambda: len(rows := watched.rows("system_sample")) > 2 and rows
    )
    assert all(row["memory_used_bytes"] > 0 for row in rows)
    assert all(
        row["cpu_ratio"] is None or 0 <= row["cpu_ratio"] <= 1
        for row in rows
    )


@pytest.mark.faults
def test_bench_watches_every_local_server(sim, tmp_path):
    servers = [
        sim(profile="exact", ttft=60, itl=5, tokens=30) for _ in range(2)
    ]
    hosts = [word for server in servers for word in ("--host", server.url)]
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "bench.py"),
            "2",
            *hosts,
            *QUICK,
            "--warmup",
            "0",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    database = connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        assert {row["pid"] for row in database["process"].rows} == {
            server.process.pid for server in servers
        }


@pytest.mark.faults
def test_bench_stores_how_the_machine_ran_with_each_level(
    sim, tmp_path, monkeypatch
):
    server = sim("--profile", "exact", "--itl", "2", "--tokens", "10")
    monkeypatch.setattr(conditions, "is_on_battery", lambda: True)
    monkeypatch.setattr(
        conditions, "is_in_low_power_mode", lambda *_: None
    )
    path = str(tmp_path / "results.db")
    options = [
        "1",
        "--host",
        server.url,
        "--db",
        path,
        "--cooldown",
        "0",
        *QUICK,
    ]
    assert (
        bench.main(options) == 0
        and bench.main([*options, "--no-monitor"]) == 0
    )
    database = connect(tmp_path / "results.db", readonly=True)
    with contextlib.closing(database.conn):
        levels = list(
            database.query(
                "SELECT on_battery, low_power_mode FROM level_summary ORDER BY run_id"
            )
        )
    assert [tuple(row.values()) for row in levels] == [
        (1, None),
        (None, None),
    ]
