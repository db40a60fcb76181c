"""The advice on OLLAMA_NUM_PARALLEL."""

from __future__ import annotations

import pytest

from ollama_bench.monitor.parallel_advice import (
    advise,
    estimate_gpu_room_bytes,
    parse_parameters,
)

M2_PRO = {"gpu_cores": 19, "memory_bytes": 32 << 30}
TARGET = {
    "api": "ollama",
    "slots": 1,
    "size_bytes": 6_000_000_000,
    "vram_bytes": 6_000_000_000,
    "context_tokens": 4096,
    "parameter_size": "7.6B",
}


def test_one_slot_for_each_gpu_core():
    # a slot: 4096 tokens x 7.6 x 16 KiB = 0.51 GB; 32 GiB x 2/3 - 6 GB has room for 33 more
    advice = advise(M2_PRO, TARGET)
    assert (
        "runs 1 at a time" in advice
        and "OLLAMA_NUM_PARALLEL=19" in advice
        and "9.2 GB" in advice
    )
    assert "\n" not in advice


def test_as_far_as_the_memory_goes():
    # 16 GiB x 2/3 - 6 GB = 5.45 GB: 10 more slots of 0.51 GB
    assert "OLLAMA_NUM_PARALLEL=11," in advise(
        {**M2_PRO, "memory_bytes": 16 << 30}, TARGET
    )
    # as macOS says: 8 GiB - 6 GB = 2.59 GB
    assert "OLLAMA_NUM_PARALLEL=6," in advise(
        {**M2_PRO, "gpu_working_set_bytes": 8 << 30}, TARGET
    )


@pytest.mark.parametrize(
    "gib, room_gib",
    [(16, 16 * 2 / 3), (32, 32 * 2 / 3), (36, 27), (128, 96)],
)
def test_what_the_gpu_may_use_where_macos_does_not_say(gib, room_gib):
    assert estimate_gpu_room_bytes(
        {"memory_bytes": gib << 30, "gpu_working_set_bytes": None}
    ) == pytest.approx(room_gib * (1 << 30))
    assert (
        estimate_gpu_room_bytes(
            {"memory_bytes": gib << 30, "gpu_working_set_bytes": 5}
        )
        == 5
    )


def test_a_model_that_spills_needs_less_not_more():
    advice = advise(M2_PRO, {**TARGET, "vram_bytes": 4_500_000_000})
    assert "1.5 of 6.0 GB" in advice and "lower" in advice


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": 19},
        {"slots": 32},
        {"slots_source": "MLX engine: one request at a time"},
        {
            "slots_source": "MLX engine: one request at a time",
            "vram_bytes": 4_500_000_000,
        },
        {"slots": None},
        {"api": "openai"},
        {"size_bytes": 30 << 30, "vram_bytes": None},
    ],
)
def test_nothing_to_say(changes):
    assert advise(M2_PRO, {**TARGET, **changes}) is None


@pytest.mark.parametrize(
    "changes", [{"gpu_cores": None}, {"memory_bytes": None}]
)
def test_no_advice_without_cores_or_memory(changes):
    assert advise({**M2_PRO, **changes}, TARGET) is None


@pytest.mark.parametrize(
    "text, count",
    [
        ("7.6B", 7.6e9),
        ("751.63M", 751.63e6),
        ("1T", 1e12),
        (None, 0),
        ("", 0),
        ("big", 0),
    ],
)
def test_parameter_sizes(text, count):
    assert parse_parameters(text) == pytest.approx(count)
