"""A slot's memory by a model's geometry, as /api/show tells it."""

from __future__ import annotations

import pytest

from ollama_bench.monitor.parallel_advice import complete
from ollama_bench.protocols.slot_memory import estimate_slot_bytes

# of /api/show, shortened: Llama 3.1 8B, SmolLM2 135M, Gemma 3 4B, gpt-oss 20B
LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
SMOLLM = {
    "general.architecture": "llama",
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.rope.dimension_count": 64,
}
GEMMA = {
    "general.architecture": "gemma3",
    "gemma3.block_count": 34,
    "gemma3.embedding_length": 2560,
    "gemma3.attention.head_count": 8,
    "gemma3.attention.head_count_kv": 4,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.value_length": 256,
    "gemma3.attention.sliding_window": 1024,
}


@pytest.mark.parametrize(
    "geometry, tokens, expected",
    [
        # 4096 tokens x 32 layers x 8 heads x (128 + 128) x 2 bytes
        (LLAMA, 4096, 512 << 20),
        (LLAMA, 131072, 16 << 30),
        (SMOLLM, 4096, 4096 * 30 * 3 * 128 * 2),
        # five layers in full, 29 with their window
        (GEMMA, 32768, (5 * 32768 + 29 * 1024) * 4 * 512 * 2),
        (GEMMA, 512, 34 * 512 * 4 * 512 * 2),
        # a window whose pattern is unknown: the most
        (
            {**LLAMA, "llama.attention.sliding_window": 1024},
            4096,
            512 << 20,
        ),
        # heads by layer: 30 of state space keep no context
        (
            {
                **LLAMA,
                "llama.attention.head_count_kv": [0] * 30 + [8, 8],
            },
            4096,
            32 << 20,
        ),
    ],
)
def test_memory_follows_from_the_geometry(geometry, tokens, expected):
    assert estimate_slot_bytes(geometry, tokens) == expected


def test_it_is_what_a_runner_says_in_its_log():
    """Of Ollama 0.32.15 with SmolLM2: 4 slots, q8_0, "llama_kv_cache: size = 191.25 MiB"."""
    in_f16 = estimate_slot_bytes(SMOLLM, 4096)
    target = {"slot_bytes": in_f16, "kv_cache_type": "q8_0"}
    complete(target)
    assert 4 * target["slot_bytes"] == 191.25 * (1 << 20)


@pytest.mark.parametrize(
    "changes, tokens",
    [
        ({}, None),
        ({"llama.block_count": None}, 4096),
        ({"llama.block_count": 10**9}, 4096),
        ({"llama.attention.head_count_kv": [8, 8]}, 4096),
        ({"general.architecture": "other"}, 4096),
    ],
)
def test_what_is_not_told_is_unknown(changes, tokens):
    assert estimate_slot_bytes({**LLAMA, **changes}, tokens) is None
