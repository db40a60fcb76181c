"""One client's connection: bytes in, requests out, answers back."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Literal, Protocol, cast

from ollama_bench.simulator.messages import (
    Request,
    dump,
    format_head,
    parse_head,
)
from ollama_bench.simulator.simulation import Simulation

# With the profile exact, a burst is read to its end before its first request is looked at: that
# takes 60 µs each.
LOOK_LATER_S = 0.02

Outcome = Literal["done", "refused", "disconnected"]


class OpenReply(Protocol):
    """A reply that is being streamed."""

    def close(self, outcome: Outcome) -> None:
        """End it."""


class ServerState(Protocol):
    """What uvicorn shares among its connections."""

    @property
    def connections(self) -> set[asyncio.Protocol]:
        """Those that are open: uvicorn calls their shutdown()."""


Responder = Callable[["Connection", Request], None]


class Connection(asyncio.Protocol):
    """uvicorn's HTTP class: read requests, and let a reply write its own bytes to the transport."""

    transport: asyncio.Transport

    def __init__(
        self,
        simulation: Simulation,
        respond: Responder,
        config: object,
        server_state: ServerState,
        app_state: object,
        _loop: object = None,
    ) -> None:
        self.simulation = simulation
        self._respond = respond
        self._peers = server_state.connections
        self._buffer = bytearray()
        self._came_ns = 0
        self._reply: OpenReply | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        if self._reply:
            self._reply.close("disconnected")

    def shutdown(self) -> None:
        """Close at once: uvicorn calls this when the server ends."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._came_ns = time.perf_counter_ns()
        if self.simulation.settings.is_exact and data.startswith(b"POST "):
            self.simulation.loop.call_later(
                LOOK_LATER_S, self._next_request
            )
        else:
            self._next_request()

    def _next_request(self) -> None:
        """Answer the next request in the buffer if it is complete."""
        if self._reply:
            return
        data, blank, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not blank:
            return
        try:
            head = parse_head(data)
            length = int(head.headers.get("content-length", 0))
        except ValueError:
            self.answer(None, 400, "text/plain", b"400 Bad Request")
            self.transport.close()
            return
        if head.headers.get("expect") and not rest:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(rest) >= length:
            self._buffer = bytearray(rest[length:])
            number = self.simulation.next_number()
            self._respond(
                self, Request(number, head, rest[:length], self._came_ns)
            )

    def answer(
        self,
        request: Request | None,
        status: int,
        content_type: str,
        body: bytes,
        *lines: str,
    ) -> None:
        """Send a whole answer; lines are further headers."""
        head = format_head(
            status, content_type, f"Content-Length: {len(body)}", *lines
        )
        is_head = request is not None and request.method == "HEAD"
        self.transport.write(head if is_head else head + body)
        if request is not None:
            self._go_on(request.keep_alive)

    def answer_json(
        self, request: Request, status: int, value: object
    ) -> None:
        """Send a whole answer in JSON."""
        self.answer(
            request, status, "application/json; charset=utf-8", dump(value)
        )

    def begin_reply(self, reply: OpenReply) -> None:
        """Answer no further request until this reply has ended."""
        self._reply = reply

    def end_reply(self, keep_alive: bool) -> None:
        self._reply = None
        self._go_on(keep_alive)

    def _go_on(self, keep_alive: bool) -> None:
        if not keep_alive:
            self.transport.close()
        elif self._buffer:
            self.simulation.loop.call_soon(self._next_request)

    def reset(self) -> None:
        """Close with a TCP reset."""
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()
        if self._reply:
            # now, not when the loop comes to it: no more of it is due
            self._reply.close("disconnected")
