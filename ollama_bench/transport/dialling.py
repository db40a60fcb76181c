"""Connections of urllib3 that send and receive through an exchange."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util import wait_for_write

from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.lines import Address, Lines

# how often a thread that connects checks whether it still should
CANCEL_LOOK_S = 0.1


class ExchangeSlot:
    """Holds the exchange that is being sent, for the connections that know the slot.

    urllib3 passes no argument of a request on to its connection, so the connection asks here.
    """

    __slots__ = ("_exchange",)

    def __init__(self) -> None:
        self._exchange: Exchange | None = None

    @contextlib.contextmanager
    def hold(self, exchange: Exchange) -> Iterator[None]:
        """Make this the current exchange. Raises RuntimeError while another one is."""
        if self._exchange is not None:
            raise RuntimeError("this session is already sending a request")
        self._exchange = exchange
        try:
            yield
        finally:
            self._exchange = None

    @property
    def exchange(self) -> Exchange:
        """The exchange that is being sent."""
        assert self._exchange is not None
        return self._exchange


class TappedConnection(HTTPConnection):
    """A connection that connects when its exchange needs a line, and not before."""

    scheme = "http"

    def __init__(
        self, *arguments: Any, slot: ExchangeSlot, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.slot = slot
        self._patience_s: float | None = None

    def connect(self) -> None:
        self.sock = cast("socket.socket", Tap(self))
        self.is_verified = True  # it will be, when it dials
        # by the time it dials urllib3 has replaced the time to connect by the time to read
        self._patience_s = self.timeout

    @property
    def is_connected(self) -> bool:
        return self.sock is not None

    def dial(self) -> socket.socket:
        """Connect, with TLS where the scheme has it. Raises what urllib3 raises."""
        tap = self.sock
        try:
            super().connect()
            sock: socket.socket = self.sock
        finally:
            self.sock = tap
            self.slot.exchange.end_handshake()
        sock.settimeout(None)
        return sock

    def _new_conn(self) -> socket.socket:
        """Connect the socket; urllib3 calls this within ``dial``."""
        exchange = self.slot.exchange
        lines = exchange.lines or Lines()
        try:
            addresses = lines.addresses(self._dns_host, self.port)
            sock = open_socket(
                addresses, self._patience_s, self.socket_options, exchange
            )
        except OSError as error:
            message = f"Failed to establish a new connection: {error}"
            raise NewConnectionError(self, message) from error
        if self.scheme == "https":
            exchange.begin_handshake(sock)
        return sock


class TappedHTTPSConnection(TappedConnection, HTTPSConnection):
    scheme = "https"


class TappedPool(HTTPConnectionPool):
    ConnectionCls = TappedConnection


class TappedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = TappedHTTPSConnection


class Tap:
    """What http.client takes for its socket: collects the request, hands out the answer."""

    def __init__(self, connection: TappedConnection) -> None:
        self._connection = connection

    def sendall(self, data: bytes) -> None:
        self._connection.slot.exchange.collect(data)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        connection = self._connection
        key = connection.scheme, connection.host, connection.port
        return connection.slot.exchange.open_answer(key, connection.dial)

    def settimeout(self, _: float | None) -> None:
        """Do nothing: whoever cancels the exchange keeps the time."""

    def close(self) -> None:
        """Do nothing: a line outlives the exchange."""


def open_socket(
    addresses: Sequence[Address],
    timeout_s: float | None,
    options: Sequence[tuple[Any, ...]] | None,
    exchange: Exchange,
) -> socket.socket:
    """Connect to the first address that answers. Raises OSError, also when cancelled."""
    last_error: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.setblocking(False)
            connect_one(sock, address, timeout_s, exchange)
            sock.settimeout(timeout_s)  # of each step of a handshake
            return sock
        except OSError as error:
            last_error = error
            sock.close()
            if exchange.cancelled:
                break
    raise last_error or OSError("the host name has no address")


def connect_one(
    sock: socket.socket,
    address: Any,
    timeout_s: float | None,
    exchange: Exchange,
) -> None:
    """Connect a non-blocking socket and wait for it. Raises OSError."""
    try:
        sock.connect(address)
        return
    except BlockingIOError:
        pass
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while not wait_for_write(sock, timeout=CANCEL_LOOK_S):
        if exchange.cancelled:
            raise ConnectionAbortedError(exchange.cancelled)
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"no connection within {timeout_s:g} s")
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))
