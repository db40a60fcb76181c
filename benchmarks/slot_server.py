"""A plain server of OpenAI's protocol with slots and service times that are known.

When each request begins and ends is drawn as it comes, by the same rule as in virtual time
(capacity_queues.py): first come, first served. A reply is two tokens, one at either instant.

    with SlotServer(Queue(8, 0.2, 0.3, 0.2), seed=1) as server:
        print(server.url)
"""

from __future__ import annotations

import http.server
import json
import random
import threading
import time
from typing import Any

from benchmarks.capacity_queues import Queue

MODEL = "queue"


class SlotServer(http.server.ThreadingHTTPServer):
    """Serves on 127.0.0.1 while it is entered, a thread for each connection."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, queue: Queue, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._queue, self._rng = queue, random.Random(seed)
        self._free = [0.0] * queue.slots  # when each slot is free again
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> SlotServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def take_slot(self) -> tuple[float, float]:
        """Return when a request that comes now begins and ends, of time.monotonic()."""
        with self._lock:
            served = self._queue.serve(
                time.monotonic(), self._free, self._rng
            )
        return served.begun_s, served.ended_s

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who hung up."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SlotServer

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing of a request."""

    def do_GET(self) -> None:
        is_list = self.path == "/v1/models"
        body = json.dumps({"object": "list", "data": [{"id": MODEL}]})
        self.send_response(200 if is_list else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        begun_s, ended_s = self.server.take_slot()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for instant_s, word in ((begun_s, "a"), (ended_s, " b")):
            time.sleep(max(0.0, instant_s - time.monotonic()))
            self._send({"choices": [{"delta": {"content": word}}]})
        # at least its words, else the prompt was cut
        prompt = len(body.split())
        usage = {"prompt_tokens": prompt, "completion_tokens": 2}
        self._send({"choices": [], "usage": usage})
        self._write(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, event: dict[str, object]) -> None:
        named = {"model": MODEL, **event}
        self._write(b"data: " + json.dumps(named).encode() + b"\n\n")

    def _write(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
