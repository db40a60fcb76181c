"""The address at which Prometheus asks: bound before anything starts, answered in threads.

endpoint = Endpoint("127.0.0.1", 9464)
with endpoint.serve(collector):
    ...                             # GET http://127.0.0.1:9464/metrics
endpoint.close()
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
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
METRICS = "/metrics"
INDEX = f'<!doctype html><title>ollama-bench</title><a href="{METRICS}">metrics</a>'

App = Callable[[dict[str, Any], Callable[..., Any]], list[bytes]]


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
        self.url = f"http://{write_address(host, self.port)}{METRICS}"
        self.is_open = not is_loopback(host)
        self._host = host

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def serve(self, collector: Collector) -> Iterator[None]:
        """Answer each request with what the collector gives then."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        metrics = make_wsgi_app(registry)
        self._server.set_app(make_pages(metrics, self._host))
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


def make_pages(metrics: App, host: str) -> App:
    """Return what answers /metrics, and / with a link to it, and nothing else.

    host: the name that this address was asked for by. Any other name is refused: a page
    of another site could give its own name this address, and read what is here.
    """

    def answer(
        environ: dict[str, Any], begin: Callable[..., Any]
    ) -> list[bytes]:
        named = environ.get("HTTP_HOST", "")
        if not is_own_name(named, host):
            why = "expected localhost or an IP address as Host"
            return send_text(begin, "403 Forbidden", why)
        path = environ.get("PATH_INFO")
        if path == METRICS:
            return metrics(environ, begin)
        if path == "/":
            return send_text(begin, "200 OK", INDEX, "text/html")
        return send_text(begin, "404 Not Found", f"see {METRICS}")

    return answer


def send_text(
    begin: Callable[..., Any],
    status: str,
    text: str,
    kind: str = "text/plain",
) -> list[bytes]:
    begin(status, [("Content-Type", f"{kind}; charset=utf-8")])
    return [text.encode()]


def is_own_name(named: str, host: str) -> bool:
    """Tell whether a Host header names this address: localhost, an IP address or host."""
    try:
        name = urlsplit(f"//{named}").hostname
    except ValueError:
        return False
    # an old client names none, no browser does
    if not name:
        return True
    own = ("localhost", host.lower())
    return name in own or is_ip_address(name)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches the address."""
    if is_ip_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
