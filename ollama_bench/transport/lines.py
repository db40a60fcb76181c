"""Connections to servers: one line, and the idle lines that later requests may use."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, TypeAlias

from urllib3.util import wait_for_read

from ollama_bench.transport import stamps, syscalls

# a server that has not hung up this long after a reply keeps its connections
KEPT_AFTER_S = 0.02
# a line idle for less is written to without checking it first
FRESH_S = 1.0

ServerKey: TypeAlias = tuple[str, str, int]  # scheme, host, port
# as socket.getaddrinfo returns them
Address: TypeAlias = tuple[int, int, int, str, Any]


class ServerLine:
    """A connection to a server. It carries one exchange at a time."""

    def __init__(
        self,
        sock: socket.socket,
        key: ServerKey,
        kernel_stamps: bool = False,
    ) -> None:
        self.sock, self.key = sock, key
        # TLS: its object must not read and write at once
        self.is_plain = type(sock) is socket.socket
        self.has_stamps = (
            kernel_stamps and self.is_plain and stamps.request_stamps(sock)
        )
        self.number = sock.fileno()
        self.has_served = False
        # whether the server closed it while no request was on it
        self.has_hung_up = False
        self.has_unasked_data = False  # the server sent something then
        self._idle_since = time.monotonic()

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self._idle_since

    def begin_idle(self) -> None:
        """Count the idle time from now."""
        self._idle_since = time.monotonic()

    def end_reply(self) -> None:
        """A reply has ended as it should: the line is idle and has served."""
        self.has_served = True
        self.begin_idle()

    def note_idle_event(self) -> None:
        """Something came while no request was on the line: data, or the end of file."""
        self.has_unasked_data = (
            not self.has_served and syscalls.peek(self.number) > 0
        )
        self.has_hung_up = not self.has_unasked_data

    def is_open(self) -> bool:
        """Has the server neither hung up nor sent anything unasked?"""
        if self.has_hung_up or self.has_unasked_data:
            return False
        if self.is_plain and syscalls.AVAILABLE:
            return syscalls.peek(self.number) < 0
        try:
            return not wait_for_read(self.sock, timeout=0.0)
        except (OSError, ValueError):
            return False

    def shut_down(self) -> None:
        """End it in both directions; whoever reads sees the end of file."""
        shut_down(self.sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()


def shut_down(sock: socket.socket) -> None:
    """End a connection in both directions, without a TLS farewell; readers see the end of file."""
    with contextlib.suppress(OSError):  # it was not connected any more
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Lines:
    """Idle connections to servers, and whether each server keeps a connection after a reply.

    A server that hangs up right after a reply, without announcing it, makes the next request on
    that line fail. So a line is used again only where the server is known to keep it.
    """

    def __init__(self) -> None:
        self._idle: dict[ServerKey, list[ServerLine]] = {}
        self._keeps: dict[ServerKey, bool] = {}
        self._addresses: dict[tuple[str, int], list[Address]] = {}
        self._lock = threading.Lock()

    def keeps(self, key: ServerKey) -> bool:
        """Is the server known to keep a connection after a reply?"""
        with self._lock:
            idle = self._idle.get(key, [])
            while (
                key not in self._keeps
                and idle
                and idle[0].idle_s >= KEPT_AFTER_S
            ):
                self._judge_oldest(key, idle)
            return self._keeps.get(key, False)

    def _judge_oldest(
        self, key: ServerKey, idle: list[ServerLine]
    ) -> None:
        """Learn from the line that has been idle longest; close it unless it can be used."""
        oldest = idle[0]
        if oldest.has_served and oldest.is_open():
            self._keeps[key] = True
            return
        idle.pop(0)
        # an older one may have timed out
        if oldest.has_served and oldest.idle_s < FRESH_S:
            self._keeps[key] = False
        oldest.close()

    def hung_up(self, key: ServerKey) -> None:
        """Note that the server closed a line that was to be used again."""
        with self._lock:
            self._keeps[key] = False

    def put(self, line: ServerLine) -> None:
        """Keep an idle line for a later request."""
        line.begin_idle()
        with self._lock:
            self._idle.setdefault(line.key, []).append(line)

    def take(self, key: ServerKey) -> ServerLine | None:
        """Return an open idle line, the one used last; None where a new one must be made."""
        may_have_served = self.keeps(key)
        while (line := self._pop(key, may_have_served)) is not None:
            if line.is_open():
                return line
            line.close()
        return None

    def _pop(
        self, key: ServerKey, may_have_served: bool
    ) -> ServerLine | None:
        with self._lock:
            idle = self._idle.get(key, [])
            for place in reversed(range(len(idle))):
                if may_have_served or not idle[place].has_served:
                    return idle.pop(place)
        return None

    def rest(self) -> None:
        """Close all but one line of each server: idle ones occupy threads of some servers."""
        self._close_all_but(1)

    def close(self) -> None:
        """Close all idle lines."""
        self._close_all_but(0)

    def _close_all_but(self, count: int) -> None:
        with self._lock:
            for idle in self._idle.values():
                while len(idle) > count:
                    idle.pop().close()

    def addresses(self, host: str, port: int) -> list[Address]:
        """Resolve a host name, once. Raises OSError."""
        key = host, port
        if key not in self._addresses:
            name = host.strip("[]")
            self._addresses[key] = list(
                socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM)
            )
        return self._addresses[key]
