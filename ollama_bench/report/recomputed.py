"""The figures of levels, made anew from the instants that a page carries; proof.js does the same.

    figures = Recomputed(rows)
    figures.find("ttft_p95_s", [12])        # of one level, by its number in the results file
    figures.find("ttft_mean_s", [12, 13])   # the mean over repeats, or over runs
    figures.find("most_served", [1, 2, 3])      # the most that were served

Python and JavaScript come to the same numbers, bit for bit: differences of instants are whole
numbers, a quotient is made by the same operations on doubles in the same order, a mean is the sum
of the values, from the least on, / their number, and a percentile is one of the values. What each
figure means is what schema.sql says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from ollama_bench.analysis.study import P95_FLOOR, P99_FLOOR, Row
from ollama_bench.inputs.objectives import ENOUGH_RATIO, is_decided
from ollama_bench.report.instants import (
    Asked,
    list_asked,
    list_chunks,
)

# columns of a level
FIGURES = (
    "completed",
    "errors",
    "good",
    "output_tokens_mean",
    "ttft_mean_s",
    "ttft_p50_s",
    "ttft_p95_s",
    "ttft_p99_s",
    "tokens_per_s_mean",
    "tokens_per_s_min",
    "e2e_mean_s",
    "duration_s",
    "output_tokens_per_s",
    "requests_per_s",
    "full_load_tokens_per_s",
)
MOST_SERVED = "most_served"  # of several levels
Figure = Any  # a number, a text or None: unknown
Window = tuple[int, int]  # from and to, nanoseconds of the run
# endings of requests whose server was lost
LOST = ("refused", "reset")


class Recomputed:
    """The figures of all levels of a page."""

    def __init__(self, rows: Row) -> None:
        self._levels: dict[int, tuple[Row, dict[str, Figure]]] = {}
        for study in rows["studies"]:
            for level in study["levels"]:
                found = recompute(level, study, rows["every"])
                self._levels[level["id"]] = level, found

    def find(self, name: str, level_ids: Sequence[int]) -> Figure:
        """Return a figure of one level, or of several together.

        Raises KeyError for a level or a figure that is not there.
        """
        chosen = [self._levels[level_id] for level_id in level_ids]
        if name == MOST_SERVED:
            return find_most_served(chosen)
        if len(chosen) == 1:
            return chosen[0][1][name]
        runs: dict[int, list[float]] = {}
        for level, figures in chosen:
            if figures[name] is not None:
                runs.setdefault(level["run"], []).append(figures[name])
        means = [mean(values) for values in runs.values()]
        return means[0] if len(means) == 1 else mean(means)

    def describe(self, level_ids: Sequence[int]) -> str:
        """Name the levels that a figure is of."""
        levels = [self._levels[level_id][0] for level_id in level_ids]
        runs = sorted({level["run"] for level in levels})
        counts = sorted({level["concurrency"] for level in levels})
        return (
            f"run {', '.join(map(str, runs))}, "
            f"level {', '.join(map(str, counts))}"
        )


def recompute(level: Row, study: Row, every: int) -> dict[str, Figure]:
    """Return the figures of a level by the names of their columns, and whether it is served.

    every: so many chunks stand for one that is carried.
    """
    requests = list_asked(level)
    judged = [one for one in requests if is_judged(one, level)]
    done = [one for one in judged if one.ending == "completed"]
    all_done = [one for one in requests if one.ending == "completed"]
    waits = [since(one.asked_ns, one.first_text_ns) for one in done]
    tokens = [one.output_tokens for one in requests]
    length_ns = difference(level["started_ns"], level["ended_ns"])
    outcomes = judge_all(level, study, requests, judged)
    return {
        "completed": len(all_done),
        "errors": sum(
            one.ending not in ("completed", "in_flight")
            for one in requests
        ),
        "good": outcomes["good"],
        "output_tokens_mean": mean(
            [one.output_tokens for one in all_done]
        ),
        "ttft_mean_s": mean(waits),
        "ttft_p50_s": find_percentile(waits, 50),
        "ttft_p95_s": find_percentile(waits, 95),
        "ttft_p99_s": find_percentile(waits, 99),
        "tokens_per_s_mean": mean(map(rate, done)),
        "tokens_per_s_min": min(sort_known(map(rate, done)), default=None),
        "e2e_mean_s": mean(
            [since(one.asked_ns, one.last_text_ns) for one in done]
        ),
        "duration_s": since(level["started_ns"], level["ended_ns"]),
        "output_tokens_per_s": per_second(
            total(tokens) if all_done else None, length_ns
        ),
        "requests_per_s": per_second(
            len(all_done) if requests else None, length_ns
        ),
        "full_load_tokens_per_s": find_full_load(level, requests, every),
        "served": outcomes["served"],
    }


def is_judged(request: Asked, level: Row) -> bool:
    """Tell whether waits and speeds are of it, too: of all but what a steady part leaves out.

    What a server that died has failed is never left out.
    """
    start_ns, end_ns = level["steady_start_ns"], level["steady_end_ns"]
    if start_ns is None or request.ending in LOST:
        return True
    at_ns = request.asked_ns
    at_ns = request.ended_ns if at_ns is None else at_ns
    if at_ns is None or end_ns is None:
        return False
    return bool(start_ns <= at_ns <= end_ns)


def difference(start_ns: int | None, end_ns: int | None) -> int | None:
    if start_ns is None or end_ns is None:
        return None
    return end_ns - start_ns


def since(start_ns: int | None, end_ns: int | None) -> float | None:
    """Return the seconds from one instant to another."""
    length_ns = difference(start_ns, end_ns)
    return None if length_ns is None else length_ns / 1e9


def rate(request: Asked) -> float | None:
    """Return the tokens per second after the first chunk, as stream_tokens_per_s."""
    tokens, length_ns = (
        request.output_tokens,
        difference(request.first_text_ns, request.last_text_ns),
    )
    if tokens is None or length_ns is None:
        return None
    if tokens <= 1 or length_ns <= 0:
        return None
    return (tokens - (per_chunk(request) or 1)) * 1e9 / length_ns


def per_chunk(request: Asked) -> float | None:
    """Return the tokens of a chunk, mean, where the server counts tokens."""
    if request.output_tokens_source != "server" or not request.chunks:
        return None
    if request.output_tokens is None:
        return None
    return request.output_tokens / request.chunks


def sort_known(values: Iterable[float | None]) -> list[float]:
    """Return the values that are known, rising."""
    return sorted(value for value in values if value is not None)


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of the known values in their order; None without any."""
    found = None
    for value in values:
        if value is not None:
            # no sum(): it rounds otherwise from Python 3.12 on
            found = value if found is None else found + value
    return found


def mean(values: Iterable[float | None]) -> float | None:
    found = sort_known(values)
    amount = total(found)
    return None if amount is None else amount / len(found)


def find_percentile(
    values: Iterable[float | None], percent: int
) -> float | None:
    """Return the nearest rank; None of fewer values than it needs."""
    found = sort_known(values)
    floor = {95: P95_FLOOR, 99: P99_FLOOR}.get(percent, 1)
    if len(found) < floor:
        return None
    return found[(percent * len(found) + 99) // 100 - 1]


def per_second(
    amount: float | None, length_ns: int | None
) -> float | None:
    if amount is None or not length_ns:
        return None
    return amount * 1e9 / length_ns


def judge_all(
    level: Row,
    study: Row,
    requests: Sequence[Asked],
    judged: Sequence[Asked],
) -> dict[str, Figure]:
    """Return how many met all objectives, in words, and whether the level is served."""
    ended = [one for one in judged if one.ending != "in_flight"]
    if level["status"] != "finished" or level["slept"] or not ended:
        return {"good": None, "served": False}
    bounds, seen = study["bounds"], tokens_of_chunk(requests)
    good, undecided = count_met(ended, bounds, bounds, seen)
    served = bool(study["demands"])
    for names, enough in study["demands"]:
        met, unknown = count_met(ended, names, bounds, seen)
        asked = len(ended) - unknown
        share = met / asked if asked else 0.0
        decided = is_decided(unknown, len(ended), enough)
        served = served and share >= enough and decided
    told = f"{good} of {len(ended) - undecided}"
    return {
        "good": None if have_no_rates(ended, bounds) else told,
        "served": served,
    }


def have_no_rates(
    ended: Sequence[Asked], bounds: dict[str, float]
) -> bool:
    """Tell whether all that is missed are speeds that nobody knows, as analysis/service.py does."""
    if any(one.ending != "completed" or one.cut for one in ended):
        return False
    enough = ENOUGH_RATIO * len(ended)
    missed = {
        name
        for name, bound in bounds.items()
        if sum(has_met(one, name, bound) for one in ended) < enough
    }
    unknown = all(rate(one) is None for one in ended)
    speeds = {"tpot", "tokens_per_s"}
    return unknown and bool(missed) and missed <= speeds


def tokens_of_chunk(requests: Sequence[Asked]) -> float:
    """Return the tokens of a chunk where the server counted them; 1 where it did not."""
    counted = [
        one
        for one in requests
        if one.ending == "completed" and per_chunk(one) is not None
    ]
    tokens = total([one.output_tokens for one in counted])
    chunks = total([one.chunks for one in counted])
    return tokens / chunks if tokens is not None and chunks else 1.0


def count_met(
    ended: Sequence[Asked],
    names: Iterable[str],
    bounds: dict[str, float],
    seen: float,
) -> tuple[int, int]:
    """Return how many met these objectives, and of how many it cannot be told."""
    good = undecided = 0
    for one in ended:
        if one.ending == "completed":
            good += not one.cut and all(
                has_met(one, name, bounds[name]) for name in names
            )
        elif one.ending == "cancelled":
            undecided += not any(
                has_missed(one, name, bounds[name], seen) for name in names
            )
    return good, undecided


def has_met(request: Asked, name: str, bound: float) -> bool:
    """Tell whether a completed request has_met an objective, as analysis/service.py does."""
    if name not in ("tpot", "tokens_per_s"):
        value = since(request.asked_ns, find_end(request, name, False))
        return value is not None and value <= bound
    speed = rate(request)
    if speed is not None and (name == "tokens_per_s" or speed):
        if name == "tpot":
            return 1 / speed <= bound
        return speed >= bound
    # a single token has no rate and misses none
    tokens = request.output_tokens
    is_whole = request.output_tokens_source != "chunks"
    return tokens is not None and tokens < 2 and is_whole


def has_missed(
    request: Asked, name: str, bound: float, seen: float
) -> bool:
    """Tell whether a request had missed an objective when this client cut it."""
    if name not in ("tpot", "tokens_per_s"):
        end_ns = find_end(request, name, True)
        waited_ns = difference(request.asked_ns, end_ns)
        return waited_ns is not None and waited_ns > bound * 1e9
    length_ns = difference(request.first_text_ns, request.ended_ns)
    if length_ns is None or request.output_tokens is None:
        return False
    by_chunks = request.output_tokens_source == "chunks"
    tokens = request.output_tokens * (seen if by_chunks else 1)
    if name == "tpot":
        return length_ns > bound * 1e9 * tokens
    return tokens * 1e9 < bound * length_ns


def find_end(request: Asked, name: str, was_cut: bool) -> int | None:
    """Return until when a request waited for what an objective bounds."""
    if name == "e2e":
        return request.ended_ns if was_cut else request.last_text_ns
    firsts = {
        "ttft": request.first_text_ns,
        "ttfat": request.first_answer_ns,
    }
    end_ns = firsts[name]
    return request.ended_ns if end_ns is None and was_cut else end_ns


def find_most_served(
    chosen: Sequence[tuple[Row, dict[str, Figure]]],
) -> int:
    """Return the highest concurrency up to which every level is served; 0: none is."""
    served = 0
    for concurrency in sorted(
        {level["concurrency"] for level, _ in chosen}
    ):
        if not all(
            figures["served"]
            for level, figures in chosen
            if level["concurrency"] == concurrency
        ):
            break
        served = concurrency
    return served


def find_full_load(
    level: Row, requests: Sequence[Asked], every: int
) -> float | None:
    """Return the tokens per second while the load was full, as the view full_load."""
    streams = [one for one in requests if one.first_text_ns is not None]
    window = find_full_window(level, streams)
    if window is None:
        return None
    start_ns, end_ns = window
    counts = count_inside(level, requests, window, every)
    inside = total(
        inside_tokens(one, window, chunks)
        for one, chunks in zip(requests, counts, strict=True)
        if one.first_text_ns is not None
    )
    tokens = total(one.output_tokens for one in streams)
    if inside is None or tokens is None or 10 * inside < tokens:
        return None
    return per_second(inside, end_ns - start_ns)


def find_full_window(
    level: Row, streams: Sequence[Asked]
) -> Window | None:
    """Return the steady part, or from the first to the last instant with 90 % of the streams."""
    start_ns, end_ns = level["steady_start_ns"], level["steady_end_ns"]
    if None not in (start_ns, end_ns) and end_ns > start_ns:
        return start_ns, end_ns
    if are_in_one_piece(streams):
        return None
    edges: list[tuple[int, int]] = []
    for one in streams:
        first_ns = one.first_text_ns or 0
        last_ns = one.last_text_ns or 0
        if last_ns > first_ns:
            edges += (first_ns, -1), (last_ns, 1)
    edges.sort()
    running, peak, sums = 0, 0, []
    for (at_ns, step), group in groupby(edges):
        running -= step * len(list(group))
        peak = max(peak, running)
        sums.append((at_ns, running))
    full = [
        place
        for place, (_, count) in enumerate(sums)
        if 10 * count >= 9 * peak
    ]
    if not peak or full[0] + 1 >= len(sums):
        return None
    last = min(full[-1] + 1, len(sums) - 1)
    return sums[full[0]][0], sums[last][0]


def are_in_one_piece(streams: Sequence[Asked]) -> bool:
    """Tell whether so many replies came in one piece that nobody knows what ran at once."""
    done = [one for one in streams if one.ending == "completed"]
    pieces = [
        one
        for one in done
        if one.last_text_ns == one.first_text_ns
        and (
            (one.output_tokens or 0) > 1
            or one.output_tokens_source == "chunks"
        )
    ]
    return 10 * len(pieces) > len(done)


def count_inside(
    level: Row, requests: Sequence[Asked], window: Window, every: int
) -> Sequence[int | None]:
    """Return how many chunks of each request came in a part of its level; None is unknown.

    Where not every chunk is carried these counts are.
    """
    if every > 1 and "inside" in level:
        return list(level["inside"])
    chunks = list_chunks(level, requests)
    if chunks is None:
        return [None] * len(requests)
    start_ns, end_ns = window
    return [
        bisect_right(instants, end_ns) - bisect_right(instants, start_ns)
        if instants
        else None
        for instants in chunks
    ]


def inside_tokens(
    request: Asked, window: Window, chunks: int | None
) -> float | None:
    """Return the tokens that came in a part of the level. chunks: those that did."""
    start_ns, end_ns = window
    first_ns, last_ns = request.first_text_ns, request.last_text_ns
    if first_ns is None or last_ns is None:
        return None
    if last_ns <= start_ns or first_ns > end_ns:
        return 0
    tokens = request.output_tokens
    if tokens is None or (first_ns > start_ns and last_ns <= end_ns):
        return tokens
    if chunks is not None:
        if not request.chunks:
            return None
        return tokens / request.chunks * chunks
    if last_ns == first_ns:
        return None
    shared_ns = min(last_ns, end_ns) - max(first_ns, start_ns)
    return tokens * shared_ns / (last_ns - first_ns)


def mark(names: Sequence[str], level_ids: Sequence[int]) -> str:
    """Return the attributes of an element that shows figures of levels; "" without any."""
    if not names:
        return ""
    levels = " ".join(map(str, level_ids))
    return f' data-figures="{" ".join(names)}" data-levels="{levels}"'
