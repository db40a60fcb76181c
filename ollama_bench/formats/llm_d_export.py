"""A level as a Benchmark Report 0.2 of llm-d: a YAML file that its JSON schema accepts.

    DIR/llm-d/<model>/run-<run>-level-<id>.yaml

Percentiles are by nearest rank and stand only where there are values enough, as everywhere here.
What is not known has no key. Joules are beside the watts: the report has no field for them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from sqlite_utils import Database

from ollama_bench import __version__
from ollama_bench.analysis.study import (
    P95_FLOOR,
    P99_FLOOR,
    Row,
    Study,
    read_arguments_of,
)
from ollama_bench.formats.level_data import LevelData, read_levels
from ollama_bench.formats.own_files import write_own
from ollama_bench.statistics.percentiles import nearest_rank

FOLDER = "llm-d"
MARK = "# ollama-bench "
VERSION = "0.2.1"
COMPONENT = "server-0"
LEAST_VALUES = {50: 1, 95: P95_FLOOR, 99: P99_FLOOR}
# above it a gap between chunks is not one between tokens
MOST_TOKENS_PER_CHUNK = 1.05
SETUP = [
    "quantization",
    "parameter_size",
    "family",
    "digest",
    "context_tokens",
    "slots",
    "kv_cache_type",
    "size_bytes",
    "vram_bytes",
]
Report = dict[str, Any]


def write(database: Database, studies: Iterable[Study], top: Path) -> int:
    """Write a file for each level and return how many there are. Raises OutputError, OSError."""
    count = 0
    for study in studies:
        for stage, data in enumerate(read_levels(database, study)):
            text = yaml.safe_dump(build(data, stage), sort_keys=False)
            path = top / FOLDER / study.folder / f"{data.name}.yaml"
            write_own(path, f"{MARK}{__version__}\n{text}", top, MARK)
            count += 1
    return count


def build(data: LevelData, stage: int) -> Report:
    """Return the report of a level, the stage-th of its study from 0 on."""
    return {
        "version": VERSION,
        "run": describe_run(data),
        "scenario": drop_unknown(
            {
                "stack": [describe_server(data)],
                "load": describe_load(data, stage),
            }
        ),
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": describe_requests(data),
                    "latency": describe_latency(data),
                    "throughput": report_throughput(data),
                }
            },
            "observability": report_power(data.level),
        },
    }


def drop_unknown(values: Mapping[str, Any]) -> Report:
    """Return the values that are known."""
    return {
        name: value for name, value in values.items() if value is not None
    }


def digest(*values: object) -> str:
    """Return the same short text for equal values."""
    text = json.dumps(values, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def describe_run(data: LevelData) -> Report:
    level, run = data.level, data.run
    identity = run["started_unix"], data.study.model
    duration_s = level["duration_s"] or 0.0
    times = {
        "start": format_utc(data.started_unix),
        "end": format_utc(data.started_unix + duration_s),
        "duration": f"PT{duration_s:.6f}S",
    }
    return drop_unknown(
        {
            "uid": digest(*identity, run["id"], level["level_id"]),
            "eid": digest(*identity),
            "time": times,
            "description": run["label"],
            "keywords": ["simulated"] if run["simulated"] else None,
        }
    )


def format_utc(unix: float) -> str:
    at = datetime.fromtimestamp(unix, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def describe_server(data: LevelData) -> Report:
    """Return the server as a generic component: an engine's needs counts that nobody knows here."""
    server, machine = data.server or {}, data.study.machine or {}
    setup = drop_unknown({name: server.get(name) for name in SETUP})
    hardware = drop_unknown(
        {
            name: machine.get(name)
            for name in ("chip", "gpu", "cpu_cores", "memory_bytes", "os")
        }
    )
    standardized: Report = {
        "kind": "generic",
        "tool": server.get("server") or server.get("api") or "unknown",
        "tool_version": server.get("server_version") or "unknown",
        "model": {"name": data.study.model, **setup},
        "hardware": hardware,
    }
    return {
        "metadata": {"label": COMPONENT, "cfg_id": digest(standardized)},
        "standardized": standardized,
        "native": {},
    }


def describe_load(data: LevelData, stage: int) -> Report | None:
    """Return the load; None where prompt tokens, which the schema demands, are not known."""
    level = data.level
    lengths = known(data.completed, "prompt_tokens")
    if not lengths:
        return None
    asked = {
        name: level[name]
        for name in (
            *("load", "cache", "repeat", "concurrency"),
            *("asked_prompt_tokens", "prompt_mix"),
        )
    }
    standardized = drop_unknown(
        {
            "tool": "ollama-bench",
            "tool_version": data.run["tool_version"],
            "source": find_source(data.run),
            "stage": stage,
            "input_seq_len": {
                "distribution": "fixed"
                if min(lengths) == max(lengths)
                else "other",
                "value": fmean(lengths),
                "min": min(lengths),
                "max": max(1, max(lengths)),
            },
            "multi_turn": {"enabled": True}
            if any(row["turn"] > 1 for row in data.requests)
            else None,
            "rate_qps": level["rate_per_s"],
            "concurrency": level["concurrency"],
        }
    )
    return {
        "metadata": {"cfg_id": digest(standardized, asked)},
        "standardized": standardized,
        "native": {"config": drop_unknown(asked)},
    }


def find_source(run: Row) -> str:
    """Return where the prompts came from, in the report's words."""
    asked = read_arguments_of(run)
    if asked.get("prompts"):
        return "sampled"
    is_random = asked.get("prompt_tokens") or asked.get("mix")
    return "random" if is_random else "unknown"


def describe_requests(data: LevelData) -> Report:
    completed = data.completed
    return drop_unknown(
        {
            "total": len(data.requests),
            "failures": len(data.requests) - len(completed),
            "input_length": describe(
                "count", known(completed, "prompt_tokens")
            ),
            "output_length": describe(
                "count", known(completed, "output_tokens")
            ),
        }
    )


def known(rows: Sequence[Row], column: str) -> list[Any]:
    return [row[column] for row in rows if row[column] is not None]


def describe_latency(data: LevelData) -> Report:
    completed = data.completed
    normalized = [
        row["e2e_s"] / row["output_tokens"]
        for row in completed
        if row["output_tokens"] and row["e2e_s"] is not None
    ]
    return drop_unknown(
        {
            "time_to_first_token": describe(
                "s", known(completed, "ttft_s")
            ),
            "normalized_time_per_output_token": describe(
                "s/token", normalized
            ),
            "time_per_output_token": describe(
                "s/token", known(completed, "tpot_s")
            ),
            "inter_token_latency": describe("s/token", list_gaps_s(data)),
            "request_latency": describe("s", known(completed, "e2e_s")),
        }
    )


def list_gaps_s(data: LevelData) -> list[float]:
    """Return the gaps between tokens; none where not known, or where tokens share chunks."""
    gaps = [data.find_gaps_s(row) for row in data.completed]
    is_shared = (
        data.level["tokens_per_chunk"] or 1
    ) > MOST_TOKENS_PER_CHUNK
    if None in gaps or is_shared:
        return []
    return [gap for some in gaps for gap in some or []]


def report_throughput(data: LevelData) -> Report:
    """Return the rates of the level, of everything that it made, as in level_summary."""
    level = data.level
    duration_s, prompts = level["duration_s"], level["prompt_tokens"]
    answers_per_s = level["output_tokens_per_s"]
    prompts_per_s = (
        prompts / duration_s
        if prompts is not None and duration_s and answers_per_s is not None
        else None
    )
    all_per_s = (
        prompts_per_s + answers_per_s
        if prompts_per_s is not None
        else None
    )
    rates = {
        "input_token_rate": ("tokens/s", prompts_per_s),
        "output_token_rate": ("tokens/s", answers_per_s),
        "total_token_rate": ("tokens/s", all_per_s),
        "request_rate": ("queries/s", level["requests_per_s"]),
    }
    return {
        name: {"units": units, "mean": value}
        for name, (units, value) in rates.items()
        if value is not None
    }


def describe(units: str, values: Sequence[float]) -> Report | None:
    """Return the statistics of some values; None without any."""
    if not values:
        return None
    ordered = sorted(values)
    mean = fmean(ordered)
    variance = fmean((value - mean) ** 2 for value in ordered)
    return {
        "units": units,
        "mean": mean,
        "stddev": math.sqrt(variance),
        "min": ordered[0],
        **{
            f"p{percent}": nearest_rank(ordered, percent)
            for percent, least in LEAST_VALUES.items()
            if len(ordered) >= least
        },
        "max": ordered[-1],
    }


def report_power(level: Row) -> Report:
    """Return watts and joules; what the schema has no field for is beside its components."""
    aggregate: Report = {}
    if level["mean_w"] is not None:
        aggregate["power_consumption"] = drop_unknown(
            {
                "units": "Watts",
                "mean": level["mean_w"],
                "max": level["max_w"],
            }
        )
    if level["mean_gpu_busy_ratio"] is not None:
        aggregate["gpu_utilization"] = {
            "units": "fraction",
            "mean": level["mean_gpu_busy_ratio"],
        }
    found: Report = {}
    if aggregate:
        found["components"] = [
            {"component_label": COMPONENT, "aggregate": aggregate}
        ]
    joules = {
        "energy_per_output_token": level["joules_per_output_token"],
        "gpu_energy_per_output_token": level[
            "gpu_joules_per_output_token"
        ],
    }
    for name, value in joules.items():
        if value is not None:
            found[name] = {"units": "J/token", "mean": value}
    return found
