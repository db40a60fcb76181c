"""The battery: each check is one run of bench.py and what must be true of its rows."""

from __future__ import annotations

import itertools
import json
import pathlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.real_servers.counters import Counters, read_counters
from benchmarks.real_servers.program import Finished, Program
from benchmarks.real_servers.settings import RealServer, RunningServer
from ollama_bench.run.quick import SLACK

SUM_RATIO, SUM_S = 0.01, 0.005  # the server's parts against our latency
BUDGET_S = 12
REPLY_TOKENS = "32"
LONG_REPLY_TOKENS = "400"
# a burst that has left has no mark in the results file before a reply ends
SENT_AFTER_S = 1.0
CHAT = {
    "turns": [
        "Name three rivers of Europe, and say where each of them begins.",
        "Which of them is the longest?",
        "Through which cities does it flow?",
    ]
}
TOTALS = """
SELECT count(*) AS requests, sum(output_tokens) AS output_tokens,
  sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens
FROM request WHERE status IN ('completed', 'empty')"""
UNFINISHED = "SELECT count(*) FROM request WHERE status = 'in_flight'"
RUNNING = "SELECT count(*) FROM level WHERE status = 'running'"
CUT = "SELECT count(*) FROM request WHERE status = 'cancelled'"
COMPLETED = "SELECT count(*) FROM request WHERE status = 'completed'"
MEASURED = f"""
{COMPLETED} AND level_id IN (SELECT id FROM level WHERE is_control IS NOT 1)"""
LEVELS = "SELECT DISTINCT concurrency FROM level ORDER BY concurrency"
PARTS = """
SELECT max(abs(difference) - max(:ratio * e2e_s, :s)) AS beyond,
  max(abs(difference)) AS worst, count(*) AS n
FROM (SELECT server_total_ns / 1e9 - (ended_ns - sent_ns) / 1e9 AS difference,
    e2e_s FROM request WHERE status = 'completed'
    AND server_total_ns IS NOT NULL)"""


@dataclass(frozen=True)
class Row:
    """One thing that was held against the truth."""

    check: str
    what: str
    ours: object
    expected: object
    is_right: bool


@dataclass(frozen=True)
class Bench:
    """What a check needs: a server that answers, and a folder for its files."""

    running: RunningServer
    folder: pathlib.Path

    @property
    def server(self) -> RealServer:
        return self.running.server

    def start(
        self, name: str, *arguments: object, model: str | None = None
    ) -> Program:
        words = [str(argument) for argument in arguments]
        return Program(self.server, self.folder, name, words, model)

    def run(
        self, name: str, *arguments: object, model: str | None = None
    ) -> Finished:
        return self.start(name, *arguments, model=model).finish()


def check_burst(bench: Bench) -> Iterator[Row]:
    """Send once, as many as there are slots, and twice and four times as many."""
    slots = bench.server.slots
    levels = f"1,{slots},{2 * slots},{4 * slots}"
    before = read_counters(bench.server.url)
    done = bench.run(
        "burst", levels, "--tokens", REPLY_TOKENS, "--warmup", 0
    )
    after = read_counters(bench.server.url)
    yield exit_row("burst", done, 0)
    yield equal(
        "burst", "requests completed", done.value(MEASURED), 1 + 7 * slots
    )
    yield from hold_counters("burst", done, before, after)
    peak = done.value("SELECT max(peak_streaming) FROM level_summary") or 0
    yield Row(
        "burst",
        "answered at once",
        peak,
        f"at most {slots}",
        peak <= slots,
    )
    yield from check_parts("burst", done)
    yield from check_chunks("burst", done)


def hold_counters(
    check: str,
    done: Finished,
    before: Counters | None,
    after: Counters | None,
) -> Iterator[Row]:
    """Hold the sums of our rows against what the server's counters grew by."""
    if before is None or after is None:
        return
    totals = done.rows(TOTALS)[0]
    grown = after.since(before)
    for name, theirs in grown.items():
        ours = totals[name] or 0
        if name == "prompt_tokens" and not after.counts_cached:
            ours -= totals["cached_tokens"] or 0
        yield equal(check, f"{name} by /metrics", ours, round(theirs))


def check_parts(check: str, done: Finished) -> Iterator[Row]:
    """Hold the server's own total against the client's latency of each request."""
    row = done.rows(PARTS, {"ratio": SUM_RATIO, "s": SUM_S})[0]
    if not row["n"]:
        return
    yield Row(
        check,
        f"server's total and our latency, {row['n']} requests",
        f"{row['worst'] * 1e3:.1f} ms apart at most",
        "within 1 % or 5 ms",
        row["beyond"] <= 0,
    )


def check_chunks(check: str, done: Finished) -> Iterator[Row]:
    """Hold the tokens that the server counted against the chunks that came."""
    row = done.rows(
        "SELECT sum(output_tokens) AS tokens, sum(chunks) AS chunks "
        "FROM request WHERE output_tokens_source = 'server'"
    )[0]
    tokens, chunks = row["tokens"], row["chunks"]
    if tokens is None:
        yield Row(check, "tokens by the server", None, "a count", False)
        return
    is_right = 0 < chunks <= tokens
    yield Row(
        check,
        "chunks of text",
        chunks,
        f"at most {tokens} tokens",
        is_right,
    )


def check_budget(bench: Bench) -> Iterator[Row]:
    """Let the tool choose levels and the length of replies within some seconds of load."""
    done = bench.run("budget", "--budget", BUDGET_S)
    yield exit_row("budget", done, 0)
    levels = [row[0] for row in done.rows(LEVELS)]
    doubled = [2**power for power in range(max(2, len(levels)))]
    yield equal("budget", "levels", levels, doubled)
    spent_s = (
        done.value("SELECT sum(duration_s) FROM level_summary") or 0.0
    )
    most_s = BUDGET_S * (1 + SLACK) + 1
    yield Row(
        "budget",
        "seconds of load",
        spent_s,
        f"at most {most_s:g}",
        0 < spent_s <= most_s,
    )


def check_closed_loop(bench: Bench) -> Iterator[Row]:
    """Keep as many in flight as there are slots, for ten seconds."""
    slots = bench.server.slots
    before = read_counters(bench.server.url)
    done = bench.run(
        "closed",
        slots,
        "--duration",
        10,
        "--tokens",
        REPLY_TOKENS,
        "--warmup",
        0,
    )
    after = read_counters(bench.server.url)
    yield exit_row("closed loop", done, 0)
    yield equal(
        "closed loop", "requests without an end", done.value(UNFINISHED), 0
    )
    yield from hold_counters("closed loop", done, before, after)
    row = done.rows(
        "SELECT in_flight_mean, client_limited FROM level_summary"
    )
    # unknown: too slow a server for a steady part
    if row and row[0]["in_flight_mean"] is not None:
        in_flight, is_marked = row[0]
        is_right = slots - 0.5 <= in_flight <= slots or bool(is_marked)
        expected = f"{slots}, or a level marked as client_limited"
        yield Row(
            "closed loop", "in flight, mean", in_flight, expected, is_right
        )


def check_open_loop(bench: Bench) -> Iterator[Row]:
    """Send at a rate for ten seconds: what was due is there, sent or not."""
    before = read_counters(bench.server.url)
    done = bench.run(
        "open", 16, "--rate", 1, "--duration", 10,
        "--tokens", REPLY_TOKENS, "--warmup", 0,
    )  # fmt: skip
    after = read_counters(bench.server.url)
    yield exit_row("open loop", done, 0)
    yield from hold_counters("open loop", done, before, after)
    early = done.value(
        "SELECT count(*) FROM request WHERE sent_ns < due_ns"
    )
    yield equal(
        "open loop", "requests sent before they were due", early, 0
    )


def check_chats(bench: Bench) -> Iterator[Row]:
    """Hold conversations of three turns: later turns find their beginning cached."""
    prompts = bench.folder / "chats.jsonl"
    prompts.write_text((json.dumps(CHAT) + "\n") * 2)
    done = bench.run(
        "chats",
        2,
        "--prompts",
        prompts,
        "--requests",
        6,
        "--tokens",
        REPLY_TOKENS,
    )
    yield exit_row("chats", done, 0)
    turns = done.rows(
        "SELECT turn, count(*) AS n, avg(prompt_tokens) AS prompt, "
        "avg(cached_tokens) AS cached, avg(server_prefill_ns) / 1e9 AS prefill_s "
        "FROM request WHERE status = 'completed' GROUP BY turn ORDER BY turn"
    )
    counts = [row["n"] for row in turns]
    # a chat that ends first makes room for a third one
    is_right = counts == [2, 2, 2] or counts == [3, 2, 1]
    yield Row("chats", "turns", counts, "2 2 2, or 3 2 1", is_right)
    for before, row in itertools.pairwise(turns):
        if row["cached"] is None:
            continue
        least = 0.9 * before["prompt"]  # what the turn before had sent
        yield Row(
            "chats",
            f"turn {row['turn']}: tokens of the prompt that were cached",
            row["cached"],
            f"at least {least:.0f}",
            row["cached"] >= least,
        )
    prompts_grow = [row["prompt"] for row in turns]
    is_right = None not in prompts_grow and prompts_grow == sorted(
        prompts_grow
    )
    yield Row(
        "chats", "prompt tokens by turn", prompts_grow, "growing", is_right
    )


def check_cut_prompt(bench: Bench) -> Iterator[Row]:
    """Ask for twice the context: refused, or marked in column and text."""
    context = bench.server.context
    if context is None:
        return
    done = bench.run(
        "cut", 1, "--prompt-tokens", 2 * context, "--tokens", 8
    )
    good = done.value("SELECT sum(good_requests) FROM level_summary") or 0
    yield equal("cut prompt", "good requests", good, 0)
    says = "context" in done.text
    yield Row(
        "cut prompt",
        "text",
        done.last_line[:60],
        "names the context",
        says,
    )


def check_warm_cache(bench: Bench) -> Iterator[Row]:
    """Fire a level with a cache that misses and one that hits."""
    done = bench.run(
        "cache",
        1,
        "--cache",
        "both",
        "--prompt-tokens",
        400,
        "--tokens",
        8,
    )
    yield exit_row("warm cache", done, 0)
    found = {
        row["cache"]: row["ttft_mean_s"]
        for row in done.rows(
            "SELECT cache, ttft_mean_s FROM level_summary"
        )
    }
    cold, warm = found.get("cold"), found.get("warm")
    is_right = bool(cold and warm and warm < cold)
    yield Row("warm cache", "TTFT", warm, f"less than {cold}", is_right)


def check_killed_server(bench: Bench) -> Iterator[Row]:
    """Kill the server in a level and start it again: the next level is whole."""
    if not bench.running.is_ours:
        return
    run = bench.start("killed", "2,3", "--tokens", LONG_REPLY_TOKENS)
    run.wait_until(RUNNING)
    time.sleep(SENT_AFTER_S)
    bench.running.end(signal.SIGKILL)
    bench.running.start()
    done = run.finish()
    yield equal(
        "killed server",
        "requests without an end",
        done.value(UNFINISHED),
        0,
    )
    sql = f"{COMPLETED} AND level_id = (SELECT id FROM level WHERE concurrency = ?)"
    lost = done.value(sql, (2,))
    yield Row(
        "killed server",
        "completed in its level",
        lost,
        "fewer than 2",
        lost < 2,
    )
    yield equal(
        "killed server", "completed in the next", done.value(sql, (3,)), 3
    )


def check_wrong_model(bench: Bench) -> Iterator[Row]:
    """Ask for a model that is not there: refused, or its right name is told."""
    name = "no-such-model"
    done = bench.run("model", 1, "--tokens", 4, model=name)
    stored = (
        done.value("SELECT model FROM level") if done.code == 0 else None
    )
    is_right = stored != name and (done.code == 1 or stored is not None)
    yield Row(
        "wrong model",
        "exit code, model",
        [done.code, stored],
        "told",
        is_right,
    )


def check_interrupt(bench: Bench) -> Iterator[Row]:
    """Press Ctrl-C once a reply has ended: it is kept, and nothing is left in flight."""
    slots = bench.server.slots
    run = bench.start(
        "interrupt",
        slots,
        "--duration",
        60,
        "--tokens",
        REPLY_TOKENS,
        "--warmup",
        0,
    )
    run.wait_until(COMPLETED)
    run.interrupt()
    done = run.finish()
    yield exit_row("Ctrl-C", done, 130)
    yield equal(
        "Ctrl-C", "requests without an end", done.value(UNFINISHED), 0
    )
    kept = done.value(COMPLETED) or 0
    yield Row("Ctrl-C", "completed", kept, "1 or more", kept >= 1)
    cut = done.value(CUT)
    expected = f"{slots} or fewer"
    yield Row("Ctrl-C", "cut", cut, expected, 0 < cut <= slots)


def exit_row(check: str, done: Finished, expected: int) -> Row:
    ours = (
        done.code
        if done.code == expected
        else f"{done.code}: {done.last_line}"
    )
    return equal(check, "exit code", ours, expected)


def equal(check: str, what: str, ours: object, expected: object) -> Row:
    return Row(check, what, ours, expected, ours == expected)


CHECKS: tuple[Callable[[Bench], Iterator[Row]], ...] = (
    check_burst,
    check_budget,
    check_closed_loop,
    check_open_loop,
    check_chats,
    check_cut_prompt,
    check_warm_cache,
    check_wrong_model,
    check_interrupt,
    check_killed_server,
)
