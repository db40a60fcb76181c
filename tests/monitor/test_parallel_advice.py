"""What is known of a server's slots before anything was measured."""

from __future__ import annotations

import pytest

from ollama_bench.monitor.parallel_advice import complete, warn_of

TARGET = {
    "api": "ollama",
    "server_version": "0.32.15",
    "family": "llama",
    "slots": 4,
    "slots_source": "OLLAMA_NUM_PARALLEL of the server",
    "size_bytes": 6_000_000_000,
    "vram_bytes": 6_000_000_000,
    "slot_bytes": 512 << 20,
}
MLX = "MLX engine: one request at a time"


def completed(**changes):
    target = {**TARGET, **changes}
    complete(target)
    return target


@pytest.mark.parametrize(
    "changes, reason",
    [
        (
            {"family": "qwen35"},
            "Ollama 0.32.15 runs models of the family qwen35 one request at a time",
        ),
        (
            {"family": "mllama", "server_version": "0.5.7"},
            "Ollama 0.5.7 runs models of the family mllama one request at a time",
        ),
        (
            {"slots": 1, "slots_source": MLX},
            "Ollama's MLX runner answers one request at a time",
        ),
    ],
)
def test_what_runs_one_at_a_time_is_told_before_the_run(changes, reason):
    target = completed(**changes)
    assert (target["one_at_a_time"], target["slots"]) == (reason, 1)
    assert (
        warn_of(target)
        == f"{reason}: OLLAMA_NUM_PARALLEL does not change it"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"family": "qwen35", "server_version": "0.9.6"},
        {"family": "qwen35", "server_version": "unknown"},
        {"family": None, "server_version": None},
        {"family": "qwen35", "api": "openai"},
        {"vram_bytes": None},
        {"vram_bytes": 0},  # all of it is on the processor
    ],
)
def test_nothing_to_say(changes):
    target = completed(**changes)
    assert target["one_at_a_time"] is None and target["slots"] == 4
    assert warn_of(target) is None


@pytest.mark.parametrize(
    "slots, advice",
    [
        (4, "a lower OLLAMA_NUM_PARALLEL or context"),
        (1, "a lower context"),
    ],
)
def test_a_model_that_spills_needs_less_not_more(slots, advice):
    text = warn_of(completed(slots=slots, vram_bytes=4_500_000_000))
    assert (
        text
        == f"1.5 of 6.0 GB of the model do not fit the GPU: {advice} would be faster"
    )


@pytest.mark.parametrize(
    "cache_type, slot_bytes",
    [
        (None, 512 << 20),
        ("f16", 512 << 20),
        ("q8_0", 272 << 20),
        ("Q4_0", 144 << 20),
        ("something new", None),
    ],
)
def test_the_type_of_the_cache_counts(cache_type, slot_bytes):
    assert completed(kv_cache_type=cache_type)["slot_bytes"] == slot_bytes
