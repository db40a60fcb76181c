"""Small files as vLLM and GuideLLM write them, made by hand."""

import copy

VLLM = {
    "date": "20261127-091812",
    "endpoint_type": "openai-chat",
    "backend": "openai-chat",
    "label": None,
    "model_id": "tiny",
    "tokenizer_id": "org/tiny",
    "num_prompts": 3,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 2,
    "duration": 4.0,
    "completed": 2,
    "failed": 1,
    "total_input_tokens": 30,
    "total_output_tokens": 7,
    "request_throughput": 0.5,
    "request_goodput": None,
    "output_throughput": 1.75,
    "total_token_throughput": 9.25,
    "input_lens": [10, 20, 15],
    "output_lens": [3, 4, 0],
    "ttfts": [0.5, 0.25, 0.0],
    "itls": [[0.1, 0.2], [0.1, 0.1, 0.2], []],
    "latencies": [0.8, 0.65, 0.0],
    "start_times": [37427.0, 37427.0, 37428.0],
    "queue_times": [0.0, 0.0, 0.9],
    "generated_texts": ["one two three", "a b c d", ""],
    "errors": ["", "", "Bad Request"],
    "max_output_tokens_per_s": 7.0,
    "max_concurrent_requests": 2,
    "rtfx": 0.0,
    "mean_ttft_ms": 375.0,
}
SENT_UNIX = 1_795_771_206.0


def make_vllm(**changes):
    return {**copy.deepcopy(VLLM), **changes}


def make_request(at_s, **more):
    """A successful request of GuideLLM: 0.5 s to the first of 5 tokens in 0.9 s."""
    sent = SENT_UNIX + at_s
    timings = {
        "targeted_start": sent - 0.1,
        "request_start": sent,
        "first_token_iteration": sent + 0.5,
        "first_output_token_iteration": sent + 0.6,
        "last_token_iteration": sent + 0.9,
        "token_iterations": 5,
        "request_end": sent + 1.0,
    }
    return {
        "info": {"error": None, "timings": timings},
        "prompt_tokens": 8,
        "output_tokens": 5,
        "cached_tokens": None,
        "output": "a b c d e",
        "reasoning_output": None,
        **more,
    }


def make_guidellm(strategy=None, successful=3, errored=1, **more):
    """A report with one benchmark of 4 s."""
    failed = {
        "info": {
            "error": "Connection refused",
            "timings": {"request_start": SENT_UNIX + 2},
        },
        "prompt_tokens": None,
        "output_tokens": None,
    }
    groups = {
        "successful": [make_request(place) for place in range(successful)],
        "errored": [copy.deepcopy(failed) for _ in range(errored)],
        "incomplete": [],
    }
    benchmark = {
        "type_": "generative_benchmark",
        "config": {
            "strategy": strategy or {"type_": "concurrent", "streams": 2},
            "backend": {
                "model": "tiny",
                "target": "http://me:word@127.0.0.1:8000/v1",
                "api_key": "sk-hidden",
            },
        },
        "metrics": {
            "request_totals": {
                "successful": successful,
                "errored": errored,
                "incomplete": 0,
            }
        },
        "requests": groups,
        "start_time": SENT_UNIX,
        "end_time": SENT_UNIX + 4.0,
        **more,
    }
    return {
        "metadata": {"version": 2, "guidellm_version": "0.8.1"},
        "benchmarks": [benchmark],
    }
