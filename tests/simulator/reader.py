"""A reader of its own, byte by byte from the socket: nothing here trusts our client."""

import json
import re
import socket
import threading
import time
import types

MODEL = "deepseek-r1:7b"
PATIENCE_S = 10  # a bound for what should come at once


def request_bytes(path, body=None, headers=()):
    data = json.dumps(body).encode() if body is not None else b""
    method = "GET" if body is None else "POST"
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: sim",
        f"Content-Length: {len(data)}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + data


def connect(sim):
    return socket.create_connection(
        ("127.0.0.1", sim.port), timeout=PATIENCE_S
    )


def fetch(sim, path, body=None, headers=(), until_s=PATIENCE_S):
    with connect(sim) as sock:
        sock.sendall(request_bytes(path, body, headers))
        return receive(sock, until_s)


def receive(sock, until_s=PATIENCE_S):
    """Read one answer: its bytes, the instants of the reads, and how it ended.

    That is whole, eof, reset or silence.
    """
    raw, reads, how, stop = (
        bytearray(),
        [],
        None,
        time.monotonic() + until_s,
    )
    while how is None:
        sock.settimeout(max(0.01, stop - time.monotonic()))
        try:
            data = sock.recv(1 << 16)
        except ConnectionResetError:
            how = "reset"
            break
        except TimeoutError:
            how = "silence"
            break
        reads.append((time.perf_counter_ns(), len(raw) + len(data)))
        raw += data
        how = (
            "eof"
            if not data
            else "whole"
            if is_whole(bytes(raw))
            else None
        )
    head, _, rest = bytes(raw).partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.count(b" ") > 1 else None
    headers = {
        k.lower(): v.strip()
        for k, _, v in (
            line.partition(":") for line in head.decode().split("\r\n")[1:]
        )
    }
    body = (
        b"".join(chunks(rest))
        if headers.get("transfer-encoding") == "chunked"
        else rest
    )
    return types.SimpleNamespace(
        raw=bytes(raw),
        status=status,
        headers=headers,
        body=body,
        how=how,
        reads=reads,
    )


def is_whole(raw):
    head, blank, rest = raw.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return rest.endswith(b"0\r\n\r\n") and (
            len(rest) == 5 or rest.endswith(b"\r\n0\r\n\r\n")
        )
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(blank and length) and len(rest) >= int(length[1])


def chunks(rest):
    while rest:
        size, line_end, rest = rest.partition(b"\r\n")
        if not line_end or not size or int(size, 16) == 0:
            return
        yield rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


def lines_of(body):
    return [json.loads(line) for line in body.split(b"\n") if line.strip()]


def events_of(body):
    return [
        event.removeprefix(b"data: ")
        for event in body.split(b"\n\n")
        if event.startswith(b"data: ")
    ]


def generate(
    sim, prompt="one two three", headers=(), until_s=PATIENCE_S, **more
):
    return fetch(
        sim,
        "/api/generate",
        {"model": MODEL, "prompt": prompt, **more},
        headers,
        until_s,
    )


def chat(
    sim,
    headers=(),
    until_s=PATIENCE_S,
    path="/v1/chat/completions",
    **more,
):
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "one two three"}],
        "stream": True,
        **more,
    }
    return fetch(sim, path, body, headers, until_s)


def at_once(n, action):
    """Run action(0..n-1) in threads started in that order; their results."""
    results = [None] * n

    def work(i):
        results[i] = action(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S * 2)
    return results


def log_of(sim, rows):
    """The send log, once it has that many rows."""
    stop = time.monotonic() + PATIENCE_S
    while time.monotonic() < stop:
        found = sim.log()
        if len(found) >= rows:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} rows in the log, not {rows}")
