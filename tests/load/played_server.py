"""A server that plays prepared answers, byte by byte."""

import contextlib
import socket
import threading
import time

LINE = b'{"response": "a", "done": false}\n'
LAST = b'{"response": "", "done": true, "eval_count": 2}\n'
EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE = object()
PAUSE_S = 0.05


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"  # of chunks
ANSWER = [CHUNKED + chunk(LINE), chunk(LAST) + END]
SLOW_ANSWER = [CHUNKED + chunk(LINE), PAUSE_S, chunk(LAST) + END]
# The whole reply in one read.
SHORT_LINE = b'{"response": "a", "done": true}\n'
SHORT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(
    SHORT_LINE
)
SHORT_ANSWER = SHORT_HEAD + SHORT_LINE


class Played:
    """A server that plays an answer to each request: bytes, pauses in seconds, CLOSE.

    It counts connections and requests.
    """

    def __init__(self, answer):
        self.answer, self.connections, self.requests, self.read_at = (
            answer,
            0,
            0,
            [],
        )

    def __enter__(self):
        self._listener = socket.create_server(
            ("127.0.0.1", 0), backlog=256
        )
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(
                    target=self._talk, args=(connection,), daemon=True
                ).start()

    def _talk(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError):
            while request(connection):
                self.requests += 1
                self.read_at.append(time.perf_counter_ns())
                for step in self.answer:
                    if step is CLOSE:
                        return
                    time.sleep(step) if isinstance(
                        step, float
                    ) else connection.sendall(step)


def request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        if not (got := connection.recv(65_536)):
            return False
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(
        head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return True
