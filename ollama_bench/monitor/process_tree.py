"""process_tree.py - follows the server's processes through restarts of the server and its runners.

tree = ProcessTree([11434], None)
changes = tree.rescan(time.monotonic())     # which processes appeared and vanished
tree.find_slots(11434)                      # how many requests the server takes at a time
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from ollama_bench.monitor.command_line import (
    is_runner,
    parse_slots,
    read_cache_type,
    read_slots,
    uses_mlx_engine,
)
from ollama_bench.monitor.process_sample import (
    Role,
    ServerProcess,
    make_server_process,
)
from ollama_bench.monitor.processes import (
    find_descendants,
    is_alive,
    is_still_running,
    read_command_line,
    read_environment,
    read_start_time,
)
from ollama_bench.monitor.server_search import find_servers

# between two searches for a missing server: they walk all processes and sockets
SEARCH_S = 10.0
# a younger child with its parent's command line, or with none, is about to become another
# program; Linux rounds the machine's start to a second, so a start can read a second too early
FORK_S = 2.0
# a property of Ollama: no setting changes it
MLX_ENGINE = "MLX engine: one request at a time"


@dataclass(frozen=True)
class FoundProcess:
    process: psutil.Process
    role: Role


@dataclass(frozen=True)
class TreeChanges:
    appeared: list[ServerProcess]
    vanished: list[ServerProcess]


class Slots(NamedTuple):
    """How many requests a server takes at a time, and where that was read."""

    number: int | None = None
    source: str | None = None


class ProcessTree:
    """The processes of the servers on some ports, or of the one server with a pid, by role."""

    def __init__(self, ports: Sequence[int], pid: int | None) -> None:
        self.ports = tuple(dict.fromkeys(ports))
        self.pid = pid
        self.members: dict[int, ServerProcess] = {}  # by pid
        self._searched_s = float("-inf")
        places: Sequence[int | None] = (
            self.ports if pid is None else (None,)
        )
        self._roots: dict[int | None, list[psutil.Process]] = {
            place: [] for place in places
        }

    @property
    def roots(self) -> list[psutil.Process]:
        return [root for roots in self._roots.values() for root in roots]

    @property
    def place(self) -> str:
        """Say where the server is looked for, as a part of a sentence."""
        if self.pid is not None:
            return f"with pid {self.pid}"
        word = "ports" if len(self.ports) > 1 else "port"
        return f"on {word} {' or '.join(map(str, self.ports))}"

    def rescan(self, now_s: float) -> TreeChanges:
        """Look for processes; return which appeared and vanished since the last time."""
        self._find_roots(now_s)
        seen = {
            found.process.pid: found for found in self._walk(self.roots)
        }
        vanished = []
        for pid, member in list(self.members.items()):
            if pid not in seen or not member.is_same_process(
                seen[pid].process
            ):
                vanished.append(self.members.pop(pid))
        appeared = [
            make_server_process(found.process, found.role)
            for pid, found in seen.items()
            if pid not in self.members
        ]
        self.members |= {member.process.pid: member for member in appeared}
        return TreeChanges(appeared, vanished)

    def remove(self, member: ServerProcess) -> None:
        self.members.pop(member.process.pid, None)

    def find_slots(self, port: int | None = None) -> Slots:
        """Return the slots of the server on this port, or of any.

        The newest process that was started with a number of slots counts.
        """
        roots = self._roots.get(port, self.roots)
        for found in self._walk_newest_first(roots):
            words = read_command_line(found.process)
            if number := read_slots(words):
                role = "server" if found.role == "serve" else found.role
                return Slots(number, f"command line of the {role}")
            if uses_mlx_engine(words):
                return Slots(1, MLX_ENGINE)
        for root in roots:
            if number := parse_slots(
                read_environment(root).get("OLLAMA_NUM_PARALLEL")
            ):
                return Slots(number, "OLLAMA_NUM_PARALLEL of the server")
        return Slots()

    def find_cache_type(self, port: int | None = None) -> str | None:
        """Return the type of the context's cache, by the newest runner or the server's setting."""
        roots = self._roots.get(port, self.roots)
        for found in self._walk_newest_first(roots):
            if named := read_cache_type(read_command_line(found.process)):
                return named
        settings = (
            read_environment(root).get("OLLAMA_KV_CACHE_TYPE")
            for root in roots
        )
        return next(filter(None, settings), None)

    def _find_roots(self, now_s: float) -> None:
        """Search for missing servers: at once for one that has just ended, else every SEARCH_S."""
        has_ended = False
        for place, roots in self._roots.items():
            running = [root for root in roots if is_still_running(root)]
            has_ended |= bool(roots) and not running
            self._roots[place] = running
        missing = [
            place for place, roots in self._roots.items() if not roots
        ]
        is_due = has_ended or now_s - self._searched_s >= SEARCH_S
        if not missing or not is_due:
            return
        self._searched_s = now_s
        for place in missing:
            found = find_servers(place, self.pid)
            self._roots[place] = [
                root for root in found if root.pid != os.getpid()
            ]

    def _walk_newest_first(
        self, roots: Sequence[psutil.Process]
    ) -> list[FoundProcess]:
        def start_time(found: FoundProcess) -> float:
            return read_start_time(found.process) or 0

        return sorted(self._walk(roots), key=start_time, reverse=True)

    def _walk(
        self, roots: Sequence[psutil.Process]
    ) -> Iterator[FoundProcess]:
        """Yield every root and all its descendants."""
        for root in roots:
            yield FoundProcess(root, "serve")
            root_words = read_command_line(root)
            for child in find_descendants(root):
                words = read_command_line(child)
                if child.pid == os.getpid() or not is_alive(child):
                    continue
                is_own_program = words and words != root_words
                if not is_own_program and was_just_forked(child):
                    continue
                yield FoundProcess(
                    child, "runner" if is_runner(words) else "helper"
                )


def was_just_forked(child: psutil.Process) -> bool:
    """Return whether the child may still become another program."""
    # below 0 where the clock was set back
    age_s = time.time() - (read_start_time(child) or 0)
    return abs(age_s) < FORK_S
