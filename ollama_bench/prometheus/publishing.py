"""Serves what a monitor sees to Prometheus, from before it starts until it stops."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ollama_bench.monitor.journal import print_line
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.prometheus.collector import MonitorCollector
from ollama_bench.prometheus.endpoint import Endpoint
from ollama_bench.prometheus.run_figures import RunFigures
from ollama_bench.prometheus.server_page import ServerPage

# of an address that is not this machine's alone
OPEN = " (open to every machine that reaches this one, without a password)"


@contextlib.contextmanager
def published(
    endpoint: Endpoint, monitor: Monitor, path: str, port: int | None
) -> Iterator[None]:
    """Answer Prometheus within the block.

    path: the results file, whose runs are shown too. port: the server's, None where it is watched
    by its pid.
    """
    page = ServerPage(port) if port is not None else None
    collector = MonitorCollector(monitor, RunFigures(path), page)
    with contextlib.closing(collector), endpoint.serve(collector):
        who = OPEN if endpoint.is_open else ""
        print_line(f"metrics: {endpoint.url}{who}")
        yield
