"""A server that plays scripted answers, and a client of it."""

import contextlib
import itertools
import queue
import socket
import ssl
import threading
import time
from pathlib import Path

import requests

from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.session import Session

FIXTURES = Path(__file__).parents[1] / "fixtures"
GAP_S = 0.15  # a pause of the server
SEEN_GAP_S = (
    0.024  # what is seen of it by who reads the bytes before it late
)
PATIENCE_S = 20.0  # for a read on a loaded machine
CLOSE = object()
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
BODY = b'{"x": "0\r\n\r\n", "y": 1}\n'


@contextlib.contextmanager
def server(*answers, tls=False):
    """Play one answer for each request, in turn; yield the URL.

    An answer is a list of bytes, pauses in seconds, what is called for a pause, and CLOSE.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls:
        context.load_cert_chain(
            FIXTURES / "localhost-cert.pem", FIXTURES / "localhost-key.pem"
        )
    waiting = queue.SimpleQueue()
    for answer in answers:
        waiting.put(answer)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(
                    target=talk, args=(connection,), daemon=True
                ).start()

    def talk(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            if tls:
                connection = context.wrap_socket(
                    connection, server_side=True
                )
            with connection:
                while read_request(connection) and not waiting.empty():
                    for step in waiting.get():
                        if step is CLOSE:
                            return
                        play(step, connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.close()


def play(step, connection):
    if isinstance(step, float):
        time.sleep(step)
    elif callable(step):
        step()
    else:
        connection.sendall(step)


class Reads:
    """Pauses that begin when the client has read what came before, however late that is."""

    def __init__(self, exchange):
        self._exchange = exchange

    def after(self, count):
        """Return a pause that begins with so many reads."""

        def pause():
            end_s = time.monotonic() + PATIENCE_S
            while (
                self._exchange.reads < count and time.monotonic() < end_s
            ):
                time.sleep(0.001)
            time.sleep(GAP_S)

        return pause


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        if not (got := connection.recv(65536)):
            return False
        data += got
    return True


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


FRAMINGS = {
    "chunked": HEAD
    + chunk(BODY)
    + chunk(b"10\r\n\r\n")
    + chunk(BODY)
    + END,
    "trailers": HEAD + chunk(BODY) + b"0\r\nX-Sum: 1\r\n\r\n",
    "extension": HEAD + b"%x;name=1\r\n%s\r\n" % (len(BODY), BODY) + END,
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    + BODY,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "continue first": b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
}
EXPECTED = {
    "chunked": BODY + b"10\r\n\r\n" + BODY,
    "trailers": BODY,
    "extension": BODY,
    "length": BODY,
    "empty": b"",
    "no content": b"",
    "continue first": b"abc",
}


def exchange_with(
    url, kernel_stamps=True, session=None, exchange=None, **options
):
    """Make one exchange; return its (instant, bytes) and itself.

    It fires itself, unless it has an on_ready.
    """
    session = session or Session()
    exchange = exchange or Exchange(kernel_stamps=kernel_stamps, **options)
    prepared = session.prepare_request(
        requests.Request("POST", url, json={"a": 1})
    )
    with exchange:
        response = session.send(
            prepared,
            exchange=exchange,
            stream=True,
            timeout=(5, None),
            verify=str(FIXTURES / "localhost-cert.pem"),
        )
        pieces = list(exchange.pieces(response))
    return pieces, exchange


def text(pieces):
    return b"".join(data for _, data in pieces)


def gaps_s(instants):
    """The times between instants of perf_counter_ns."""
    return [
        (later - earlier) / 1e9
        for earlier, later in itertools.pairwise(instants)
    ]
