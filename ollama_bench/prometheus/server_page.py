"""Asks the watched server how many requests it runs and holds back, where it has a page of metrics.

It is asked when Prometheus asks, and not again when it once had no such page, until other
processes answer for it: Ollama has none.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Hashable

from ollama_bench.protocols.work import (
    METRICS_PATH,
    ServerQueue,
    read_server_queue,
)

ANSWER_S = 1.0
LARGEST_PAGE = 4 << 20  # bytes


class ServerPage:
    """The page of metrics of the server on a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        # the processes that had no such page
        self._without: Hashable = None

    def read(self, processes: Hashable) -> ServerQueue:
        """Return what the server tells; processes: those that answer for it now."""
        if not processes or processes == self._without:
            return ServerQueue()
        try:
            queue = read_server_queue(self._fetch())
        except (OSError, http.client.HTTPException):
            return ServerQueue()
        if queue == ServerQueue():
            self._without = processes
        return queue

    def _fetch(self) -> str:
        """Return the page, empty where there is none. Raises OSError and HTTPException."""
        line = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=ANSWER_S
        )
        with contextlib.closing(line):
            line.request("GET", METRICS_PATH)
            answer = line.getresponse()
            page = answer.read(LARGEST_PAGE)
        is_there = answer.status == http.client.OK
        return page.decode(errors="replace") if is_there else ""
