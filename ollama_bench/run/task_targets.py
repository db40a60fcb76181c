"""What making a task needs to know of the servers, and a copy of it for other processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ollama_bench.inputs.calibration import Calibration
from ollama_bench.protocols.protocol import ServerProtocol
from ollama_bench.protocols.secret import Secret


@dataclass
class TargetFacts:
    """What making and judging requests needs to know of a model on a server."""

    context_tokens: int | None = None  # of a slot
    counts_cached: bool = True  # its count of prompt tokens has them all
    # None: made-up prompts have about a token a word
    calibration: Calibration | None = None
    # a reply can be told to go on to its ceiling
    can_ignore_end: bool = False


class AskedServer(Protocol):
    """Where requests go, and what goes with each."""

    @property
    def url(self) -> str: ...
    @property
    def protocol(self) -> ServerProtocol: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def secret(self) -> Secret: ...


class TaskTargets(Protocol):
    """The servers of a run, and what is known of a model on each."""

    @property
    def servers(self) -> Sequence[AskedServer]: ...

    def id(self, model: str, server: AskedServer) -> int:
        """Return the id of the row of a model on a server."""

    def facts(self, model: str, server: AskedServer) -> TargetFacts:
        """Return what is known of a model on a server."""


@dataclass(frozen=True)
class ServerCopy:
    """A server without its connections: it can be pickled."""

    url: str
    protocol: ServerProtocol
    headers: dict[str, str]
    secret: Secret


class TargetsCopy:
    """The targets of one model as they are now."""

    def __init__(self, targets: TaskTargets, model: str) -> None:
        self.servers = [
            ServerCopy(
                server.url, server.protocol, server.headers, server.secret
            )
            for server in targets.servers
        ]
        self._ids = {
            server.url: targets.id(model, server)
            for server in targets.servers
        }
        self._facts = {
            server.url: targets.facts(model, server)
            for server in targets.servers
        }

    def id(self, model: str, server: AskedServer) -> int:
        """Return the id of the row of the model on a server."""
        return self._ids[server.url]

    def facts(self, model: str, server: AskedServer) -> TargetFacts:
        """Return what is known of the model on a server."""
        return self._facts[server.url]
