"""The address at which Prometheus asks: bound before anything starts, answered in threads.

endpoint = Endpoint("127.0.0.1", 9464)
with endpoint.serve(collector):
    ...                             # GET http://127.0.0.1:9464/metrics
endpoint.close()
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import (
    ThreadingWSGIServer,
    make_wsgi_app,
)
from prometheus_client.registry import Collector

from ollama_bench.prometheus.error import EndpointError

SILENCE_S = 10.0  # after which a client that sends nothing is left
LOOK_EVERY_S = 0.1  # how long the end waits for the thread that accepts


class Handler(WSGIRequestHandler):
    """Answers one client and logs nothing."""

    timeout = SILENCE_S

    def log_message(self, format: str, *args: object) -> None:
        """Discard a line that would disturb the live view."""


class MetricsServer(ThreadingWSGIServer):
    # Windows would let two programs have one port, and so would newer Pythons
    allow_reuse_address = os.name != "nt"
    allow_reuse_port = False

    def server_bind(self) -> None:
        """Bind without asking for the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def handle_error(
        self, request: object, client_address: object
    ) -> None:
        """Ignore a client that has gone."""


class MetricsServerOfIpv6(MetricsServer):
    address_family = socket.AF_INET6


class Endpoint:
    """A bound address. A client that comes before serve() waits."""

    def __init__(self, host: str, port: int) -> None:
        """Raise EndpointError where the address cannot be had."""
        server = MetricsServerOfIpv6 if ":" in host else MetricsServer
        try:
            self._server: WSGIServer = server((host, port), Handler)
        except (OSError, ValueError) as error:
            # ValueError: of a name that cannot be one of a host
            why = getattr(error, "strerror", None) or error
            raise EndpointError(
                f"--prometheus {write_address(host, port)}: {why}"
            ) from None
        self.port: int = self._server.server_port
        self.url = f"http://{write_address(host, self.port)}/metrics"

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def serve(self, collector: Collector) -> Iterator[None]:
        """Answer each request with what the collector gives then."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        self._server.set_app(make_wsgi_app(registry))
        thread = threading.Thread(
            target=self._server.serve_forever,
            args=[LOOK_EVERY_S],
            name="prometheus",
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()

    def close(self) -> None:
        """Give the address back."""
        self._server.server_close()


def write_address(host: str, port: int) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
