"""The server process: its socket, its event loop, its signals and its end."""

from __future__ import annotations

import asyncio
import functools
import gc
import select
import selectors
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import psutil
import uvicorn

from ollama_bench.simulator.connection import Connection
from ollama_bench.simulator.routes import respond
from ollama_bench.simulator.settings import (
    BACKLOG,
    Settings,
    SimulatorError,
)
from ollama_bench.simulator.simulation import Simulation

DESCRIPTORS = 8192  # files and connections to be allowed
PARENT_CHECK_S = 1.0  # how often --parent-pid is looked for
END_PATIENCE_S = 1  # how long the end waits for open connections


def serve(settings: Settings) -> int:
    """Serve until SIGTERM, Ctrl-C or the end of the parent. Raises SimulatorError."""
    listener = listen(settings.port)
    # uvicorn hands the signal on at its end
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    raise_descriptor_limit()
    loop = new_event_loop()
    simulation = Simulation(settings, loop)
    server = ReadyServer(configure_uvicorn(simulation))
    if settings.parent_pid is not None:
        watch_parent(settings.parent_pid, server, loop)
    # objects of modules stay: no reason to visit them again while tokens are due
    gc.freeze()
    try:
        loop.run_until_complete(server.serve(sockets=[listener]))
    finally:
        simulation.close()
        loop.close()
    return 0


def listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        remedy = "use another --port, or 0 for a free one"
        raise SimulatorError(
            f"cannot listen on port {port}: {error.strerror}; {remedy}"
        ) from None


class ReadyServer(uvicorn.Server):
    """uvicorn that says when it is ready: listening, and with its signal handlers in place."""

    async def startup(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        await super().startup(sockets)
        scheme = "https" if self.config.is_ssl else "http"
        for listener in sockets or []:
            port = listener.getsockname()[1]
            print(f"listening on {scheme}://127.0.0.1:{port}", flush=True)


def configure_uvicorn(simulation: Simulation) -> uvicorn.Config:
    """Leave sockets, TLS, signals and the end to uvicorn, and replace its HTTP class by ours.

    A token took 24 µs through its own class and takes 6 through ours; reading a burst of 256
    requests took 107 ms and takes 30. That would be too coarse for a witness.
    """
    cert, key = simulation.settings.tls or (None, None)
    # called like a class
    protocol: Any = functools.partial(Connection, simulation, respond)
    config = uvicorn.Config(
        unused_application,
        http=protocol,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_level="warning",
        backlog=BACKLOG,
        ssl_certfile=cert,
        ssl_keyfile=key,
        timeout_graceful_shutdown=END_PATIENCE_S,
    )
    try:
        config.load()
    except OSError as error:
        raise SimulatorError(
            f"cannot use --tls {cert} {key}: {error}"
        ) from None
    return config


async def unused_application(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Stand where uvicorn wants an application: our connections answer by themselves."""


def raise_descriptor_limit() -> None:
    """Allow enough open files: a connection is one, and macOS allows 256 unless asked."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (
        DESCRIPTORS
        if hard == resource.RLIM_INFINITY
        else min(DESCRIPTORS, hard)
    )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's selector loop; on Linux its timers keep to microseconds."""
    if sys.platform == "linux":
        return asyncio.SelectorEventLoop(FineSelector())
    return asyncio.new_event_loop()


if sys.platform == "linux":

    class FineSelector(selectors.EpollSelector):
        """epoll sleeps whole milliseconds, rounded up; select() on it sleeps microseconds."""

        def select(
            self, timeout: float | None = None
        ) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)


def watch_parent(
    pid: int, server: ReadyServer, loop: asyncio.AbstractEventLoop
) -> None:
    """Look for the parent now and then; end the server when it is gone."""
    try:
        parent = psutil.Process(pid)
        alive = (
            parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        alive = False
    except (psutil.Error, OSError, RuntimeError):
        alive = True  # the system does not say
    server.should_exit = server.should_exit or not alive
    loop.call_later(PARENT_CHECK_S, watch_parent, pid, server, loop)
