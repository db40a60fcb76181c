"""Write a request on its line; nobody who has others to serve waits for a slow server.

Errors are not reported here: whoever receives meets the same broken connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from ollama_bench.transport import capabilities, recorder, syscalls
from ollama_bench.transport.lines import ServerLine

# the socket's buffer takes this much, whether or not the server reads
SMALL_BYTES = 65_536


def send_at_once(
    line: ServerLine, payload: bytes, is_cut: Callable[[], bool]
) -> None:
    """Write what a plain line takes now, and the rest in a thread."""
    try:
        sent = syscalls.send(line.number, payload)
    except OSError:
        return
    if sent < len(payload):
        rest = payload[sent:]
        run_in_thread(lambda: write_all(line.sock, rest, is_cut))


def send_patiently(
    sock: socket.socket,
    payload: bytes,
    is_cut: Callable[[], bool],
    on_sent: Callable[[], None],
) -> None:
    """Write with Python's own method; a large payload, which may wait, in a thread."""

    def send() -> None:
        write_all(sock, payload, is_cut)
        on_sent()

    if len(payload) <= SMALL_BYTES:
        send()
    else:
        run_in_thread(send)


def run_in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="sender", daemon=True).start()


def write_all(
    sock: socket.socket, data: bytes, is_cut: Callable[[], bool]
) -> None:
    with contextlib.suppress(OSError):
        if capabilities.SHUTDOWN_WAKES:
            sock.sendall(data)
        else:
            write_in_steps(sock, memoryview(data), is_cut)


def write_in_steps(
    sock: socket.socket, data: memoryview, is_cut: Callable[[], bool]
) -> None:
    """Write it all, but look now and then whether the stream was cut. Raises OSError."""
    sock.settimeout(recorder.CUT_LOOK_S)
    while data and not is_cut():
        with contextlib.suppress(TimeoutError):
            data = data[sock.send(data) :]
    sock.settimeout(None)
