"""The table of the levels on the page, and what its words mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from ollama_bench.analysis.crowd import noun
from ollama_bench.analysis.intervals import find_intervals, write_interval
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.report.recomputed import FIGURES, mark
from ollama_bench.terminal.output import clean
from ollama_bench.terminal.rows import GPU_COLUMNS, is_gpu_alone


def write_count(value: int) -> str:
    return f"{value:,}"


class Column(NamedTuple):
    """A column of the table: its heading, the column of a level, how a value is written."""

    heading: str
    name: str
    write: Callable[[Any], str]


COLUMNS = (
    Column("run", "run_id", str),
    Column("at once", "concurrency", str),
    Column("requests/s asked", "probe_rate_per_s", digits),
    Column("repeat", "repeat", str),
    Column("done", "completed", str),
    Column("failed", "errors", str),
    Column("good", "good", str),
    Column("tokens in", "prompt_tokens_mean", digits),
    Column("tokens out", "output_tokens_mean", digits),
    Column("prompts cut", "prompts_cut", str),
    Column("replies cut", "replies_cut", str),
    Column("wait, mean", "ttft_mean_s", seconds),
    Column("p50", "ttft_p50_s", seconds),
    Column("p95", "ttft_p95_s", seconds),
    Column("p99", "ttft_p99_s", seconds),
    Column("tokens/s each", "tokens_per_s_mean", digits),
    Column("least", "tokens_per_s_min", digits),
    Column("tokens/s all", "output_tokens_per_s", digits),
    Column("tokens/chunk", "tokens_per_chunk", digits),
    Column("requests/s", "requests_per_s", digits),
    Column("offered/s", "offered_per_s", digits),
    Column("answered/s", "answered_per_s", digits),
    Column("undecided", "undecided_requests", write_count),
    Column("at full load", "full_load_tokens_per_s", digits),
    Column("whole reply", "e2e_mean_s", seconds),
    Column("W", "mean_w", digits),
    Column("J/token", "joules_per_output_token", digits),
    Column("less idle", "net_joules_per_output_token", digits),
    Column("whole machine, W", "system_power_w", digits),
    Column(
        "whole machine, J/token", "system_joules_per_output_token", digits
    ),
    Column("GPU alone, W", "gpu_power_w", digits),
    Column("GPU alone, J/token", "gpu_joules_per_output_token", digits),
    Column("ran at once", "peak_streaming", digits),
    Column("took", "duration_s", seconds),
)
DEFINITIONS = (
    ("repeat", "the first, second ... time of a level in its run"),
    (
        "wait (TTFT)",
        "from just before the request is written to the first chunk with text, answer or reasoning",
    ),
    (
        "tokens/s each",
        "output tokens after the first chunk / (last - first chunk with text) of a completed "
        "request; the mean of them",
    ),
    (
        "tokens/s all",
        "output tokens of the level / its time from the first request "
        "to the end of the last stream: of a burst, it measures the longest reply",
    ),
    (
        "at full load",
        "the same while the load was full: between the first and the last instant at which at "
        "least 90 % of the most streams were active, or the steady part of a load that goes on; "
        "blank where less than a tenth of the tokens came then. Levels are compared by it",
    ),
    (
        "95 % interval of a mean",
        "over the repeats of a level; without repeats it speaks of this burst alone, whose "
        "requests share the state of the machine. The wider of Student's and of Cox's for a "
        "log-normal law",
    ),
    (
        "tokens/chunk",
        "output tokens / chunks, where the server counts tokens: above 1 with speculative "
        "decoding, or where a server holds text back",
    ),
    ("requests/s", "completed requests / the same time"),
    (
        "offered, answered",
        "requests a second that came due and that were completed, once the server's slots were "
        "filled until the last request was due (--rate)",
    ),
    (
        "failed",
        "every request that did not end completed, also one that came due and was never sent; "
        "it counts in no wait and no speed",
    ),
    (
        "good",
        "requests that met every objective, of those of which it can be told; blank where the "
        "replies came in one piece and only their speed is missing",
    ),
    (
        "undecided",
        "requests that this client cut before they had missed an objective",
    ),
    (
        "tokens in, tokens out",
        "mean tokens of the prompt and of the reply of a completed request, as the server counts",
    ),
    (
        "prompts cut, replies cut",
        "completed requests whose prompt the server cut, or whose reply ended with the context: "
        "they do not count as served; blank where unknown",
    ),
    (
        "p95, p99",
        "nearest rank; blank below 20 and 100 completed requests",
    ),
    (
        "W, J/token",
        "mean watts during the level, and its energy / its output tokens; blank where samples "
        "cover less than 95 % of it. The power source says what the watts include",
    ),
    (
        "whole machine",
        "the same by a sensor of the whole machine, where it shows more than the sum of the others",
    ),
    (
        "GPU alone",
        "the same of the GPU by itself: shown where its sum with the CPU is not known",
    ),
    (
        "ran at once",
        "the most requests that streamed at the same time: the server has at least so many slots",
    ),
    (
        "gap between chunks (ITL)",
        "between consecutive chunks with text of one stream; a chunk may carry several tokens: "
        "see tokens/chunk",
    ),
)


def write_table(levels: Sequence[Row]) -> str:
    """Return the levels as HTML, without columns that nobody measured.

    The columns run and repeat are shown only if they differ.
    """
    has_gpu = any(map(is_gpu_alone, levels))
    columns = [
        column
        for column in COLUMNS
        if is_shown(column.name, levels, has_gpu)
    ]
    return write_columns(columns, levels, noun(levels), FIGURES)


def write_columns(
    columns: Sequence[Column],
    levels: Sequence[Row],
    crowd: str,
    marked: Collection[str] = (),
) -> str:
    """Return rows of levels, or of parts of them, under these columns as HTML.

    crowd: what a level counts, above its number. marked: figures that the page makes anew.
    """
    return join_table(
        [
            crowd if column.name == "concurrency" else column.heading
            for column in columns
        ],
        [write_row(level, columns, marked) for level in levels],
    )


def write_intervals(study: Study) -> str:
    """Return the 95 % intervals of the levels' means as HTML; "" where none is known."""
    found = find_intervals(study)
    if not found:
        return ""
    has_rates = any(level.rate_per_s for level in found)
    headings = [
        "requests/s" if has_rates else noun(study.levels),
        "wait, mean",
        "tokens/s each, mean",
        "n",
        "of",
    ]
    rows = [
        write_cells(
            [
                level.number,
                write_interval(level.wait_s, seconds),
                write_interval(level.tokens_per_s, digits),
                digits(level.n),
                level.basis,
            ]
        )
        for level in found
    ]
    table = join_table(headings, rows)
    return f"<h3>95 % intervals of the means</h3>{table}"


def write_cells(texts: Iterable[str]) -> str:
    cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
    return f"<tr>{cells}</tr>"


def join_table(headings: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    table = (
        f"<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return f'<div class="scroll">{table}</div>'


def is_shown(name: str, levels: Sequence[Row], has_gpu: bool) -> bool:
    values = {level.get(name) for level in levels}
    if values == {None}:
        return False
    if name in ("concurrency", "repeat") and all(
        level.get("probe_rate_per_s") for level in levels
    ):
        return False
    if name in GPU_COLUMNS.values():
        return has_gpu
    if name in ("prompts_cut", "replies_cut"):
        return any(values)
    if name == "undecided_requests":
        return bool(values - {None, 0})
    return name not in ("run_id", "repeat") or len(values) > 1


def write_row(
    level: Row, columns: Iterable[Column], marked: Collection[str]
) -> str:
    cells = "".join(
        write_cell(column, level, column.name in marked)
        for column in columns
    )
    return f"<tr>{cells}</tr>"


def write_cell(column: Column, level: Row, is_marked: bool) -> str:
    value = level.get(column.name)
    bad = ' class="bad"' if column.name == "errors" and value else ""
    made_anew = (
        mark([column.name], [level["level_id"]]) if is_marked else ""
    )
    text = "–" if value is None else escape(column.write(value))
    return f"<td{bad}{made_anew}>{text}</td>"


def write_terms(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms as HTML, without those that have no text."""
    items = [
        f"<dt>{escape(term)}</dt><dd>{escape(clean(text))}</dd>"
        for term, text in pairs
        if text
    ]
    return f"<dl>{''.join(items)}</dl>"
