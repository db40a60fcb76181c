"""The columns of the original tool's files, and how their values are read."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TypedDict

Value = int | float | str | None

DURATION_METRICS = "duration_metrics.csv"  # a line per level
REQUEST_SUMMARY = "request_summary.csv"
GPU_METRICS = "gpu_metrics.csv"
PROCESS = "process"  # of process_<pid>_metrics.csv


class LevelLine(TypedDict):
    Timestamp: float
    Concurrency: int
    MaxDuration: float
    MinDuration: float
    AvgDuration: float
    P99Duration: float


class RequestLine(TypedDict):
    RequestID: int
    TTFB: float
    TotalDuration: float
    ResponseDuration: float
    WaitingTime: float
    TokenCount: int
    StatusCode: int
    Status: str


GpuLine = TypedDict(
    "GpuLine",
    {
        "Timestamp": float,
        "Usage%": float | None,
        "Power(W)": float,
        "Frequency(MHz)": float | None,
    },
)
ProcessLine = TypedDict(
    "ProcessLine",
    {
        "Timestamp": float,
        "PID": int,
        "CPU%": float,
        "MEM%": float,
        "Threads": int,
        "FDs": float | None,
        "VSZ": int,
        "RSS": int,
    },
)

# The kind of each column; a line that does not fit was cut or is not of the tool.
COLUMNS = {
    DURATION_METRICS: {
        "Timestamp": "time",
        "Concurrency": "count",
        "MaxDuration": "number",
        "MinDuration": "number",
        "AvgDuration": "number",
        "P99Duration": "number",
    },
    REQUEST_SUMMARY: {
        "RequestID": "count",
        "TTFB": "number",
        "TotalDuration": "number",
        "ResponseDuration": "number",
        "WaitingTime": "number",
        "TokenCount": "count",
        "StatusCode": "count",
        "Status": "word",
    },
    GPU_METRICS: {
        "Timestamp": "time",
        "Usage%": "maybe",
        "Power(W)": "number",
        "Frequency(MHz)": "maybe",
    },
    PROCESS: {
        "Timestamp": "time",
        "PID": "count",
        "CPU%": "number",
        "MEM%": "number",
        "Threads": "count",
        "FDs": "maybe",
        "VSZ": "count",
        "RSS": "count",
    },
}
PATTERNS = {
    "time": re.compile(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)",
        re.ASCII,
    ),
    # 1,024 times as much still fits SQLite's 64 bits
    "count": re.compile(r"\d{1,15}", re.ASCII),
    # Nothing lasts or takes ten million seconds, watts or megahertz.
    "number": re.compile(r"\d{1,7}(\.\d{1,9})?", re.ASCII),
    # empty where our export knew nothing
    "maybe": re.compile(r"(\d{1,7}(\.\d{1,9})?)?", re.ASCII),
    "word": re.compile(r"[A-Za-z_]{1,40}"),
}
FRACTION = re.compile(r"\.(\d{1,6})")


def parse_line(kind: str, text: str) -> dict[str, Value] | None:
    """Parse a line of this kind of file; return None when it does not fit its columns."""
    columns = COLUMNS[kind]
    texts = text.rstrip("\r").split(",")
    if len(texts) != len(columns):
        return None
    values: dict[str, Value] = {}
    for (name, column_kind), value in zip(
        columns.items(), texts, strict=True
    ):
        if not fits(column_kind, value):
            return None
        values[name] = parse_value(column_kind, value)
    return values


def fits(kind: str, text: str) -> bool:
    """Whether a text can be a value of this kind."""
    if PATTERNS[kind].fullmatch(text) is None:
        return False
    return kind != "time" or to_unix(text) is not None


def parse_value(kind: str, text: str) -> Value:
    match kind:
        case "time":
            return to_unix(text)
        case "maybe":
            return float(text) if text else None
        case "count":
            return int(text)
        case "number":
            return float(text)
    return text


def to_unix(text: str) -> float | None:
    """Turn RFC 3339 into seconds since 1970; return None when it is not a date."""
    # Python 3.10 reads fractions of 3 or 6 digits only.
    whole = FRACTION.sub(
        lambda found: f".{found[1]:0<6}", text.replace("Z", "+00:00")
    )
    try:
        return datetime.fromisoformat(whole).timestamp()
    except ValueError:
        return None
