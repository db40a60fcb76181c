"""describe.py - says in metadata.yaml what every table, view and column of results.db means.

    python describe.py         write metadata.yaml anew, after a change of schema.sql
    datasette results.db -m metadata.yaml     (or: datasette . )

A table's columns are described by the comments in schema.sql, so that a meaning stands in
one place; what a view computes is described here.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path

import db

METADATA = Path(__file__).with_name("metadata.yaml")

WORDS = {  # columns that views compute, and keys
    "id": "number of the row",
    "run_id": "the run",
    "level_id": "the level",
    "request_id": "the request",
    "target_id": "the model on its server",
    "machine_id": "the computer",
    "source_id": "the power source",
    "process_id": "the process",
    "model": "the model as asked for",
    "started_utc": "when the run began, UTC",
    "duration_s": "from beginning to end, seconds",
    "models": "models measured",
    "levels_finished": "levels that were measured to the end",
    "requests": "requests counted in this row",
    "chip": "processor as the system names it",
    "gpu": "graphics processors",
    "os": "system, release and architecture",
    "metric": "which latency or rate",
    "n": "values that the statistics rest on",
    "mean": "arithmetic mean",
    "min": "the least",
    "p50": "median, nearest rank",
    "p95": "95th percentile, nearest rank; NULL below 20 values",
    "p99": "99th percentile, nearest rank; NULL below 100 values",
    "max": "the most",
    "peak_streaming": "the most requests that were answered at the same time: the server's slots seen from outside",
    "in_flight": "requests that have not ended",
    "completed": "requests that ended well",
    "errors": "requests that ended otherwise",
    "error_ratio": "errors / (completed + errors), 0 to 1",
    "prompt_tokens": "tokens of the prompts",
    "chunks": "chunks with text",
    "ttft_mean_s": "wait for the first token, mean",
    "ttft_p50_s": "wait for the first token, median",
    "ttft_p95_s": "wait for the first token, 95th percentile; NULL below 20 requests",
    "ttft_p99_s": "wait for the first token, 99th percentile; NULL below 100 requests",
    "ttft_max_s": "wait for the first token, longest",
    "ttfat_mean_s": "wait for the first token of the answer, after any reasoning, mean",
    "tokens_per_s_mean": "tokens per second of one request, mean",
    "tokens_per_s_p50": "tokens per second of one request, median",
    "tokens_per_s_min": "tokens per second of the slowest request",
    "tpot_mean_s": "time per output token, mean",
    "e2e_mean_s": "from sending to the last text, mean",
    "e2e_p50_s": "from sending to the last text, median",
    "e2e_p95_s": "from sending to the last text, 95th percentile; NULL below 20 requests",
    "e2e_p99_s": "from sending to the last text, 99th percentile; NULL below 100 requests",
    "e2e_max_s": "from sending to the last text, longest",
    "e2e_s": "from sending to the last text",
    "output_tokens": "tokens generated",
    "output_tokens_per_s": "tokens per second of all streams together",
    "requests_per_s": "completed requests per second",
    "example": "one of the errors, in the server's words",
    "status": "how it ended or how it stands",
    "queue_s": "waiting for a slot, mean",
    "load_s": "loading the model, mean",
    "prefill_s": "evaluating the prompt, mean",
    "decode_s": "generating, mean",
    "total_s": "the whole request by the server's clock, mean",
    "idle_w": "mean power in the idle baseline",
    "source": "where the watts come from",
    "name": "its name",
    "device": "which device",
    "coverage_ratio": "share of the level that samples cover, 0 to 1",
    "energy_j": "energy; NULL when samples cover less than 95 % of the level",
    "net_energy_j": "energy less what idling would have taken",
    "mean_w": "mean power",
    "max_w": "highest power of a sample",
    "mean_gpu_mhz": "mean GPU clock",
    "mean_gpu_busy_ratio": "share of the time the GPU was busy, 0 to 1",
    "samples": "samples counted",
    "joules_per_output_token": "energy of the level / its output tokens",
    "net_joules_per_output_token": "the same less idle power",
    "output_tokens_per_joule": "output tokens of the level / its energy",
    "energy_wh": "energy in watt hours",
    "min_output_tokens": "tokens of the shortest reply",
    "mean_output_tokens": "tokens of a reply, mean",
    "max_output_tokens": "tokens of the longest reply",
    "cut_by_length": "replies that ended at the limit of tokens",
    "cached_tokens": "prompt tokens taken from the prompt cache",
    "max_load_s": "the longest wait for loading the model",
    "mean_cpu_ratio": "share of all cores busy, mean, 0 to 1",
    "max_memory_used_bytes": "most physical memory in use",
    "swap_change_bytes": "most less least swap in use",
    "server_processes": "processes of the server that were seen",
    "server_cpu_cores": "cores that the server's processes kept busy, mean",
    "server_max_rss_bytes": "their largest resident memory, summed",
    "server_max_threads": "their most threads, summed",
    "server_max_fds": "their most open files, summed",
    "thermal_samples": "samples that carry the system's word on heat",
    "hot_samples": "of these, not nominal",
    "max_temperature_c": "highest temperature, degrees Celsius",
    "number": "1 to n within its level",
    "sent_at_s": "when it was sent, since the run began",
    "first_text_at_s": "when its first text came, since the run began",
    "first_answer_at_s": "when its answer began, since the run began",
    "last_text_at_s": "when its last text came, since the run began",
    "ended_at_s": "when it ended, since the run began",
    "at_s": "the moment, since the level or the run began",
    "waiting": "requests that wait for their first text",
    "answering": "requests whose text is coming",
    "failed": "requests that have failed",
    "start_at_s": "the sample covers from here, since the run began",
    "end_at_s": "to here, since the run began",
    "power_w": "mean power of the sample",
    "gpu_power_w": "mean power of the GPU",
    "process": "role or name, and pid",
    "pid": "number of the process",
    "threads": "threads",
    "detail": "what happened, in words",
    "at_ns": "instant, nanoseconds since the run began",
    "memory_used_bytes": "physical memory not available to programs",
    "swap_used_bytes": "swap in use",
    "RequestID": "1 to n within its level",
    "TTFB": "wait for the first token",
    "TotalDuration": "from sending to the last text",
    "ResponseDuration": "first to last text",
    "WaitingTime": "wait for the first token",
    "TokenCount": "output tokens",
    "StatusCode": "HTTP status",
    "Status": "how it ended",
    "Timestamp": "UTC",
    "Throughput": "tokens per second between first and last text",
    "Concurrency": "requests at once",
    "MaxDuration": "longest time from first to last text",
    "MinDuration": "shortest",
    "AvgDuration": "mean",
    "P99Duration": "99th percentile; NULL below 100 values (the original wrote the longest)",
    "Usage%": "share of the time the GPU was busy, per cent",
    "Power(W)": "power of the GPU",
    "Frequency(MHz)": "clock of the GPU",
    "PID": "number of the process",
    "CPU%": "100 is one core",
    "MEM%": "resident / physical memory, per cent",
    "Threads": "threads",
    "FDs": "open files; NULL when not permitted",
    "VSZ": "virtual memory, KiB",
    "RSS": "resident memory, KiB; on macOS without most GPU memory",
    "tpot_s": "time per output token: first to last text / (output_tokens - 1)",
    "tokens_per_s": "1 / tpot_s",
    "temperature_c": "temperature, degrees Celsius",
    "ttft_mean_low_s": "95 % interval of the mean wait for the first token, lower end",
    "ttft_mean_high_s": "95 % interval of the mean wait for the first token, upper end",
    "tokens_per_s_mean_low": "95 % interval of the mean tokens/s of a request, lower end",
    "tokens_per_s_mean_high": "95 % interval of the mean tokens/s of a request, upper end",
    "ttft_p95_with_errors_s": "wait for the first token, 95th percentile with failures as infinite; NULL where that is the answer",
    "ttft_p99_with_errors_s": "wait for the first token, 99th percentile with failures as infinite; NULL where that is the answer",
    "good_requests": "requests that met every objective of the run",
    "good_ratio": "their share, 0 to 1, without those that this client cut before it could be told; NULL for a run without objectives",
    "superseded": "1: an interrupted level that --resume fired again to its end: leave it out",
    "goodput_per_s": "requests per second that met every objective",
    "cold_ttft_mean_s": "mean wait with a prompt cache that misses",
    "warm_ttft_mean_s": "mean wait with a prompt cache that hits",
    "ttft_saved_ratio": "share of the wait that the cache saves, 0 to 1",
    "cold_output_tokens_per_s": "tokens per second of all, cold",
    "warm_output_tokens_per_s": "tokens per second of all, warm",
    "cold_cached_ratio": "share of the prompt tokens that the cold level took from the prompt cache, 0 to 1; NULL when the server does not tell",
    "warm_cached_ratio": "the same of the warm level: near the cold one, the cache did not hit",
    "cold_level_id": "the cold level",
    "warm_level_id": "the warm level",
    "server_queue_ns": "what is left of the server's total: waiting for a slot",
}
UNITS = {"_s": "s", "_ns": "ns", "_w": "W", "_j": "J", "_bytes": "byte", "_mhz": "MHz"}  # by ending; a rate ends in _per_s and has none
SECONDS = {"TTFB", "TotalDuration", "ResponseDuration", "WaitingTime", "MaxDuration", "MinDuration", "AvgDuration", "P99Duration"}
SHOWN = {  # how Datasette orders and filters a table or view at first
    "runs": {"sort_desc": "run_id", "facets": ["source", "status", "models"]},
    "run": {"sort_desc": "id", "label_column": "title"},
    "level_summary": {"sort_desc": "run_id", "facets": ["run_id", "model", "concurrency", "simulated"]},
    "energy_summary": {"sort_desc": "run_id", "facets": ["run_id", "model", "simulated"]},
    "energy_by_source": {"sort_desc": "run_id", "facets": ["run_id", "source"]},
    "server_split": {"sort_desc": "run_id", "facets": ["run_id", "model"]},
    "outcomes": {"sort_desc": "run_id", "facets": ["run_id", "status"]},
    "request": {"sort_desc": "id", "facets": ["status", "done_reason"]},
    "level": {"sort_desc": "id", "facets": ["model", "concurrency", "status"]},
    "machine": {"label_column": "chip"},
    "target": {"label_column": "model", "facets": ["model", "server"]},
    "power_source": {"label_column": "name", "facets": ["name", "status"]},
    "process": {"label_column": "role", "facets": ["role"]},
    "event": {"sort_desc": "id", "facets": ["kind"]},
    "request_summary": {"facets": ["run_id", "model", "concurrency", "Status"]},
}


def main() -> int:
    METADATA.write_text(text(), encoding="utf-8")
    print(f"{METADATA.name} describes {len(described())} tables and views")
    return 0


def text() -> str:
    """metadata.yaml. Strings are written as JSON, which YAML takes as they are."""
    lines = [
        "# Written by describe.py from the comments in schema.sql: change those, then run it.",
        'title: "ollama-bench: how many at once, how fast, for how many joules"',
        "databases:",
        "  results:",
        "    tables:",
    ]
    for name, (meaning, columns) in described().items():
        lines += [f"      {name}:", f"        description: {json.dumps(meaning)}"]
        lines += [f"        {key}: {json.dumps(value)}" for key, value in SHOWN.get(name, {}).items()]
        lines += ["        columns:"] + [f"          {json.dumps(column)}: {json.dumps(words)}" for column, words in columns.items()]
        units = {column: unit for column in columns if (unit := unit_of(column))}
        if units:
            lines += ["        units:"] + [f"          {json.dumps(column)}: {unit}" for column, unit in units.items()]
    return "\n".join(lines) + "\n"


def described() -> dict[str, tuple[str, dict[str, str]]]:
    """Every table and view with its meaning and those of its columns, as schema.sql orders them."""
    connection = sqlite3.connect(":memory:")
    found, comments = {}, {}
    for statement in db.statements():
        connection.execute(statement)
        match = re.search(r"CREATE (TABLE IF NOT EXISTS|VIEW) (\w+)[^\n]*?--\s*(.+)", statement)
        if not match:
            continue
        names = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({match[2]})")]
        if match[1] != "VIEW":
            own = {name: comment for name in names if (comment := comment_on(statement, name))}
            comments = {**own, **comments}
            found[match[2]] = match[3], {name: own.get(name) or words(match[2], name) for name in names}
        else:
            found[match[2]] = match[3], {name: WORDS.get(name) or comments.get(name) or words(match[2], name) for name in names}
    connection.close()
    return found


def words(table: str, column: str) -> str:
    if column not in WORDS:
        raise SystemExit(f"describe.py: no words for {table}.{column}: comment it in schema.sql, or add it to WORDS")
    return WORDS[column]


def comment_on(statement: str, column: str) -> str | None:
    """The comment on a column's line of a CREATE TABLE."""
    match = re.search(rf"^  {column} [^\n]*?--\s*(.+)$", statement, re.M)
    return match[1] if match else None


def unit_of(column: str) -> str | None:
    if column in SECONDS:
        return "s"
    if column == "Power(W)":
        return "W"
    if column == "Frequency(MHz)":
        return "MHz"
    ending = next((ending for ending in UNITS if column.endswith(ending)), None)
    return UNITS[ending] if ending and not column.endswith("_per_s") else None


if __name__ == "__main__":
    sys.exit(main())
