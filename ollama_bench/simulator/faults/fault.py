"""What a fault is, and what most faults do to a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ollama_bench.simulator.reply import Reply

Action = Callable[[Reply], None]


@dataclass(frozen=True)
class Fault:
    """A fault without an argument; the summary is its line in --fault help."""

    summary: str
    action: Action

    def bind(self, argument: str) -> Action:
        """Return what to do to a reply. Raises ValueError."""
        if argument:
            raise ValueError(
                f"invalid argument {argument!r}: expected none"
            )
        return self.action


@dataclass(frozen=True)
class FaultWithArgument:
    """A fault with an argument that has a default; its action raises ValueError for a wrong one."""

    summary: str
    action: Callable[[Reply, str], None]
    default: str

    def bind(self, argument: str) -> Action:
        """Return what to do to a reply."""
        given = argument or self.default
        return lambda reply: self.action(reply, given)


FaultTable = Mapping[str, Fault | FaultWithArgument]


def act_at_token(
    reply: Reply, argument: str, action: Callable[[], object]
) -> None:
    """Do something instead of writing token N, again and again if the stream goes on."""
    n = max(0, min(int(argument), reply.count - 1))

    def intercept(due_ns: int) -> bool:
        if reply.written != n:
            return False
        action()
        return True

    reply.interceptors.insert(0, intercept)


def replace_end(reply: Reply, error: str) -> None:
    """Send an error in place of the last messages."""
    reply.closers.append(lambda pieces: [reply.dialect.error_line(error)])
