"""Counters of servers' own work, as their pages of metrics write them."""

import pytest

from ollama_bench.protocols.work import (
    ServerQueue,
    Work,
    read_server_queue,
    read_work,
)

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 0.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 0.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1.25e+06
vllm:generation_tokens_total{engine="1",model_name="tiny"} 5.0
vllm:generation_tokens_created{engine="0",model_name="tiny"} 1.795782962652821e+09
vllm:request_generation_tokens_sum{engine="0",model_name="tiny"} 7.0
"""
LLAMA = """# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 10
# TYPE llamacpp:tokens_predicted_seconds_total counter
llamacpp:tokens_predicted_seconds_total 0.218029
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 0
llamacpp:requests_deferred 0
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VLLM, Work(1_250_005, is_idle=False)),
        (LLAMA, Work(10, is_idle=True)),
        (LLAMA.replace("sing 0", "sing 2"), Work(10, is_idle=False)),
        ("sglang:generation_tokens_total 3", Work(3, is_idle=True)),
        ("# vllm:generation_tokens_total 3", None),
        ("process_cpu_seconds_total 3.5\n", None),
        ("404 page not found", None),
        ("", None),
    ],
)
def test_pages_of_metrics(text, expected):
    assert read_work(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VLLM, ServerQueue(running=0, waiting=1)),
        (LLAMA, ServerQueue(running=0, waiting=0)),
        ("sglang:num_running_reqs 3", ServerQueue(running=3)),
        ("404 page not found", ServerQueue()),
    ],
)
def test_requests_of_this_instant(text, expected):
    assert read_server_queue(text) == expected
