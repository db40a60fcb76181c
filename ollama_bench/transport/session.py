"""A requests session whose answers are recorded by an exchange, or read live."""

from __future__ import annotations

import functools
import json
import os
from typing import Any, TypeAlias, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import HTTPConnectionPool

from ollama_bench.transport import capabilities
from ollama_bench.transport.dialling import (
    ExchangeSlot,
    TappedHTTPSPool,
    TappedPool,
)
from ollama_bench.transport.exchange import Exchange

# URL, headers
TemplateKey: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Session(requests.Session):
    """A requests session that ignores proxy variables. It sends one request at a time."""

    def __init__(self, records: bool = True) -> None:
        super().__init__()
        # requests would send 127.0.0.1 through HTTP_PROXY
        self.trust_env = False
        # True: the public authorities; a file may name a private one
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._templates: dict[TemplateKey, requests.PreparedRequest] = {}
        self._records = records and capabilities.RECORDS
        if self._records:
            for scheme in ("http://", "https://"):
                self.mount(scheme, RecordingAdapter())

    def send(
        self,
        request: requests.PreparedRequest,
        *,
        exchange: Exchange | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send a prepared request; the exchange records the answer.

        Only a session that does not record needs no exchange.
        """
        if self._records:
            options["exchange"] = exchange
        return super().send(request, **options)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would read a redirect's whole body, though it is not followed."""

    def prepare_post(
        self, url: str, body: dict[str, Any], headers: dict[str, str]
    ) -> requests.PreparedRequest:
        """Prepare a POST of a JSON body. Raises ValueError for NaN.

        All but the body is prepared once for each URL.
        """
        key = url, tuple(headers.items())
        if key not in self._templates:
            request = requests.Request(
                "POST", url, json={}, headers=headers
            )
            self._templates[key] = self.prepare_request(request)
        prepared = self._templates[key].copy()
        content = json.dumps(body, allow_nan=False).encode()
        prepared.body = content
        prepared.headers["Content-Length"] = str(len(content))
        return prepared


class RecordingAdapter(HTTPAdapter):
    """requests' transport over tapped connections. It sends one request at a time."""

    def __init__(self) -> None:
        self._slot = ExchangeSlot()
        super().__init__()

    def send(
        self,
        request: requests.PreparedRequest,
        *arguments: Any,
        exchange: Exchange | None = None,
        **options: Any,
    ) -> requests.Response:
        if exchange is None:
            raise ValueError(
                "a session that records needs an exchange: use send(request, exchange=...)"
            )
        with self._slot.hold(exchange):
            return super().send(request, *arguments, **options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": self._bind(TappedPool),
            "https": self._bind(TappedHTTPSPool),
        }

    def _bind(
        self, pool: type[HTTPConnectionPool]
    ) -> type[HTTPConnectionPool]:
        """Have the pool's connections know the slot; urllib3 only calls the result."""
        return cast(
            "type[HTTPConnectionPool]",
            functools.partial(pool, slot=self._slot),
        )

    def build_response(
        self, req: requests.PreparedRequest, resp: BaseHTTPResponse
    ) -> requests.Response:
        """Build the response without cookies.

        A server could pile them up, and http.cookiejar reports some with a traceback.
        """
        original = cast("Any", resp)._original_response
        for name in ("Set-Cookie", "Set-Cookie2"):
            del original.msg[name]
        return super().build_response(req, resp)
