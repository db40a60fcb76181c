"""What a level is asked to do: one request, and when to give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ollama_bench.protocols.json_values import JsonObject
from ollama_bench.protocols.protocol import ServerProtocol
from ollama_bench.protocols.secret import NO_SECRET, Secret

if TYPE_CHECKING:
    from ollama_bench.load.outcome import Outcome


@dataclass(frozen=True)
class Task:
    """One request to make."""

    number: int  # 1 to n within its level
    protocol: ServerProtocol
    url: str
    body: JsonObject
    headers: dict[str, str] = field(default_factory=dict)  # e.g. an API key
    prefix: str | None = None  # precedes the prompt to miss the prompt cache
    target_id: int | None = None
    prompt_number: int | None = None  # in a file of prompts
    turn: int = 1  # of a conversation
    follow: Callable[[int, Outcome], Task] | None = None  # makes the next turn, numbered so
    secret: Secret = NO_SECRET  # an API key, masked wherever the server repeats it


@dataclass(frozen=True)
class Limits:
    """When to give up, and how to read; seconds, None is never."""

    stall_s: float | None = 300.0  # silence of a stream that had begun, or of a whole level
    deadline_s: float | None = None  # of a level
    kernel_stamps: bool = True
