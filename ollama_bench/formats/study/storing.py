"""Store imported runs in results.db."""

from __future__ import annotations

import json
from collections import Counter

import sqlite_utils

from ollama_bench.analysis.import_caveats import ORIGINAL_TOOL
from ollama_bench.formats.storing import insert, to_ns
from ollama_bench.formats.study.columns import RequestLine
from ollama_bench.formats.study.levels import Level
from ollama_bench.formats.study.tree import Notes
from ollama_bench.storage.connection import connect

POWER_SCOPE = "the GPU alone, as powermetrics estimates it; processor and memory are not in it"


def store(
    path: str,
    model: str,
    runs: list[tuple[list[Level], str]],
    notes: Notes,
) -> None:
    """Store runs with their keys in one transaction: all of a model or nothing."""
    database = connect(path)
    database.execute("BEGIN IMMEDIATE")
    try:
        for run, key in runs:
            store_run(database, model, run, key, notes)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    finally:
        database.close()


def store_run(
    database: sqlite_utils.Database,
    model: str,
    run: list[Level],
    key: str,
    notes: Notes,
) -> None:
    zero = run[0].started_unix
    run_row = describe_run(model, run, key)
    run_id = insert(database, "run", run_row)
    target = {
        "run_id": run_id,
        "host": "unknown",
        "api": "ollama",
        "model": model,
    }
    target_id = insert(database, "target", target)
    source_id = store_power_source(database, run_id, run)
    pids = sorted({pid for level in run for pid in level.process_samples})
    processes = {
        pid: insert(database, "process", {"run_id": run_id, "pid": pid})
        for pid in pids
    }
    repeats: Counter[int] = Counter()
    for level in run:
        repeats[level.concurrency] += 1
        level_row = make_level_row(level, zero)
        level_row |= {
            "run_id": run_id,
            "model": model,
            "repeat": repeats[level.concurrency],
        }
        level_id = insert(database, "level", level_row)
        store_requests(database, level_id, target_id, level, zero)
        store_samples(database, source_id, processes, level, zero)
    for text in notes.lines():
        detail = f"of all runs of {model}: {text}"
        event = {
            "run_id": run_id,
            "kind": "import_left_out",
            "detail": detail,
        }
        insert(database, "event", event)


def describe_run(
    model: str, run: list[Level], key: str
) -> dict[str, object]:
    last = max(level.ended_unix for level in run)
    levels = [level.concurrency for level in run]
    return {
        "label": f"{model} (imported)",
        "source": "import",
        "status": "finished",
        "started_unix": run[0].started_unix,
        "ended_ns": to_ns(last - run[0].started_unix),
        "tool_version": ORIGINAL_TOOL,
        "import_key": key,
        "arguments": json.dumps({"model": model, "levels": levels}),
    }


def make_level_row(level: Level, zero: float) -> dict[str, object]:
    """Return the row of a level of a run that began at zero, in seconds since 1970."""
    return {
        "concurrency": level.concurrency,
        "status": "finished",
        "started_ns": to_ns(level.started_unix - zero),
        "ended_ns": to_ns(level.ended_unix - zero),
    }


def store_power_source(
    database: sqlite_utils.Database, run_id: int, run: list[Level]
) -> int | None:
    """Store where the power comes from; return None when no level has any."""
    samples = sum(len(level.power_samples) for level in run)
    if not samples:
        return None
    source = {
        "run_id": run_id,
        "name": "powermetrics",
        "device": "gpu",
        "kind": "gauge",
        "status": "ok",
        "scope": POWER_SCOPE,
        "samples": samples,
    }
    return insert(database, "power_source", source)


def store_requests(
    database: sqlite_utils.Database,
    level_id: int,
    target_id: int,
    level: Level,
    zero: float,
) -> None:
    sent_ns = to_ns(level.started_unix - zero)
    for line in level.requests:
        row = {
            "level_id": level_id,
            "target_id": target_id,
            "number": line["RequestID"],
            "sent_ns": sent_ns,
            **describe_outcome(line, sent_ns),
        }
        insert(database, "request", row)


def describe_outcome(line: RequestLine, sent_ns: int) -> dict[str, object]:
    """Return how a request ended. Zeros that the tool wrote for what it did not know are NULL."""
    http_status, noted = line["StatusCode"], f"noted as {line['Status']}"
    if http_status != 200:
        error = f"status {http_status}, {noted}"
        return {
            "http_status": http_status,
            "status": "http_error",
            "error": error,
        }
    if line["TTFB"] == 0 and line["ResponseDuration"] == 0:
        error = f"no duration, {noted}"
        return {
            "http_status": http_status,
            "status": "empty",
            "error": error,
        }
    first_ns = sent_ns + to_ns(line["TTFB"])
    last_ns = first_ns + to_ns(line["ResponseDuration"])
    is_completed = line["Status"] == "Completed"
    return {
        "http_status": http_status,
        "status": "completed" if is_completed else "truncated",
        "error": None if is_completed else noted,
        "first_text_ns": first_ns,
        "last_text_ns": last_ns,
        "ended_ns": last_ns,
        "output_tokens": line["TokenCount"],
        "output_tokens_source": "words",
    }


def store_samples(
    database: sqlite_utils.Database,
    source_id: int | None,
    processes: dict[int, int],
    level: Level,
    zero: float,
) -> None:
    for sample in level.power_samples:
        energy_j = sample.watts * (sample.end_unix - sample.start_unix)
        power_row = {
            "source_id": source_id,
            "start_ns": to_ns(sample.start_unix - zero),
            "end_ns": to_ns(sample.end_unix - zero),
            "energy_j": energy_j,
            "gpu_energy_j": energy_j,
            "gpu_busy_ratio": sample.busy_ratio,
            "gpu_mhz": sample.mhz,
        }
        insert(database, "power_sample", power_row)
    for pid, samples in level.process_samples.items():
        for line in samples.values():
            fds = line["FDs"]
            process_row = {
                "process_id": processes[pid],
                "at_ns": to_ns(line["Timestamp"] - zero),
                "cpu_ratio": line["CPU%"] / 100,
                "memory_ratio": line["MEM%"] / 100,
                "rss_bytes": line["RSS"] * 1024,
                "vms_bytes": line["VSZ"] * 1024,
                "threads": line["Threads"],
                "fds": None if fds is None else int(fds),
            }
            insert(database, "process_sample", process_row)
