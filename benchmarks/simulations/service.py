"""Who was served: requests that a deadline cut, saturation, tokens that share chunks.

Each server here has a known rate or capacity; the tool judges the rows that it would have left.
"""

from __future__ import annotations

import heapq
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy

from benchmarks.simulations import Finding, Simulation
from ollama_bench.analysis import selection
from ollama_bench.analysis.service import Service, measure_service
from ollama_bench.inputs.objectives import parse
from ollama_bench.storage.connection import connect

TRIALS = 200
NS = 1e9
RUN = {
    "id": 1,
    "source": "bench",
    "status": "finished",
    "started_unix": 1e9,
    "arguments": "{}",
    "tool_version": "simulated",
}
WISH = parse("ttft=10,tokens_per_s=10")
COLUMNS = {"ttft": "ttft_s", "tokens_per_s": "tokens_per_s"}

Row = dict[str, object]
Random = numpy.random.Generator


@dataclass(frozen=True)
class Judgment:
    """What the tool says of a level: its row of level_summary, and how its requests fared."""

    level: Row
    service: Service


def judge(levels: list[tuple[Row, list[Row]]]) -> list[Judgment]:
    """Write levels of a run with their requests, and return what the tool says of each."""
    with tempfile.TemporaryDirectory() as folder:
        database = connect(pathlib.Path(folder) / "results.db")
        database["run"].insert(RUN)
        for name, (bound, _) in WISH.items():
            row = {"run_id": 1, "metric": COLUMNS[name], "bound": bound}
            database["objective"].insert(row)
        for level_id, (level, requests) in enumerate(levels, 1):
            database["level"].insert(
                {
                    "id": level_id,
                    "run_id": 1,
                    "model": "m",
                    "status": "finished",
                    "started_ns": 0,
                    **level,
                }
            )
            database["request"].insert_all(
                {"level_id": level_id, "number": number, **request}
                for number, request in enumerate(requests, 1)
            )
        (study,) = selection.choose(database, [], [])
        services = measure_service(database, study, WISH)
        rows = database.query("SELECT * FROM level_summary")
        judgments = [
            Judgment(row, services[row["level_id"]]) for row in rows
        ]
        database.close()
    return judgments


def stream(
    sent_s: float,
    wait_s: float,
    rate: float,
    tokens: int,
    cut_s: float,
    random: Random,
) -> Row:
    """Return a reply of a stream with uneven gaps, as far as a deadline lets it come."""
    gaps = random.gamma(4, 1 / (4 * rate), tokens - 1)
    at_s = sent_s + wait_s + numpy.concatenate([[0.0], gaps.cumsum()])
    seen = at_s[at_s <= cut_s]
    is_whole = len(seen) == tokens
    row: Row = {
        "status": "completed" if is_whole else "cancelled",
        "sent_ns": int(sent_s * NS),
        "ended_ns": int((seen[-1] if is_whole else cut_s) * NS),
        "chunks": len(seen),
        "output_tokens": len(seen),
        "output_tokens_source": "server" if is_whole else "chunks",
    }
    if len(seen):
        row["first_text_ns"] = int(seen[0] * NS)
        row["last_text_ns"] = int(seen[-1] * NS)
    return row


def simulate_deadline(random: Random) -> Iterator[Finding]:
    """Cut levels of 8 requests at 20 s: a reply has 400 tokens and begins after 1 s."""

    def measure(rate: float) -> tuple[Row, list[Row]]:
        requests = [stream(0, 1, rate, 400, 20, random) for _ in range(8)]
        return {"concurrency": 8, "ended_ns": int(20 * NS)}, requests

    for rate, most in ((2.0, 0.0), (5.0, 0.0), (9.0, 0.0)):
        found = judge([measure(rate) for _ in range(TRIALS)])
        served = sum(judged.service.is_served for judged in found)
        yield Finding(
            f"served, at {rate:g} tokens/s of 10, all cut",
            served / TRIALS,
            TRIALS,
            at_most=most,
        )
        if rate < 8:
            missed = sum(judged.service.asked for judged in found)
            yield Finding(
                f"cut requests seen to have missed, at {rate:g} tokens/s",
                missed / TRIALS / 8,
                TRIALS * 8,
                at_least=0.99,
            )
    found = judge([measure(15.0) for _ in range(TRIALS)])
    wrong = sum(judged.service.asked for judged in found)
    yield Finding(
        "cut requests called too slow, at 15 tokens/s of 10",
        wrong / TRIALS / 8,
        TRIALS * 8,
        at_most=0.01,
    )
    served = sum(judged.service.is_served for judged in found)
    yield Finding(
        "served, at 15 tokens/s, all cut: undecided",
        served / TRIALS,
        TRIALS,
        at_most=0.0,
    )


def serve(
    due_s: list[float],
    slots: int,
    places: int,
    until_s: float | None,
    service_s: Callable[[], float],
) -> list[Row]:
    """Return the requests of an open loop with so many places against a server with slots."""
    slot_free = [0.0] * slots
    place_free = [0.0] * places
    requests: list[Row] = []
    for due in due_s:
        sent = max(due, heapq.heappop(place_free))
        row: Row = {"due_ns": int(due * NS)}
        if until_s is not None and sent > until_s:
            heapq.heappush(place_free, sent)
            requests.append({**row, "status": "cancelled"})
            continue
        start = max(sent, heapq.heappop(slot_free))
        end = start + service_s()
        heapq.heappush(slot_free, end)
        heapq.heappush(place_free, end)
        requests.append(
            {
                **row,
                "status": "completed",
                "sent_ns": int(sent * NS),
                "first_text_ns": int((start + 0.1) * NS),
                "last_text_ns": int(end * NS),
                "ended_ns": int(end * NS),
                "chunks": 100,
                "output_tokens": 100,
                "output_tokens_source": "server",
            }
        )
    return requests


def offer(
    random: Random, load: float, count: int, until_s: float | None
) -> tuple[Row, list[Row]]:
    """Return an open loop of a server with 4 slots and 4 s a reply, offered so much of its most."""
    rate = load * 4 / 4.0
    due_s = random.exponential(1 / rate, count).cumsum().tolist()
    if until_s is not None:
        due_s = [due for due in due_s if due < until_s]
    requests = serve(
        due_s, 4, 16, until_s, lambda: float(random.gamma(16, 4 / 16))
    )
    ended_ns = max(int(str(row.get("ended_ns", 0))) for row in requests)
    level: Row = {
        "concurrency": 16,
        "load": "open",
        "rate_per_s": rate,
        "ended_ns": ended_ns,
    }
    return level, requests


def simulate_rates(random: Random) -> Iterator[Finding]:
    """Offer a server less and more than it can answer."""
    for load in (0.3, 0.6, 0.8, 0.9):
        for count in (12, 30, 100, 300):
            share = share_saturated(random, load, count)
            yield Finding(
                name_load(load, count), share, TRIALS, at_most=0.05
            )
    # the least count that shows so much of it, as docs/statistics.md says
    for load, enough in ((1.2, 600), (1.5, 120), (2.0, 50), (6.0, 60)):
        for count in (12, 30, enough):
            yield Finding(
                name_load(load, count),
                share_saturated(random, load, count),
                TRIALS,
                at_least=0.95 if count == enough else 0.0,
            )


def share_saturated(random: Random, load: float, count: int) -> float:
    """Return how often a level is called saturated where so much of a server's most is offered."""
    found = judge(
        [offer(random, load, count, None) for _ in range(TRIALS)]
    )
    said = sum(judged.level["saturated"] == 1 for judged in found)
    return said / TRIALS


def name_load(load: float, count: int) -> str:
    return (
        f"called saturated, {load:g} of the most offered, {count} requests"
    )


def simulate_unsent(random: Random) -> Iterator[Finding]:
    """Offer six times what can be answered for a minute: most arrivals are never sent."""
    levels = [offer(random, 6.0, 600, 60.0) for _ in range(TRIALS)]
    found = judge(levels)
    counted = sum(
        judged.service.asked == judged.level["requests"] == len(requests)
        for judged, (_, requests) in zip(found, levels, strict=True)
    )
    yield Finding(
        "every arrival counted, 6 of the most offered",
        counted / TRIALS,
        TRIALS,
        at_least=1.0,
    )
    served = sum(judged.service.is_served for judged in found)
    yield Finding(
        "served, 6 of the most offered",
        served / TRIALS,
        TRIALS,
        at_most=0.0,
    )


def simulate_chunks(random: Random) -> Iterator[Finding]:
    """Stream 50 tokens/s as chunks of several tokens, every chunk of as many."""
    for size, tokens in ((1, 100), (2, 20), (4, 100), (10, 100)):
        requests: list[Row] = []
        for _ in range(TRIALS):
            gaps = random.gamma(16, size / 50 / 16, tokens // size - 1)
            last_s = 1 + gaps.sum()
            requests.append(
                {
                    "status": "completed",
                    "sent_ns": 0,
                    "first_text_ns": int(NS),
                    "last_text_ns": int(last_s * NS),
                    "ended_ns": int(last_s * NS),
                    "chunks": tokens // size,
                    "output_tokens": tokens,
                    "output_tokens_source": "server",
                }
            )
        level: Row = {"concurrency": TRIALS, "ended_ns": int(20 * NS)}
        (found,) = judge([(level, requests)])
        off = float(str(found.level["tokens_per_s_mean"])) / 50 - 1
        yield Finding(
            f"off the true 50 tokens/s, {tokens} tokens in chunks of {size}",
            abs(off),
            TRIALS,
            at_most=0.03,
        )
    at_once: Row = {
        "status": "completed",
        "sent_ns": 0,
        "first_text_ns": int(NS),
        "last_text_ns": int(NS),
        "ended_ns": int(NS),
        "chunks": 1,
        "output_tokens": 100,
        "output_tokens_source": "server",
    }
    level = {"concurrency": 8, "ended_ns": int(NS)}
    (found,) = judge([(level, [at_once] * 8)])
    yield Finding(
        "a reply in one chunk is called served",
        found.service.share,
        8,
        at_most=0.0,
    )


SIMULATIONS = (
    Simulation("requests that a deadline cut", simulate_deadline),
    Simulation("rates offered and answered", simulate_rates),
    Simulation("arrivals that were never sent", simulate_unsent),
    Simulation("chunks of several tokens", simulate_chunks),
)
