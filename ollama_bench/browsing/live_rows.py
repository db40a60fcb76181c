"""What a running run does now, out of its rows and run.live: the JSON that its page asks for.

It costs the same however long the run is: of the level that was begun last it reads the newest
requests. Texts are written here, so that the page only places them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from sqlite_utils import Database

from ollama_bench.analysis.study import Row
from ollama_bench.analysis.wording import digits, seconds
from ollama_bench.browsing.shell import write_known
from ollama_bench.storage.results_file import ResultsError
from ollama_bench.terminal.rows import name_load

MOST_SHOWN = 400  # requests of the timeline: the newest
RUN = """
SELECT runs.status, live, coalesce(seen_unix, started_unix) AS seen_unix
FROM runs JOIN run ON run.id = run_id WHERE run_id = ?"""
LEVEL = "SELECT * FROM level WHERE run_id = ? ORDER BY id DESC LIMIT 1"
FINISHED = """
SELECT count(*) AS n FROM level WHERE run_id = ? AND status = 'finished'"""
REQUESTS = """
SELECT number, round(coalesce(due_ns, sent_ns) / 1e9, 3) AS asked_s,
  round(first_text_ns / 1e9, 3) AS first_s,
  round(coalesce(ended_ns, last_text_ns) / 1e9, 3) AS ended_s, ending
FROM request WHERE level_id = ? ORDER BY number DESC LIMIT ?"""
# the newest sample of each source, unless it has become silent
FRESH_S = 10
WATTS = """
SELECT sum(power_w) AS power_w, sum(gpu_power_w) AS gpu_power_w FROM power_source
JOIN power_sample ON source_id = power_source.id AND end_ns = (
  SELECT max(end_ns) FROM power_sample AS newest WHERE newest.source_id = power_source.id)
WHERE power_source.run_id = ? AND end_ns >= ?
  AND coalesce(watcher, '') IN (
    SELECT watcher
    FROM server_machine AS own
    WHERE own.run_id = power_source.run_id
  )"""
NOT_FAILED = {"completed", "in_flight", "not_sent"}


def write_state(database: Database, run_id: int) -> str | None:
    """Return the state of a run as JSON; None if the file has no such run.

    Raises ResultsError where run.live is not what a run tells.
    """
    run = next(database.query(RUN, [run_id]), None)
    if run is None:
        return None
    try:
        state = json.loads(run["live"] or "{}")
        told = describe_state(database, run_id, state)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ):
        raise ResultsError(
            f"run.live of run {run_id} cannot be read"
        ) from None
    silent_s = max(0.0, time.time() - run["seen_unix"])
    return json.dumps(
        {"status": run["status"], "silent_s": silent_s, **told}
    )


def describe_state(
    database: Database, run_id: int, state: Row
) -> dict[str, object]:
    """Return what the page shows. state: run.live."""
    level = next(database.query(LEVEL, [run_id]), None)
    # of no level while the run waits between two
    now = state.get("level") or {}
    requests = read_newest(database, level, now) if level else []
    watts = next(database.query(WATTS, [run_id, find_fresh_ns(state)]))
    doing = state.get("doing") or ""
    return {
        "doing": doing,
        # what changes every second is not to be read aloud
        "said": doing if now else doing.rpartition(": ")[0] or doing,
        "progress": measure_done(state, now),
        "counts": write_counts(now),
        "left": now.get("left") or "",
        "figures": write_figures(state, now, requests, watts),
        "failed": count_failed(requests),
        "level": level and f"{name_load(level)}, {level['model']}",
        "from_s": find_from_s(now, requests),
        "to_s": find_to_s(state, now, requests),
        "requests": requests,
        "count": max((row["number"] for row in requests), default=0),
        "finished": next(database.query(FINISHED, [run_id]))["n"],
    }


def read_newest(database: Database, level: Row, now: Row) -> list[Row]:
    """Return the newest requests of a level that were asked, by number.

    Those that have not ended are rows without instants: run.live has these.
    """
    found = {
        row["number"]: row
        for row in database.query(REQUESTS, [level["id"], MOST_SHOWN])
    }
    for number, sent_s, first_s, ended_s in now.get("streams", ()):
        row = found.setdefault(
            number, {"number": number, "ending": "in_flight"}
        )
        if row["ending"] == "in_flight":
            row |= {
                "asked_s": sent_s,
                "first_s": first_s,
                "ended_s": ended_s,
            }
    rows = [found[number] for number in sorted(found)]
    return [row for row in rows if row["asked_s"] is not None]


def find_fresh_ns(state: Row) -> int:
    return int((state.get("at_s", 0) - FRESH_S) * 1e9)


def measure_done(state: Row, now: Row) -> float | None:
    """Return the part of the level that is done: of its requests, or of its time."""
    if now.get("planned"):
        return float(min(1.0, now["ended"] / now["planned"]))
    if now.get("until_s") and now["started_s"] is not None:
        passed_s = state["at_s"] - now["started_s"]
        return float(min(1.0, passed_s / now["until_s"]))
    return None


def write_counts(now: Row) -> str:
    if not now:
        return ""
    of = f" of {now['planned']:,}" if now["planned"] else ""
    return (
        f"{now['ended']:,}{of} ended, {now['streaming']:,} streaming, "
        f"{now['waiting']:,} waiting"
    )


def write_figures(
    state: Row, now: Row, requests: Iterable[Row], watts: Row
) -> list[tuple[str, str]]:
    """Return figures of the level and of the machine now, as terms."""
    figures = [
        ("tokens/s, all", write_known(now.get("tokens_per_s"), digits)),
        (
            "tokens/s, each",
            write_known(now.get("tokens_per_s_each"), digits),
        ),
        ("wait, median", write_wait(state, requests)),
        ("power", write_watts(watts["power_w"])),
    ]
    if watts["gpu_power_w"] is not None:
        figures.append(("GPU", write_watts(watts["gpu_power_w"])))
    return figures


def write_wait(state: Row, requests: Iterable[Row]) -> str:
    """Return the median wait, in which those that still wait count as far as they have waited."""
    waits = sorted(
        (end_s - row["asked_s"], row["first_s"] is None)
        for row in requests
        if (end_s := find_wait_end_s(state, row)) is not None
    )
    if not waits:
        return write_known(None, seconds)
    wait_s, goes_on = waits[(len(waits) - 1) // 2]
    return f"over {seconds(wait_s)}" if goes_on else seconds(wait_s)


def find_wait_end_s(state: Row, row: Row) -> float | None:
    """Return until when a request has waited; None for one that ended without a token."""
    if row["first_s"] is not None:
        return float(row["first_s"])
    return None if row["ended_s"] is not None else state.get("at_s")


def write_watts(value: float | None) -> str:
    return write_known(value, lambda watts: f"{digits(watts)} W")


def count_failed(requests: Iterable[Row]) -> int:
    return sum(row["ending"] not in NOT_FAILED for row in requests)


def find_from_s(now: Row, requests: Iterable[Row]) -> float | None:
    """Return when the timeline begins: with the first request that it shows."""
    first_s: float | None = min(
        (row["asked_s"] for row in requests), default=None
    )
    started_s: float | None = now.get("started_s")
    return started_s if first_s is None else first_s


def find_to_s(
    state: Row, now: Row, requests: Iterable[Row]
) -> float | None:
    """Return when the timeline ends: now, or with the last request of a level that is over."""
    if now:
        return float(state["at_s"])
    ends_s = [row["ended_s"] for row in requests]
    known: list[float] = [end_s for end_s in ends_s if end_s is not None]
    return max(known, default=None)
