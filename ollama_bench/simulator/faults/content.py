"""Faults of the text: bytes, lines and tokens that a client does not expect."""

from __future__ import annotations

from ollama_bench.simulator.faults.fault import (
    Fault,
    FaultTable,
    FaultWithArgument,
    replace_end,
)
from ollama_bench.simulator.reply import Reply

GARBAGE = b"\xff\xfe<<< {\x00 garbage\n\n"
ESCAPES = "\x1b[31m\x1b]0;owned\x07\x9b2J\r"


def garbage(reply: Reply, argument: str) -> None:
    wanted = int(argument)
    reply.rewriters.append(
        lambda n, payload: GARBAGE if n == wanted else payload
    )


def huge_line(reply: Reply, argument: str) -> None:
    text, size = reply.text, int(argument)
    reply.text = lambda n: "x" * size if n == 1 else text(n)


def merged_tokens(reply: Reply, argument: str) -> None:
    each, text = int(argument), reply.text

    def merge(n: int) -> str | None:
        if n % each != each - 1 and n != reply.count - 1:
            return None
        return "".join(text(i) or "" for i in range(n - n % each, n + 1))

    reply.text = merge


def inline_think(reply: Reply) -> None:
    text = reply.text
    tags = {0: "<think>", reply.reasoning_count: "</think>"}
    reply.reasoning_count = 0
    reply.text = lambda n: tags.get(n) or text(n)


def other_model(reply: Reply, argument: str) -> None:
    reply.dialect.model = argument


def no_text(reply: Reply) -> None:
    reply.count = 0


def escape_codes(reply: Reply, argument: str) -> None:
    text = reply.text

    def escape(n: int) -> str | None:
        plain = text(n)
        return None if plain is None else ESCAPES + plain

    reply.text = escape
    reply.dialect.model += ESCAPES
    if argument == "error":
        replace_end(reply, ESCAPES + "it broke")


FAULTS: FaultTable = {
    "garbage": FaultWithArgument(
        "bytes that are neither JSON nor UTF-8 in place of token N (1)",
        garbage,
        "1",
    ),
    "huge_line": FaultWithArgument(
        "a line of N (5000000) bytes in place of token 1",
        huge_line,
        "5000000",
    ),
    "merged_tokens": FaultWithArgument(
        "N (2) tokens in each chunk, so that chunks are fewer than tokens",
        merged_tokens,
        "2",
    ),
    "inline_think": Fault(
        "the reasoning within the text, between <think> and </think>, as before 2025-05",
        inline_think,
    ),
    "other_model": FaultWithArgument(
        "the reply names the model NAME (another:1b)",
        other_model,
        "another:1b",
    ),
    "no_text": Fault("done with no text at all", no_text),
    "escape_codes": FaultWithArgument(
        "terminal escapes in model and text; with 'error' also in an error at the end",
        escape_codes,
        "text",
    ),
}
