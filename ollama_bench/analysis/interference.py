"""What long prompts do to the others while they are evaluated, in levels of a mixture.

found = find_interference(database, study)
for one in found: one.token, one.wait

Within a level, the time of the others' tokens while a long prompt is evaluated is held against
that while none is; and the wait of who asked meanwhile against that of who did not. A stretch of
evaluation, and one between two, is the unit: what happens within one is not independent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlite_utils import Database

from ollama_bench.analysis.crowd import name_crowd
from ollama_bench.analysis.study import Row, Study
from ollama_bench.analysis.wording import interval, seconds
from ollama_bench.inputs import prompt_mix
from ollama_bench.statistics.intervals import Interval, ratio_interval

NS_PER_S = 1e9
REQUESTS = """
SELECT id, asked_prompt_tokens AS tokens, coalesce(due_ns, sent_ns) AS asked_ns, sent_ns,
  first_text_ns, server_prefill_ns, ttft_s
FROM request
WHERE level_id = ? AND status = 'completed' AND asked_prompt_tokens IS NOT NULL"""
ASKED = """
SELECT max(asked_prompt_tokens) AS most, count(server_prefill_ns) AS timed
FROM request WHERE level_id = ?"""
CHUNKS = """
SELECT request_id, at_ns FROM chunk JOIN request ON request.id = request_id
WHERE level_id = ? AND status = 'completed' AND asked_prompt_tokens < ?
ORDER BY request_id, chunk.number"""

# start and end of an evaluation, ns
Window = tuple[int, int]
# when something happened, ns, and how many seconds it took
Event = tuple[float, float]


@dataclass(frozen=True)
class MeanTime:
    """A mean of seconds with its 95 % interval, and of how many stretches it is."""

    value_s: float
    interval: Interval
    stretches: int


@dataclass(frozen=True)
class Contrast:
    """The same while a long prompt was evaluated, and while none was."""

    during: MeanTime
    otherwise: MeanTime

    @property
    def ratio(self) -> float:
        return self.during.value_s / self.otherwise.value_s


@dataclass(frozen=True)
class Interference:
    """What the longest prompts of a level did to the others; None: cannot be told."""

    level: Row
    long_tokens: int  # of the longest prompts
    evaluations: int  # stretches in which such prompts were evaluated
    token: Contrast | None  # between two chunks of text of the others
    wait: Contrast | None  # of the others for the first token


def find_interference(
    database: Database, study: Study
) -> list[Interference]:
    """Return what is known of each level of a mixture in which a long prompt was evaluated."""
    if study.prompt_mix is None:
        return []
    found = (measure_level(database, level) for level in study.levels)
    return [one for one in found if one is not None]


def measure_level(database: Database, level: Row) -> Interference | None:
    """Return the interference in a level; None where nothing tells when prompts were evaluated."""
    level_id = level["level_id"]
    requests = list(database.query(REQUESTS, [level_id]))
    longest = max((row["tokens"] for row in requests), default=0)
    windows = merge_windows(
        find_window(row)
        for row in requests
        if row["tokens"] == longest
        and row["server_prefill_ns"] is not None
    )
    others = [row for row in requests if row["tokens"] < longest]
    if not windows or not others:
        return None
    gaps = list_gaps(database.query(CHUNKS, [level_id, longest]))
    waits = [(row["asked_ns"], row["ttft_s"]) for row in others]
    return Interference(
        level,
        longest,
        len(windows),
        contrast(gaps, windows),
        contrast(waits, windows),
    )


def find_window(request: Row) -> Window:
    """Return when a prompt was evaluated: until its first token, by the server's own clock."""
    end_ns = request["first_text_ns"]
    start_ns = end_ns - request["server_prefill_ns"]
    return max(start_ns, request["sent_ns"]), end_ns


def merge_windows(windows: Iterable[Window]) -> list[Window]:
    """Return stretches that do not overlap, in order."""
    merged: list[Window] = []
    for start_ns, end_ns in sorted(windows):
        if merged and start_ns <= merged[-1][1]:
            start_ns, last_ns = merged.pop()
            end_ns = max(last_ns, end_ns)
        merged.append((start_ns, end_ns))
    return merged


def list_gaps(chunks: Iterable[Row]) -> list[Event]:
    """Return the middle and the length of each gap between two chunks of a stream."""
    found = []
    for one, other in pairwise(chunks):
        if one["request_id"] == other["request_id"]:
            begin_ns, end_ns = one["at_ns"], other["at_ns"]
            middle_ns = (begin_ns + end_ns) / 2
            found.append((middle_ns, (end_ns - begin_ns) / NS_PER_S))
    return found


def contrast(
    events: Sequence[Event], windows: Sequence[Window]
) -> Contrast | None:
    """Hold what happened in windows against the rest; None where either has too few stretches."""
    starts = [start_ns for start_ns, _ in windows]
    inside: dict[int, list[float]] = {}
    outside: dict[int, list[float]] = {}
    for at_ns, length_s in events:
        place = bisect_right(starts, at_ns) - 1
        is_inside = place >= 0 and at_ns <= windows[place][1]
        side = inside if is_inside else outside
        side.setdefault(place, []).append(length_s)
    during, otherwise = (
        estimate(list(side.values())) for side in (inside, outside)
    )
    if during is None or otherwise is None or not otherwise.value_s:
        return None
    return Contrast(during, otherwise)


def estimate(stretches: Sequence[Sequence[float]]) -> MeanTime | None:
    """Return the mean of all values; None where its interval is not known."""
    parts = [(sum(values), len(values)) for values in stretches]
    found = ratio_interval(parts)
    if found is None or found[1] is None:
        return None
    return MeanTime(found[0], found[1], len(parts))


def describe_interference(found: Sequence[Interference]) -> list[str]:
    """Say of each level what the long prompts did to the others, and of which it is not known."""
    told = [one for one in found if one.token or one.wait]
    sentences = [describe_level(one) for one in told]
    if not told and found:
        most = max(found, key=lambda one: one.evaluations)
        sentences.append(
            f"What prompts of {most.long_tokens:,} tokens do to the others cannot be told: "
            f"at most {most.evaluations} were evaluated while others were served; "
            "--requests N or --duration S asks more."
        )
    return sentences


def describe_unknown(database: Database, study: Study) -> list[str]:
    """Say why nothing is known of a mixture: nobody asked a long prompt, or no clock tells."""
    try:
        longest = max(prompt_mix.parse(study.prompt_mix or "").lengths)
    except ValueError:  # no mixture, or what another program wrote
        return []
    asked = [
        next(database.query(ASKED, [level["level_id"]]))
        for level in study.levels
    ]
    lengths = [row["most"] for row in asked if row["most"]]
    if max(lengths, default=0) < longest:
        return [
            f"No prompt of {longest:,} tokens was asked: a level of fewer requests than "
            "the mixture has may lack them; --requests N asks more."
        ]
    if any(row["timed"] for row in asked):
        return []
    return [
        f"What prompts of {longest:,} tokens do to the others cannot be told: the server "
        "does not say how long it evaluates a prompt."
    ]


def describe_level(one: Interference) -> str:
    crowd = name_crowd(one.level["concurrency"], [one.level])
    parts = []
    if one.token:
        parts.append(
            f"a token of the others took {write_contrast(one.token)}"
        )
    if one.wait:
        who = "who" if one.token else "of the others who"
        parts.append(f"{who} asked then waited {write_contrast(one.wait)}")
    return (
        f"While a prompt of {one.long_tokens:,} tokens was evaluated ({crowd}), "
        f"{'; '.join(parts)}."
    )


def write_contrast(found: Contrast) -> str:
    return (
        f"{write_mean(found.during)}, else {write_mean(found.otherwise)}"
    )


def write_mean(mean: MeanTime) -> str:
    surely = interval(*mean.interval, seconds)
    inside = ", ".join(filter(None, (surely, f"n = {mean.stretches}")))
    return f"{seconds(mean.value_s)} ({inside})"
