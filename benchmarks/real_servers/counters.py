"""What a server counted by itself: the counters of its /metrics, in Prometheus' text form."""

from __future__ import annotations

import re
from dataclasses import dataclass

import requests

# name of ours: the counters of llama-server and of vLLM
NAMES = {
    "output_tokens": (
        "llamacpp:tokens_predicted_total",
        "vllm:generation_tokens_total",
    ),
    "prompt_tokens": (
        "llamacpp:prompt_tokens_total",
        "vllm:prompt_tokens_total",
    ),
    "requests": ("vllm:request_success_total",),
}
LINE = re.compile(r"^([\w:]+)(?:\{[^}]*\})?\s+([\d.eE+-]+)")
# vLLM counts the whole prompt, llama-server what it evaluated
WHOLE_PROMPT = "vllm:prompt_tokens_total"


@dataclass(frozen=True)
class Counters:
    """Totals since the server began; a name that it does not count is missing."""

    values: dict[str, float]
    counts_cached: bool  # prompt_tokens has those of the prompt cache, too

    def since(self, before: Counters) -> dict[str, float]:
        """Return what was added since then."""
        return {
            name: value - before.values.get(name, 0.0)
            for name, value in self.values.items()
        }


def read_counters(url: str) -> Counters | None:
    """Return the server's counters; None where it has no /metrics."""
    try:
        reply = requests.get(f"{url}/metrics", timeout=10)
    except requests.RequestException:
        return None
    if reply.status_code != 200:
        return None
    return parse_counters(reply.text)


def parse_counters(text: str) -> Counters | None:
    """Sum the counters over their labels; None where none is known."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        if match := LINE.match(line):
            name, value = match.groups()
            sums[name] = sums.get(name, 0.0) + float(value)
    values = {
        ours: sums[theirs]
        for ours, names in NAMES.items()
        for theirs in names
        if theirs in sums
    }
    return Counters(values, WHOLE_PROMPT in sums) if values else None
