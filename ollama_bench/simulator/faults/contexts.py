"""Faults of the context: prompts that are cut or refused, replies that end where it ends."""

from __future__ import annotations

from ollama_bench.simulator.faults.fault import (
    FaultTable,
    FaultWithArgument,
)
from ollama_bench.simulator.messages import JsonObject, dump
from ollama_bench.simulator.ollama import OllamaDialect
from ollama_bench.simulator.reply import Reply


def cut_prompt(reply: Reply, argument: str) -> None:
    reply.prompt_tokens = min(reply.prompt_tokens, int(argument))


def context(reply: Reply, argument: str) -> None:
    size = int(argument)
    is_ollama = isinstance(reply.dialect, OllamaDialect)
    if reply.prompt_tokens >= size:
        if is_ollama and reply.request.json().get("truncate", True):
            reply.prompt_tokens = size // 2
        else:
            refuse_prompt(reply, size, is_ollama)
            return
    room = size - reply.prompt_tokens
    if reply.count > room:
        reply.count, reply.done_reason = room, "length"


def refuse_prompt(reply: Reply, size: int, is_ollama: bool) -> None:
    """Answer as llama-server does; Ollama hands its body on as text."""
    error: JsonObject = {
        "error": {
            "code": 400,
            "message": f"request ({reply.prompt_tokens} tokens) exceeds the available context "
            f"size ({size} tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": reply.prompt_tokens,
            "n_ctx": size,
        }
    }
    if is_ollama:
        error = {"error": dump(error).decode()}
    reply.refuse(400, "application/json", dump(error))


FAULTS: FaultTable = {
    "cut_prompt": FaultWithArgument(
        "the prompt is cut to N (2050) tokens and nothing says so",
        cut_prompt,
        "2050",
    ),
    "context": FaultWithArgument(
        "a context of N (4096) tokens: a longer prompt gets status 400, or with Ollama's "
        "truncate is cut to half of it; the reply ends where the context does",
        context,
        "4096",
    ),
}
