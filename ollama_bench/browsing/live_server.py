"""The process that shows a run while it runs: Datasette on this machine alone, out of the way.

    python -c "from ollama_bench.browsing.live_server import main; main()" results.db 7

It prints one line, "listening on URL", the address of the run's page, once that answers at once.
It ends when its standard input ends: when who started it closes it, or is no more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvicorn
from datasette.app import Datasette
from datasette.plugins import pm

from ollama_bench.browsing import datasette_plugin, routes

HOST, PORT = "127.0.0.1", 8001  # Datasette's own, where it is free
OWN_NAMES = (HOST, "localhost")
# beside a model that keeps every core busy it still gets a tenth of one:
# what the page asks twice a second takes some 20 ms
NICENESS = 10
PLUGIN = "ollama_bench"  # its entry point, where the package is installed

App = Callable[[Any, Any, Any], Awaitable[None]]


def main() -> None:
    """Serve until the standard input ends."""
    path, run_id = sys.argv[-2:]
    give_way()
    if not pm.has_plugin(PLUGIN):
        pm.register(datasette_plugin, PLUGIN)
    try:
        asyncio.run(serve_run(path, int(run_id)))
    except Exception as error:
        # who started this one reads it in place of the address
        print(" ".join(f"{error}".split()), flush=True)
        raise


def give_way() -> None:
    """Let everything else on this machine come first."""
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        # whatever the measurement itself has
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


async def serve_run(path: str, run_id: int) -> None:
    datasette = Datasette([path])
    await datasette.invoke_startup()
    app = refuse_other_names(datasette.app())
    config = uvicorn.Config(app, log_level="error")
    server = uvicorn.Server(config)
    threading.Thread(target=end_with_input, daemon=True).start()
    with open_usual_port() as listening:
        # before the run measures anything: it takes seconds of a core
        routes.prepare_pages()
        say_address(datasette, listening, run_id)
        await server.serve(sockets=[listening])


def refuse_other_names(app: App) -> App:
    """Return an app that answers to the names of this machine alone.

    A page of another site could give its own name this address, and read what is here.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or read_asked_host(scope) in OWN_NAMES:
            await app(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": 403}
        kind = (b"content-type", b"text/plain; charset=utf-8")
        text = b"expected localhost or 127.0.0.1 as Host"
        await send({**start, "headers": [kind]})
        await send({"type": "http.response.body", "body": text})

    return answer


def read_asked_host(scope: Any) -> str | None:
    """Return the host's name by which a client asks; None: it names none."""
    named = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    try:
        return urlsplit(f"//{named}").hostname
    except ValueError:
        return None


def open_usual_port() -> socket.socket:
    """Return a socket that listens: on the usual port, or where that is taken a free one."""
    try:
        return socket.create_server((HOST, PORT))
    except OSError:
        return socket.create_server((HOST, 0))


def say_address(
    datasette: Any, listening: socket.socket, run_id: int
) -> None:
    port = listening.getsockname()[1]
    name = next(
        name
        for name in datasette.databases
        if answers_for(datasette.databases[name])
    )
    page = f"{datasette.urls.database(name)}/-/run/{run_id}"
    print(f"listening on http://{HOST}:{port}{page}", flush=True)


def answers_for(database: Any) -> bool:
    """Tell whether it is the file that was named, and none of Datasette's own."""
    return bool(database.path)


def end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
