"""Whether more slots help, by what the levels showed."""

from __future__ import annotations

import pytest

from ollama_bench.analysis.slot_advice import advise_slots, find_gpu_bytes
from tests.support.studies import made_of

GB = 1_000_000_000
MACHINE = {
    "chip": "AMD Ryzen",
    "gpu": "NVIDIA",
    "cpu_cores": 8,
    "memory_bytes": 64 * GB,
    "gpu_memory_bytes": 24 * GB,
    "gpu_working_set_bytes": None,
}
TARGET = {
    "run_id": 1,
    "host": "http://127.0.0.1:11434",
    "api": "ollama",
    "server": "ollama",
    "slots": 4,
    "size_bytes": 6 * GB,
    "vram_bytes": 6 * GB,
    "slot_bytes": GB // 2,
    "one_at_a_time": None,
}
RISING = {1: 50.0, 2: 90.0, 4: 160.0, 8: 161.0}


def advise(rates=RISING, machine=MACHINE, seen=4, **changes):
    study = made_of(rates)
    study.targets = [{**TARGET, **changes}]
    study.machine = machine
    return advise_slots(study, seen)


def test_twice_the_slots_where_throughput_still_rose_and_memory_allows():
    assert advise() == (
        "Throughput still rose from 2 to 4 at once: try OLLAMA_NUM_PARALLEL=8 "
        "(about 2.0 GB more of 18.0 GB left), and measure again"
    )
    # 24 - 23 GB: room for two
    assert "=6 (about 1.0 GB more of 1.0 GB left)" in advise(
        vram_bytes=23 * GB, size_bytes=23 * GB
    )


@pytest.mark.parametrize(
    "changes, expected",
    [
        (
            {
                "one_at_a_time": "Ollama's MLX runner answers one request at a time"
            },
            "Ollama's MLX runner answers one request at a time; no setting changes that",
        ),
        (
            {"vram_bytes": 0},
            "The model runs on the processor, which all slots share",
        ),
        (
            {"vram_bytes": 3 * GB},
            "50 % of the model runs on the processor",
        ),
        (
            {"vram_bytes": 24 * GB, "size_bytes": 24 * GB},
            "The GPU has no memory for another slot: one takes 0.5 GB, 0.0 GB are left",
        ),
        (
            {"rates": {1: 50.0, 2: 90.0, 4: 95.0, 8: 95.0}},
            "More slots would share the same speed: throughput hardly rose from 2 to 4",
        ),
        (
            {"rates": {1: 50.0, 2: 90.0, 8: 160.0}},
            "Measure 4 at once: more slots help only if throughput still rises there",
        ),
        (
            {"rates": {4: 90.0, 8: 160.0}},
            "Measure 2 at once, too",
        ),
        (
            {"slots": 1},
            "Start the server with OLLAMA_NUM_PARALLEL=2 and measure 1,2",
        ),
        ({"slot_bytes": None}, "=8 (their memory is not known)"),
        (
            {"host": "http://10.0.0.7:11434"},
            "=8 (about 2.0 GB more, if its GPU has them)",
        ),
        (
            {"server": "llama.cpp", "api": "openai", "slots": None},
            "try --parallel=8",
        ),
        ({"server": "somebody"}, "try slots=8"),
    ],
)
def test_what_is_said_of_other_servers(changes, expected):
    text = advise(**changes)
    assert expected in text
    assert ("NUM_PARALLEL" in text) == ("NUM_PARALLEL" in expected) or (
        "=8" in expected
    )


def test_nothing_is_added_up_over_servers():
    study = made_of(RISING)
    study.targets = [TARGET, {**TARGET, "host": "http://b:1"}]
    assert "each server on its own" in advise_slots(study, 4)


@pytest.mark.parametrize(
    "gib, room_gib",
    [(16, 16 * 2 / 3), (32, 32 * 2 / 3), (36, 27), (128, 96)],
)
def test_what_the_gpu_may_use_where_macos_does_not_say(gib, room_gib):
    mac = {
        "chip": "Apple M2 Pro",
        "memory_bytes": gib << 30,
        "gpu_memory_bytes": None,
        "gpu_working_set_bytes": None,
    }
    assert find_gpu_bytes(mac) == pytest.approx(room_gib * (1 << 30))
    assert find_gpu_bytes({**mac, "gpu_working_set_bytes": 5}) == 5
    # a GPU without memory of its own elsewhere: nobody says what it may use
    assert find_gpu_bytes({**mac, "chip": "NVIDIA GB10"}) is None
