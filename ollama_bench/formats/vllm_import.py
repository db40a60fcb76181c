"""Read the JSON of `vllm bench serve --save-result --save-detailed`: each object is one level.

A first token is vLLM's: the first chunk, which may be without text. It keeps no status of a
request, only an error; and its clock begins anywhere, so the run's date is that of the file.
"""

from __future__ import annotations

# strptime imports it late, when root may be given up and its Python unreadable
import _strptime  # type: ignore[import-not-found]  # noqa: F401
import math
from datetime import datetime
from itertools import accumulate

from ollama_bench.formats.json_file import (
    Fields,
    ImportFileError,
    Record,
    as_count,
    as_finite,
    as_text,
    expected,
)
from ollama_bench.formats.measured import (
    MOST_ERROR,
    MeasuredLevel,
    MeasuredRequest,
    MeasuredRun,
    classify,
    peak_in_flight,
)

TOOL = "vllm bench serve"
# of --save-detailed, all with a value for each request
DETAILS = (
    "input_lens",
    "output_lens",
    "ttfts",
    "itls",
    "start_times",
    "generated_texts",
    "errors",
)
# burstiness of arrivals at even gaps: as vLLM writes it, and as our export does
EVEN = (math.inf, "inf")
LOADS = ("burst", "closed", "open")
APIS = ("ollama", "openai")


def is_vllm(record: Record) -> bool:
    """Return whether an object is of this tool."""
    return "model_id" in record and "request_throughput" in record


def read(record: Record, label: str) -> MeasuredRun:
    """Return what an object tells. Raises ImportFileError."""
    fields = Fields(record, "")
    missing = [key for key in DETAILS if key not in record]
    if missing:
        raise ImportFileError(
            f"no {missing[0]}: expected what vllm bench serve --save-detailed writes"
        )
    is_open = record.get("request_rate") not in (None, "inf")
    requests = read_requests(fields, is_open)
    if not requests:
        raise ImportFileError("no requests")
    sent = [one.sent_s for one in requests if one.sent_s is not None]
    started_s = min(sent, default=0.0)
    duration_s = fields.needed("duration")
    level = MeasuredLevel(
        concurrency=fields.count("max_concurrency")
        or peak_in_flight(requests),
        load=find_load(fields, is_open, len(requests)),
        rate_per_s=fields.number("request_rate") if is_open else None,
        started_s=started_s,
        ended_s=started_s + duration_s,
        requests=requests,
        arrival_cv=read_arrival_cv(fields) if is_open else None,
    )
    if not level.concurrency:
        raise expected("max_concurrency", 0, "1 or more")
    backend = fields.short_text("backend")
    tool = fields.short_text("tool") or TOOL
    return MeasuredRun(
        tool=tool,
        model=fields.short_text("model_id") or "unknown",
        label=fields.short_text("label") or label,
        started_unix=find_end_unix(fields) - duration_s,
        zero_s=started_s,
        levels=[level],
        api=backend if backend in APIS else "openai",
        server=fields.short_text("server"),
        server_version=fields.short_text("server_version")
        or fields.short_text("vllm_version"),
        quantization=fields.short_text("quantization"),
        is_simulated=record.get("simulated") == "true",
    )


def find_load(fields: Fields, is_open: bool, requests: int) -> str:
    """Return the kind of load; our own export names it."""
    told = fields.text("load")
    if told in LOADS:
        return told
    if is_open:
        return "open"
    most = fields.count("max_concurrency")
    return "burst" if most is None or most >= requests else "closed"


def read_arrival_cv(fields: Fields) -> float | None:
    """Return how the times between arrivals vary, of the shape of their gamma law."""
    if fields.get("burstiness") in EVEN:
        return 0.0
    shape = fields.number("burstiness")
    if shape == 0:
        raise expected("burstiness", shape, "a number above 0")
    return None if shape is None else 1 / math.sqrt(shape)


def find_end_unix(fields: Fields) -> float:
    """Return when the file was made, by its date of this machine's time zone."""
    date = fields.text("date") or ""
    try:
        return datetime.strptime(date, "%Y%m%d-%H%M%S").timestamp()
    except (ValueError, OverflowError, OSError):
        raise expected("date", date, "YYYYMMDD-HHMMSS") from None


def read_requests(fields: Fields, is_open: bool) -> list[MeasuredRequest]:
    """Return the requests of the lists, which must be of one length."""
    lists = [fields.list(key) for key in DETAILS]
    count = len(lists[0])
    for key, values in zip(DETAILS, lists, strict=True):
        if len(values) != count:
            raise ImportFileError(
                f"{len(values)} {key} and {count} {DETAILS[0]}: expected as many"
            )
    queues = fields.list("queue_times")
    if not is_open or len(queues) != count:
        queues = [None] * count
    return [
        read_request(*values)
        for values in zip(*lists, queues, strict=True)
    ]


def read_request(
    prompt: object,
    output: object,
    ttft: object,
    gaps: object,
    start: object,
    text: object,
    error: object,
    queue: object,
) -> MeasuredRequest:
    """Return one request of the values at one place of the lists."""
    sent_s = as_finite(start, "start_times")
    ttft_s = as_finite(ttft, "ttfts")
    tokens = as_count(output, "output_lens")
    said = as_text(error, "errors")
    queue_s = as_finite(queue, "queue_times")
    due_s = None
    if queue_s is not None and sent_s is not None:
        due_s = sent_s - queue_s
    if said is not None or not ttft_s or sent_s is None:
        return MeasuredRequest(
            status=classify(said) if said else "empty",
            sent_s=sent_s,
            due_s=due_s,
            error=(said or "no chunk")[:MOST_ERROR],
            prompt_tokens=as_count(prompt, "input_lens"),
        )
    chunks_s = list(accumulate(read_gaps(gaps), initial=sent_s + ttft_s))
    return MeasuredRequest(
        status="completed",
        sent_s=sent_s,
        due_s=due_s,
        first_text_s=chunks_s[0],
        last_text_s=chunks_s[-1],
        ended_s=chunks_s[-1],
        chunks_s=chunks_s,
        chunks=len(chunks_s),
        output_tokens=tokens,
        prompt_tokens=as_count(prompt, "input_lens"),
        answer=as_text(text, "generated_texts"),
    )


def read_gaps(gaps: object) -> list[float]:
    if not isinstance(gaps, list):
        raise expected("itls", gaps, "a list for each request")
    numbers = [as_finite(gap, "itls") for gap in gaps]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise expected("itls", None, "a number of 0 or more")
    return found
