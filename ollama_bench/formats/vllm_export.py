"""A level as `vllm bench serve --save-result --save-detailed` writes it: a JSON file of one line.

    DIR/vllm/<model>/concurrency-<level>/run-<run>-level-<id>.json

The keys, their units and definitions are those of vllm/benchmarks/serve.py of vLLM 0.32. What is
not known has no key. A folder has the repeats of one level, as regression gates expect them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from ollama_bench import __version__
from ollama_bench.analysis.study import Row, Study
from ollama_bench.formats.level_data import (
    NS_PER_S,
    LevelData,
    read_levels,
)
from ollama_bench.formats.own_files import write_own

FOLDER = "vllm"
MARK = '"tool": "ollama-bench '
# what vLLM calls a protocol; Ollama's own it does not speak
BACKENDS = {"openai": "openai-chat"}
PERCENTILES = (95, 99)
MS_PER_S = 1e3


def write(database: Database, studies: Iterable[Study], top: Path) -> int:
    """Write a file for each level and return how many there are. Raises OutputError, OSError."""
    count = 0
    for study in studies:
        for data in read_levels(database, study):
            folder = top / FOLDER / study.folder
            level = f"concurrency-{data.level['concurrency']}"
            path = folder / level / f"{data.name}.json"
            write_own(path, json.dumps(build(data)), top, MARK)
            count += 1
    return count


def build(data: LevelData) -> dict[str, object]:
    """Return the content of a level's file."""
    return {
        **describe_setup(data),
        **summarize_requests(data),
        **list_requests(data),
        **find_peaks(data),
        # for speech alone: seconds of audio / duration
        "rtfx": 0.0,
        **describe_draft(data.completed),
        **describe_latencies(data),
    }


def describe_setup(data: LevelData) -> dict[str, object]:
    """Return what was asked how. `tool` to `simulated` are what --metadata adds there: texts."""
    level, server = data.level, data.server or {}
    ended_unix = data.started_unix + (level["duration_s"] or 0)
    api = server.get("api", "")
    backend = BACKENDS.get(api, api)
    machine = data.study.machine or {}
    metadata = {
        "tool": f"ollama-bench {__version__}",
        "server": server.get("server"),
        "server_version": server.get("server_version"),
        "quantization": server.get("quantization"),
        "gpu": machine.get("gpu"),
        "chip": machine.get("chip"),
        "load": level["load"],
        "prompt_tokens": read_lengths(level),
        "simulated": "true" if data.run["simulated"] else None,
    }
    return {
        "date": datetime.fromtimestamp(ended_unix).strftime(
            "%Y%m%d-%H%M%S"
        ),
        "endpoint_type": backend,
        "backend": backend,
        "label": data.run["label"],
        "model_id": data.study.model,
        "tokenizer_id": None,
        "num_prompts": len(data.requests),
        **{
            key: text for key, text in metadata.items() if text is not None
        },
        "request_rate": level["rate_per_s"] or "inf",
        "burstiness": read_burstiness(level),
        "max_concurrency": level["concurrency"],
    }


def read_burstiness(level: Row) -> float | str:
    """Return the shape of the gamma law of arrivals: 1 is Poisson, less comes in bursts."""
    cv = level["arrival_cv"]
    if cv == 0:
        return "inf"
    return 1.0 if cv is None else 1 / cv**2


def read_lengths(level: Row) -> str | None:
    """Return the length that made-up prompts were to have, or the lengths of a mixture."""
    tokens = level["asked_prompt_tokens"]
    mix: str | None = level["prompt_mix"]
    return mix or (str(tokens) if tokens else None)


def summarize_requests(data: LevelData) -> dict[str, object]:
    """Return the counts and the throughput, of completed requests alone, as vLLM has them."""
    completed, duration_s = data.completed, data.level["duration_s"]
    prompt_tokens = add_known(completed, "prompt_tokens")
    output_tokens = add_known(completed, "output_tokens")
    found: dict[str, object] = {
        "duration": duration_s,
        "completed": len(completed),
        "failed": len(data.requests) - len(completed),
    }
    if prompt_tokens is not None:
        found["total_input_tokens"] = prompt_tokens
    if output_tokens is not None:
        found["total_output_tokens"] = output_tokens
    if not duration_s:
        return found
    found["request_throughput"] = len(completed) / duration_s
    found["request_goodput"] = data.level["goodput_per_s"]
    if output_tokens is not None:
        found["output_throughput"] = output_tokens / duration_s
    if output_tokens is not None and prompt_tokens is not None:
        all_tokens = prompt_tokens + output_tokens
        found["total_token_throughput"] = all_tokens / duration_s
    return found


def add_known(requests: Sequence[Row], column: str) -> int | None:
    """Return the sum of a column; None where any value is unknown."""
    values = [request[column] for request in requests]
    return None if None in values else sum(values)


def list_requests(data: LevelData) -> dict[str, object]:
    """Return the lists with a value for each request, in the order of the requests."""
    rows = data.requests
    gaps = [
        data.find_gaps_s(row)
        if is_completed(row)
        else find_seen_gaps_s(data, row)
        for row in rows
    ]
    found: dict[str, object] = {
        "input_lens": [row["prompt_tokens"] for row in rows],
        "output_lens": [
            row["output_tokens"] if is_completed(row) else 0
            for row in rows
        ],
        "ttfts": [since_sent_s(row, "first_text_ns") for row in rows],
    }
    if None not in gaps:
        found["itls"] = gaps
    return {
        **found,
        "latencies": [
            since_sent_s(row, "last_text_ns") if is_completed(row) else 0.0
            for row in rows
        ],
        "start_times": [find_start_s(row) for row in rows],
        "queue_times": [find_queue_s(row) for row in rows],
        "generated_texts": [
            (row["answer"] if is_completed(row) else None) or ""
            for row in rows
        ],
        "errors": [find_error(row) for row in rows],
    }


def find_seen_gaps_s(data: LevelData, request: Row) -> list[float]:
    """Return the gaps of a request that failed: of what came before."""
    return data.find_gaps_s(request) or []


def is_completed(request: Row) -> bool:
    return bool(request["status"] == "completed")


def since_sent_s(request: Row, column: str) -> float:
    """Return the seconds from when a request was sent; 0.0, as vLLM has it, where it never came."""
    if request[column] is None or request["sent_ns"] is None:
        return 0.0
    seconds: float = (request[column] - request["sent_ns"]) / NS_PER_S
    return seconds


def find_start_s(request: Row) -> float | None:
    """Return when a request was sent, or was due where it never was, since the run began."""
    instant = request["sent_ns"]
    if instant is None:
        instant = request["due_ns"]
    return None if instant is None else instant / NS_PER_S


def find_queue_s(request: Row) -> float:
    """Return how long a request waited in this client after it was due."""
    if request["due_ns"] is None or request["sent_ns"] is None:
        return 0.0
    seconds: float = (request["sent_ns"] - request["due_ns"]) / NS_PER_S
    return max(0.0, seconds)


def find_error(request: Row) -> str:
    """Return what went wrong; "" for a completed request."""
    if is_completed(request):
        return ""
    reason = request["error"]
    ending = str(request["ending"])
    return f"{ending}: {reason}" if reason else ending


def find_peaks(data: LevelData) -> dict[str, object]:
    """Return the most chunks and the most requests of one second, since the first request."""
    import numpy as np

    rows = [row for row in data.completed if row["sent_ns"] is not None]
    known = all(row["id"] in data.chunks_ns for row in rows)
    if not rows or not known:
        return {}
    zero = min(row["sent_ns"] for row in rows)
    last = max(row["last_text_ns"] for row in rows)
    tokens = np.zeros(int((last - zero) / NS_PER_S) + 2)
    active = np.zeros(len(tokens))
    for row in rows:
        instants = np.asarray(data.chunks_ns[row["id"]], dtype=float)
        seconds = ((instants - zero) / NS_PER_S).astype(int)
        np.add.at(tokens, np.clip(seconds, 0, len(tokens) - 1), 1)
        begin, end = (
            int((row[name] - zero) / NS_PER_S)
            for name in ("sent_ns", "last_text_ns")
        )
        active[begin : end + 1] += 1
    return {
        "max_output_tokens_per_s": float(tokens.max()),
        "max_concurrent_requests": int(active.max()),
    }


def describe_draft(completed: Sequence[Row]) -> dict[str, object]:
    """Return what speculative decoding made of its drafts, where the server tells."""
    told = [row for row in completed if row["draft_tokens"] is not None]
    drafted = sum(row["draft_tokens"] for row in told)
    if not drafted:
        return {}
    accepted = sum(row["draft_accepted_tokens"] or 0 for row in told)
    return {
        "spec_decode_acceptance_rate": 100 * accepted / drafted,
        "spec_decode_draft_tokens": drafted,
        "spec_decode_accepted_tokens": accepted,
    }


def describe_latencies(data: LevelData) -> dict[str, object]:
    """Return mean, median, deviation and percentiles in milliseconds, by vLLM's definitions."""
    rows = data.completed
    found = describe(
        "ttft", [since_sent_s(row, "first_text_ns") for row in rows]
    )
    rates = [row for row in rows if (row["output_tokens"] or 0) > 1]
    found |= describe(
        "tpot",
        [row["active_s"] / (row["output_tokens"] - 1) for row in rates],
    )
    gaps = [data.find_gaps_s(row) for row in rows]
    known = [gap for gap in gaps if gap is not None]
    if len(known) == len(gaps):
        found |= describe("itl", [gap for some in known for gap in some])
    return found | describe(
        "e2el", [since_sent_s(row, "last_text_ns") for row in rows]
    )


def describe(name: str, values_s: Sequence[float]) -> dict[str, object]:
    """Return a metric's statistics; nothing without values, where vLLM would write zeros."""
    if not values_s:
        return {}
    import numpy as np

    values = np.asarray(values_s) * MS_PER_S
    return {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": float(np.median(values)),
        f"std_{name}_ms": float(values.std()),
        **{
            f"p{percent}_{name}_ms": float(np.percentile(values, percent))
            for percent in PERCENTILES
        },
    }
