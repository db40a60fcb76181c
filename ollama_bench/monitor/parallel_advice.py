"""parallel_advice.py - what is known of a server's slots before anything was measured.

parallel_advice.complete(target)     # one_at_a_time and slot_bytes of a row of that table
parallel_advice.warn_of(target)      # one line, or None

Whether more slots help is said after the levels were measured: analysis/slot_advice.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ollama_bench.monitor.process_tree import MLX_ENGINE

Row = Mapping[str, Any]  # of the table target

# family: since which version Ollama's scheduler is known to give it one slot (server/sched.go)
ONE_SLOT_FAMILIES = {
    "mllama": (0, 5),
    **dict.fromkeys(
        (
            "qwen3vl",
            "qwen3vlmoe",
            "qwen35",
            "qwen35moe",
            "qwen3next",
            "lfm2",
            "lfm2moe",
            "nemotron_h",
            "nemotron_h_moe",
            "nemotron_h_omni",
        ),
        (0, 24),
    ),
}
# bytes of a block of 32 values, of 64 in F16
CACHE_RATIOS = {
    "f32": 2.0,
    "f16": 1.0,
    "bf16": 1.0,
    "q8_0": 34 / 64,
    "q5_1": 24 / 64,
    "q5_0": 22 / 64,
    "q4_1": 20 / 64,
    "q4_0": 18 / 64,
    "iq4_nl": 18 / 64,
}


def complete(target: dict[str, Any]) -> None:
    """Add to a target why it runs one at a time, and a slot's memory with its type of cache."""
    reason = explain_one_at_a_time(target)
    target["one_at_a_time"] = reason
    if reason is not None:
        target["slots"] = 1
        target["slots_source"] = target.get("slots_source") or reason
    ratio = CACHE_RATIOS.get(
        str(target.get("kv_cache_type") or "f16").lower()
    )
    slot_bytes = target.get("slot_bytes")
    if ratio is None or slot_bytes is None:
        target["slot_bytes"] = None
    else:
        target["slot_bytes"] = round(slot_bytes * ratio)


def explain_one_at_a_time(target: Row) -> str | None:
    """Return why Ollama answers one request at a time, None where it need not."""
    if target.get("api") != "ollama":
        return None
    if target.get("slots_source") == MLX_ENGINE:
        return "Ollama's MLX runner answers one request at a time"
    family, version = target.get("family"), target.get("server_version")
    since = ONE_SLOT_FAMILIES.get(str(family))
    if since is None or parse_version(version) < since:
        return None
    return (
        f"Ollama {version} runs models of the family {family} "
        "one request at a time"
    )


def parse_version(text: str | None) -> tuple[int, ...]:
    """Return (0, 32) for 0.32.15; () for text that is no such number."""
    found = re.match(r"v?([0-9]{1,4})\.([0-9]{1,4})", text or "")
    return (int(found[1]), int(found[2])) if found else ()


def warn_of(target: Row) -> str | None:
    """Return one line on what slows this model down on this server, None where nothing is known."""
    if reason := target.get("one_at_a_time"):
        return f"{reason}: OLLAMA_NUM_PARALLEL does not change it"
    size, on_gpu = target.get("size_bytes"), target.get("vram_bytes")
    if not size or on_gpu is None or not 0 < on_gpu < size:
        return None
    has_slots = target.get("api") == "ollama" and target.get("slots") != 1
    what = "OLLAMA_NUM_PARALLEL or context" if has_slots else "context"
    return (
        f"{(size - on_gpu) / 1e9:.1f} of {size / 1e9:.1f} GB of the model do not fit"
        f" the GPU: a lower {what} would be faster"
    )
