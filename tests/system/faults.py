"""Levels against a server that does everything wrong, and what must be true of them."""

import contextlib
import gc
import socket
import ssl
import threading
import time
from pathlib import Path

import psutil

from ollama_bench.load import load
from ollama_bench.protocols.registry import PROTOCOLS

ROOT = Path(__file__).resolve().parents[2]


FIXTURES = Path(__file__).parents[1] / "fixtures"


STALL_S = 1.5  # silence that these tests wait for


DEADLINE_S = 2.5  # of levels that would go on for ever


SHORT = load.Limits(stall_s=STALL_S)
PATIENT = load.Limits(
    stall_s=20
)  # with a server that waits for a processor
LEFT_OVER_S = 5.0  # for threads and descriptors of the last level to go


MIB = 1 << 20


def fire(
    url,
    count,
    api_name="ollama",
    *,
    fault=None,
    limits=PATIENT,
    prompt="why?",
    **options,
):
    protocol = PROTOCOLS[api_name]
    headers = {"X-Sim-Fault": fault} if fault else {}
    level = load.Load(
        lambda n: load.Task(
            n,
            protocol,
            url + protocol.path,
            protocol.build_body("deepseek-r1:7b", f"[{n}] {prompt}"),
            headers,
        ),
        limits,
        count,
        **options,
    )
    kept = Kept()
    level.run(kept)
    level.outcomes = sorted(
        kept.outcomes, key=lambda outcome: outcome.task.number
    )
    return level


class Kept(load.Observer):
    """Every outcome, also of a load that goes on."""

    def __init__(self):
        self.outcomes = []

    def ended(self, outcome):
        self.outcomes.append(outcome)


@contextlib.contextmanager
def nothing_left():
    """No thread and no descriptor more than before."""
    gc.collect()
    process, threads = psutil.Process(), threading.active_count()
    count = (
        process.num_fds
        if hasattr(process, "num_fds")
        else process.num_handles
    )
    descriptors = count()
    yield
    until = time.monotonic() + LEFT_OVER_S
    while (
        threading.active_count() > threads or count() > descriptors
    ) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    assert threading.active_count() <= threads and count() <= descriptors


def check(level, count, statuses, http_status=None):
    """One outcome a request, each of a status that is right, each a row that SQLite takes."""
    assert [outcome.task.number for outcome in level.outcomes] == list(
        range(1, count + 1)
    )
    for outcome in level.outcomes:
        assert outcome.status in statuses, (outcome.status, outcome.error)
        assert http_status is None or outcome.http_status == http_status
        assert (outcome.error is None) == (
            outcome.status == "completed"
        ) and len((outcome.error or "x").splitlines()) == 1
        row = outcome.to_figures(0)
        assert all(
            value is None or isinstance(value, (int, str))
            for value in row.values()
        )
        assert row["ended_ns"] is not None and list(
            outcome.chunk_ns
        ) == sorted(outcome.chunk_ns)
        if row["first_text_ns"] is not None:
            assert (
                row["sent_ns"]
                <= row["first_byte_ns"]
                <= row["first_text_ns"]
                <= row["last_text_ns"]
                <= row["ended_ns"]
            )
    assert {"client_limited", "client_cpu_s"} <= set(
        level.client_figures()
    )


@contextlib.contextmanager
def raw_server(answer, tls=False):
    """Calls answer(connection) for each connection, in a thread; its URL."""
    over, listener = (
        threading.Event(),
        socket.create_server(("127.0.0.1", 0), backlog=256),
    )
    listener.settimeout(0.1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        FIXTURES / "localhost-cert.pem", FIXTURES / "localhost-key.pem"
    )

    def serve(connection):
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            if tls:
                connection = context.wrap_socket(
                    connection, server_side=True
                )
            answer(connection)
            if tls:
                connection.close()

    def accept():
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                thread = threading.Thread(
                    target=serve, args=[listener.accept()[0]], daemon=True
                )
                thread.start()
                workers.append(thread)

    workers = []
    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
    finally:
        over.set()
        accepting.join()
        for thread in workers:
            thread.join(20)
        listener.close()


def asked(connection):
    """Read a whole request; is it a POST?"""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head.startswith(b"POST")


def saying(*pieces, pause_s=0.0):
    """An answer of these bytes."""

    def answer(connection):
        asked(connection)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)

    return answer


def endless(head, piece):
    """The same piece again and again, until the client has enough."""

    def answer(connection):
        asked(connection)
        # the kernel of a client that is gone need not say so
        connection.settimeout(2)
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return answer


def hang_up(connection):
    connection.recv(1)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"


CHUNKED, UNTIL_EOF = (
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Connection: close\r\n\r\n",
)


WORD, DONE = (
    b'{"response":"x","done":false}\n',
    b'{"response":"","done":true}\n',
)
