"""server_search.py - finds the processes that are the server: by pid, by port or by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import psutil

from ollama_bench.monitor.command_line import is_ollama_server
from ollama_bench.monitor.processes import (
    find_process,
    iterate_processes,
    read_command_line,
)
from ollama_bench.monitor.refusals import REFUSALS


class Socket(Protocol):
    """What psutil tells of a socket."""

    @property
    def status(self) -> str: ...

    @property
    def laddr(self) -> object:
        """Return (ip, port), () without an address."""


def find_servers(
    port: int | None, pid: int | None
) -> list[psutil.Process]:
    """Return the process with this pid, else the processes that serve on the port.

    Ollama goes first, then any other program that listens on the port. Where the system does not
    tell who listens, every Ollama server is returned.
    """
    if pid is not None:
        named = find_process(pid)
        return [named] if named else []
    others = [
        process
        for process in iterate_processes()
        if process.pid != os.getpid()
    ]
    servers = [
        process
        for process in others
        if is_ollama_server(read_command_line(process))
    ]
    if port is None:
        return servers
    listening = [server for server in servers if listens(server, port)]
    return listening or find_listeners(port, others) or servers


def listens(process: psutil.Process, port: int) -> bool:
    try:
        # psutil 6 renamed connections() to net_connections()
        find_sockets = (
            getattr(process, "net_connections", None)
            or process.connections
        )
        sockets = find_sockets(kind="tcp")
        return any(is_listening(socket, port) for socket in sockets)
    except REFUSALS:
        return False


def is_listening(socket: Socket, port: int) -> bool:
    if socket.status != psutil.CONN_LISTEN:
        return False
    return isinstance(socket.laddr, Sequence) and socket.laddr[1] == port


def find_listeners(
    port: int, processes: Sequence[psutil.Process]
) -> list[psutil.Process]:
    """Return who listens on the port: one look at all sockets, else a look at each process.

    macOS shows all sockets to root only.
    """
    try:
        sockets = psutil.net_connections(kind="tcp")
        pids = {
            socket.pid for socket in sockets if is_listening(socket, port)
        }
        return [process for process in processes if process.pid in pids]
    except REFUSALS:
        return [process for process in processes if listens(process, port)]
