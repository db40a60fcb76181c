"""What servers count of their own work, in the text of Prometheus at /metrics.

vLLM always tells, llama-server with --metrics, SGLang with --enable-metrics; Ollama and
mlx_lm.server do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

METRICS_PATH = "/metrics"
# of each server: all tokens it has generated, and what it is busy with
SERVERS = (
    (
        "vllm:generation_tokens_total",
        ("vllm:num_requests_running", "vllm:num_requests_waiting"),
    ),
    (
        "llamacpp:tokens_predicted_total",
        ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    ),
    (
        "sglang:generation_tokens_total",
        ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    ),
)
SAMPLE = re.compile(
    r"^([a-zA-Z_:][\w:]*)(?:\{.*\})? +(\d[\d.]*(?:[eE][+-]?\d+)?)", re.M
)


@dataclass(frozen=True)
class Work:
    """What a server has done since it started."""

    generated_tokens: int
    is_idle: bool  # nothing is processed or waits


@dataclass(frozen=True)
class ServerQueue:
    """How many requests a server has at this instant; None where it does not tell."""

    running: int | None = None  # they hold a slot
    waiting: int | None = None


def read_server_queue(text: str) -> ServerQueue:
    """Return what a page of metrics tells of the requests of this instant."""
    sums = sum_samples(text)
    for _, names in SERVERS:
        known = [sums.get(name) for name in names]
        if any(value is not None for value in known):
            return ServerQueue(
                *(None if value is None else int(value) for value in known)
            )
    return ServerQueue()


def sum_samples(text: str) -> dict[str, float]:
    """Return the sum of the samples of each name."""
    sums: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def read_work(text: str) -> Work | None:
    """Return what a page of metrics tells; None where it counts no generated tokens."""
    sums = sum_samples(text)
    for tokens, busy in SERVERS:
        if tokens in sums:
            is_idle = not any(sums.get(name) for name in busy)
            return Work(int(sums[tokens]), is_idle)
    return None
