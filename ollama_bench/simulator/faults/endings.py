"""Faults of the end: errors, a missing or double end, and counters that are wrong."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from ollama_bench.simulator.faults.fault import (
    Fault,
    FaultTable,
    FaultWithArgument,
    replace_end,
)
from ollama_bench.simulator.framing import Unfinished
from ollama_bench.simulator.messages import JsonObject
from ollama_bench.simulator.ollama import OllamaDialect, format_second
from ollama_bench.simulator.openai import OpenAIDialect
from ollama_bench.simulator.reply import Reply

UNEXPECTED_EOF = (
    "an error was encountered while running the model: unexpected EOF"
)


def error_first(reply: Reply) -> None:
    reply.count = 0
    error_last(reply)


def error_last(reply: Reply) -> None:
    replace_end(reply, UNEXPECTED_EOF)


def no_done(reply: Reply) -> None:
    no_done_stop(reply)
    reply.framing = Unfinished(reply.framing)


def no_done_stop(reply: Reply) -> None:
    reply.closers.append(lambda pieces: [])


def done_twice(reply: Reply) -> None:
    reply.closers.append(lambda pieces: pieces * 2)


def text_after_done(reply: Reply) -> None:
    reply.closers.append(
        lambda pieces: [*pieces, reply.dialect.token(" late", False)]
    )


def created_at_backwards(reply: Reply) -> None:
    steps = itertools.count()
    if isinstance(reply.dialect, OllamaDialect):
        reply.dialect.clock = lambda: (
            f"{format_second(int(time.time()) - next(steps))}Z"
        )


def missing_counters(reply: Reply) -> None:
    reply.dialect.counter_changes.append(lambda name, counters: {})


def draft(reply: Reply, argument: str) -> None:
    proposed = int(argument)

    def add(name: str, counters: JsonObject) -> JsonObject:
        if name != "timings":
            return counters
        drafted = {
            "draft_n": proposed,
            "draft_n_accepted": proposed // 2,
        }
        return {**counters, **drafted}

    reply.dialect.counter_changes.append(add)


def missing_usage(reply: Reply) -> None:
    if isinstance(reply.dialect, OpenAIDialect):
        reply.dialect.wants_usage = False

    def drop(name: str, counters: JsonObject) -> JsonObject:
        changed: dict[str, JsonObject] = {
            "timings": {},
            "counters": {**counters, "eval_count": 0},  # 0 is left out
        }
        return changed.get(name, counters)

    reply.dialect.counter_changes.append(drop)


def change_each_counter(
    reply: Reply, change: Callable[[object], object]
) -> None:
    def change_all(name: str, counters: JsonObject) -> JsonObject:
        return {key: change(value) for key, value in counters.items()}

    reply.dialect.counter_changes.append(change_all)


def make_negative(value: object) -> object:
    return -value - 1 if isinstance(value, (int, float)) else value


def counters_as_strings(reply: Reply) -> None:
    change_each_counter(reply, str)


def counters_negative(reply: Reply) -> None:
    change_each_counter(reply, make_negative)


def counters_nan(reply: Reply) -> None:
    change_each_counter(reply, lambda value: float("nan"))


def counters_huge(reply: Reply) -> None:
    change_each_counter(reply, lambda value: float("inf"))
    reply.closers.append(
        lambda pieces: [
            piece.replace(b"Infinity", b"1e400") for piece in pieces
        ]
    )


FAULTS: FaultTable = {
    "error_first": Fault(
        "200 and an error where the first token was due", error_first
    ),
    "error_last": Fault(
        "200, the text, then an error in place of the end", error_last
    ),
    "no_done": Fault(
        "the connection closes after the last token, the body unfinished",
        no_done,
    ),
    "no_done_stop": Fault(
        "a clean end of the body, but no done", no_done_stop
    ),
    "done_twice": Fault("the end comes twice", done_twice),
    "text_after_done": Fault(
        "one more token after the end", text_after_done
    ),
    "created_at_backwards": Fault(
        "created_at goes back a second with every token (Ollama only)",
        created_at_backwards,
    ),
    "missing_counters": Fault(
        "the end without any counter", missing_counters
    ),
    "draft": FaultWithArgument(
        "timings with N (12) tokens of a draft, half of them accepted (OpenAI only)",
        draft,
        "12",
    ),
    "missing_usage": Fault(
        "no usage and no timings even if asked for (Ollama: no eval_count)",
        missing_usage,
    ),
    "counters_as_strings": Fault(
        "every counter as a string", counters_as_strings
    ),
    "counters_negative": Fault(
        "every counter below zero", counters_negative
    ),
    "counters_nan": Fault(
        "every counter NaN, as Python's json writes it", counters_nan
    ),
    "counters_huge": Fault(
        "every counter 1e400, which no double holds", counters_huge
    ),
}
