"""Levels that replayed a trace: which requests came, and how far it is from the original."""

from __future__ import annotations

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import count, digits, percent
from ollama_bench.inputs.trace import MOONCAKE
from ollama_bench.terminal.figures import format_trace


def describe_trace(level: Row) -> str:
    """Say whose requests came and what was unlike them; "" where none were replayed."""
    if level["trace"] is None:
        return ""
    parts = [f"Requests came as in {name_trace(level)}"]
    if level["trace_too_long"]:
        longer = count(level["trace_too_long"], "request")
        parts.append(f"left out: {longer}, too long for the context")
    asked, got = (
        level["asked_output_tokens_mean"],
        level["output_tokens_mean"],
    )
    if None not in (asked, got) and digits(asked) != digits(got):
        parts.append(
            f"replies have {digits(got)} tokens on average, {digits(asked)} were asked for"
        )
    cached = level["cached_tokens"]
    if (
        shares_blocks(level)
        and cached is not None
        and level["prompt_tokens"]
    ):
        share = percent(cached / level["prompt_tokens"])
        parts.append(f"{share} of the prompts came from the cache")
    return f"{'; '.join(parts)}."


def shares_blocks(level: Row) -> bool:
    """Return whether prompts of a level share text, which the cache holds."""
    return bool(level["trace_kind"] == MOONCAKE)


def name_trace(level: Row) -> str:
    """Return the file of a level's trace, with its form, its mean rate and its speed."""
    return format_trace(
        level["trace"],
        level["trace_kind"],
        level["rate_per_s"],
        level["trace_speed"],
    )
