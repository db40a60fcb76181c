"""Read GuideLLM's benchmarks.json (0.5 and newer): each of its benchmarks is a level.

A benchmark of which GuideLLM kept only a sample of the requests is left out: its throughput
cannot be told from them. The instants of single chunks are in no file.
"""

from __future__ import annotations

from ollama_bench.formats.json_file import (
    Fields,
    ImportFileError,
    Record,
)
from ollama_bench.formats.measured import (
    MOST_ERROR,
    MeasuredLevel,
    MeasuredRequest,
    MeasuredRun,
    classify,
    peak_in_flight,
)

TOOL = "guidellm"
# strategies of an open load whose arrivals follow a known law
ARRIVAL_CVS = {"constant": 0.0, "poisson": 1.0}
CLOSED = ("synchronous", "concurrent", "throughput")
GROUPS = ("successful", "errored", "incomplete")


def is_guidellm(record: Record) -> bool:
    """Return whether an object is of this tool."""
    metadata = record.get("metadata")
    return isinstance(record.get("benchmarks"), list) and (
        isinstance(metadata, dict) and "guidellm_version" in metadata
    )


def read(record: Record, label: str) -> MeasuredRun:
    """Return what a report tells. Raises ImportFileError."""
    fields = Fields(record, "")
    version = fields.fields("metadata").short_text("guidellm_version")
    benchmarks = fields.fields_of("benchmarks")
    left_out = []
    levels = []
    for place, benchmark in enumerate(benchmarks):
        level = read_level(benchmark)
        kept, total = len(level.requests), count_all(benchmark)
        if not kept or kept < total:
            left_out.append(
                f"benchmark {place}: it has {kept:,} of its {total:,} requests"
            )
        else:
            levels.append(level)
    if not levels:
        raise ImportFileError(
            "no benchmark that has all its requests: "
            "expected one made without a sample size"
        )
    zero_s = min(find_first_s(level) for level in levels)
    backend = benchmarks[0].fields("config").fields("backend")
    return MeasuredRun(
        tool=f"{TOOL} {version or ''}".strip(),
        model=backend.short_text("model") or "unknown",
        label=label,
        started_unix=zero_s,
        zero_s=zero_s,
        levels=levels,
        host=hide_user(backend.short_text("target") or "unknown"),
        left_out=left_out,
    )


def hide_user(url: str) -> str:
    """Return a URL without the user and password that it may hold."""
    scheme, slashes, rest = url.partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def find_first_s(level: MeasuredLevel) -> float:
    """Return when the level or its first request began, whichever was earlier."""
    sent = [request.sent_s for request in level.requests]
    return min(
        level.started_s,
        *(instant for instant in sent if instant is not None),
        level.ended_s,
    )


def count_all(benchmark: Fields) -> int:
    """Return how many requests a benchmark measured, kept or not."""
    totals = benchmark.fields("metrics").fields("request_totals")
    return sum(totals.count(group) or 0 for group in GROUPS)


def read_level(benchmark: Fields) -> MeasuredLevel:
    """Return a benchmark as a level."""
    strategy = benchmark.fields("config").fields("strategy")
    kind = strategy.text("type_") or ""
    is_open = kind not in CLOSED
    groups = benchmark.fields("requests")
    requests = [
        read_request(request, group, is_open)
        for group in GROUPS
        for request in groups.fields_of(group)
    ]
    requests.sort(key=lambda request: request.sent_s or 0.0)
    streams = strategy.count("streams") or strategy.count(
        "max_concurrency"
    )
    concurrency = 1 if kind == "synchronous" else streams
    concurrency = concurrency or peak_in_flight(requests)
    load = "closed" if len(requests) > concurrency else "burst"
    return MeasuredLevel(
        concurrency=concurrency,
        load="open" if is_open else load,
        rate_per_s=strategy.number("rate") if is_open else None,
        started_s=benchmark.needed("start_time"),
        ended_s=benchmark.needed("end_time"),
        requests=requests,
        arrival_cv=ARRIVAL_CVS.get(kind),
    )


def read_request(
    request: Fields, group: str, is_open: bool
) -> MeasuredRequest:
    """Return one request of a group: successful, errored, or cut at the end of the benchmark."""
    info = request.fields("info")
    timings = info.fields("timings")
    status, error = "completed", None
    if group == "incomplete":
        status, error = "cancelled", "cut at the end of the benchmark"
    elif group == "errored":
        error = (info.text("error") or "no reason told")[:MOST_ERROR]
        status = classify(error)
    elif "first_token_iteration" not in timings:
        status, error = "empty", "no token"
    return MeasuredRequest(
        status=status,
        error=error,
        sent_s=timings.number("request_start"),
        due_s=timings.number("targeted_start") if is_open else None,
        first_text_s=timings.number("first_token_iteration"),
        first_answer_s=timings.number("first_output_token_iteration"),
        last_text_s=timings.number("last_token_iteration"),
        ended_s=timings.number("request_end"),
        chunks=timings.count("token_iterations"),
        output_tokens=request.count("output_tokens"),
        prompt_tokens=request.count("prompt_tokens"),
        cached_tokens=request.count("cached_tokens"),
        reasoning=request.text("reasoning_output"),
        answer=request.text("output"),
    )
