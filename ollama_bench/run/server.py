"""Ask a server what it is and which models it has. The load itself is not sent from here."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from ollama_bench.inputs.settings import RequestSettings, ServerAddress
from ollama_bench.load.failures import describe_failure
from ollama_bench.privilege.variables import (
    NOTHING_DROPPED,
    DroppedVariables,
)
from ollama_bench.protocols.json_values import JsonObject
from ollama_bench.protocols.offers import Offer
from ollama_bench.protocols.protocol import (
    KeyRequiredError,
    ModelListError,
    ProtocolError,
    ServerProtocol,
)
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.secret import Secret
from ollama_bench.protocols.target import is_same_model
from ollama_bench.protocols.text import one_line
from ollama_bench.run.error import RunError
from ollama_bench.run.model_download import (
    CONNECT_S,
    DownloadError,
    download_model,
)
from ollama_bench.transport.exchange import Exchange
from ollama_bench.transport.session import Session

# from the question to the last byte of its answer, however slowly it drips
ANSWER_S = 60.0
ALIVE_S = 10.0  # the same, if any answer at all will do
ANSWER_BYTES = 16 << 20
# what a simulator says in the header Server
SIMULATOR_NAME = "ollama-bench-sim"
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
LOCAL_NETWORK = (  # macOS 15 and newer
    "allow your terminal in System Settings > Privacy & Security > Local Network"
)
MAX_NAMES_SHOWN = 20
MAX_NAME_CHARS = 120

Say = Callable[[str], None]


class ServerError(Exception):
    """A server is absent, speaks another protocol or lacks a model; str() is one line."""


class Server:
    """Asks one server questions."""

    def __init__(
        self,
        url: str,
        protocol: ServerProtocol,
        key: str | None,
        dropped: DroppedVariables = NOTHING_DROPPED,
    ) -> None:
        self.url, self.protocol = url, protocol
        self._dropped = dropped
        # never stored or shown
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.secret = Secret(key)
        self.simulated = False
        self.answer_s = ANSWER_S  # longest wait for a whole answer
        self._session = Session()
        self._session.headers.update(self.headers)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def port(self) -> int | None:
        """The port if the server runs on this machine, else None."""
        parts = urlsplit(self.url)
        return parts.port if parts.hostname in LOCAL_HOSTS else None

    def get_json(
        self,
        path: str,
        body: JsonObject | None = None,
        within_s: float | None = None,
    ) -> tuple[int, object]:
        """Return the HTTP status and the decoded body, without the key.

        The body is "" if it is empty, None if it is not JSON. Raises ServerError if no whole answer
        comes in time.
        """
        status, content = self._ask(path, body, within_s or self.answer_s)
        if not content.strip():
            return status, ""
        try:
            return status, self.secret.mask_json(json.loads(content))
        except (ValueError, RecursionError):
            return status, None

    def get_text(self, path: str, within_s: float) -> tuple[int, str]:
        """Return the HTTP status and the body as text. Raises ServerError as get_json does."""
        status, content = self._ask(path, None, within_s)
        return status, content.decode("utf-8", "replace")

    def _ask(
        self, path: str, body: JsonObject | None, within_s: float
    ) -> tuple[int, bytes]:
        exchange = Exchange(kernel_stamps=False)
        too_late = f"no whole answer to {path} within {within_s:g} s"
        clock = threading.Timer(within_s, exchange.cancel, [too_late])
        clock.daemon = True
        clock.start()
        try:
            status, content = self._exchange(
                exchange, path, body, within_s
            )
            broken = exchange.cancelled
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
            OverflowError,
        ) as error:
            broken = exchange.cancelled or describe_failure(
                error, self.secret
            )
        finally:
            clock.cancel()
        if broken:
            raise self._absent(broken)
        return status, content

    def _exchange(
        self,
        exchange: Exchange,
        path: str,
        body: JsonObject | None,
        within_s: float,
    ) -> tuple[int, bytes]:
        method = "GET" if body is None else "POST"
        request = requests.Request(method, self.url + path, json=body)
        with (
            exchange,
            self._session.send(
                self._session.prepare_request(request),
                exchange=exchange,
                stream=True,
                timeout=(CONNECT_S, within_s),
                allow_redirects=False,
            ) as answer,
        ):
            if answer.headers.get("Server") == SIMULATOR_NAME:
                self.simulated = True
            content: bytes = answer.raw.read(
                ANSWER_BYTES, decode_content=True
            )
            return answer.status_code, content

    def _absent(self, why: str) -> ServerError:
        start = self.protocol.start_advice
        if is_blocked_by_macos(self.url, why):
            start = f"{LOCAL_NETWORK}, {start}"
        return ServerError(
            f"no server answers at {self.url} ({why}): {start}, name another with --host, "
            "or try --demo"
        )

    def advice(self, http_status: int | None, error: str | None) -> str:
        """Return what may help after such a failure, to be appended to its words; "" if unknown."""
        hint, variable = "", self.protocol.key_variable
        if http_status == 401 and not self.headers and variable:
            hint = self._dropped.suggest_preserving(variable)
        elif is_blocked_by_macos(self.url, error):
            hint = LOCAL_NETWORK
        return f"; {hint}" if hint else ""

    def answers(self) -> bool:
        """Tell whether it is ready; 503 is a server that still loads its model."""
        path = self.protocol.ready_path
        try:
            return self.get_json(path, within_s=ALIVE_S)[0] not in (0, 503)
        except ServerError:
            return False

    def check_model(
        self, model: str, pull: bool, say: Say, warn: Say
    ) -> None:
        """Raise ServerError unless the server speaks its protocol and has the model.

        A list of models that cannot be read is a warning: the server may have it all the same.
        """
        try:
            found = self.list_models()
        except ModelListError as error:
            warn(f"{self.url} {error}; asking it for {model} all the same")
            return
        download = self.protocol.download_command
        if any(is_same_model(name, model) for name in found):
            return
        if not download and len(found) == 1:
            return  # a llama-server serves its one model by any name
        if pull and download:
            self._pull(model, say)
            return
        hint = (
            f"; run {download} {model}, or use --pull" if download else ""
        )
        raise ServerError(
            f"model {model!r} is not on {self.url}; found: {list_names(found)}{hint}"
        )

    def find_only_model(self) -> str:
        """Return the model of a server that has one. Raises ServerError."""
        if own_name := self.find_own_name():
            return own_name
        try:
            found = self.list_models()
        except ModelListError as error:
            raise ServerError(
                f"{self.url} {error}: name the model with --model"
            ) from None
        if len(found) > 1:
            raise ServerError(
                f"{self.url} has {len(found)} models: name one with --model; "
                f"found: {list_names(found)}"
            )
        return found[0]

    def find_own_name(self) -> str | None:
        """Return the model of a server that answers to any name; None if it is not one."""
        return self.protocol.fetch_own_name(self.get_json)

    def list_offers(self) -> list[Offer]:
        """Return the models with what is told of each; [] without a list. Raises ServerError."""
        return self.protocol.fetch_offers(self.get_json)

    def generates_text(self, model: str) -> bool:
        """Tell whether a model generates text, as far as the server tells. Raises ServerError."""
        return self.protocol.generates_text(self.get_json, model)

    def list_models(self) -> list[str]:
        """Return the names of the models. Raises ServerError, ModelListError."""
        try:
            self.protocol.fetch_version(self.get_json)
        except ProtocolError as error:
            needs_key = isinstance(error, KeyRequiredError)
            advice = self.advice(401, None) if needs_key else ""
            raise ServerError(f"{self.url} {error}{advice}") from None
        return self.protocol.fetch_models(self.get_json)

    def _pull(self, model: str, say: Say) -> None:
        try:
            download_model(self.url, model, self.headers, self.secret, say)
        except DownloadError as error:
            raise ServerError(
                f"cannot pull model {model!r}: {error}"
            ) from None

    def describe(self, model: str) -> dict[str, Any]:
        """Return the columns of the table target."""
        try:
            target = asdict(
                self.protocol.fetch_target(self.get_json, model)
            )
        except ProtocolError as error:
            raise ServerError(f"{self.url} {error}") from None
        if target["thinks"] is not None:
            target["thinks"] = int(target["thinks"])
        return {
            "host": self.url,
            "api": self.protocol.name,
            "model": model,
            **target,
        }


def make_servers(
    request: RequestSettings,
    simulator_url: str | None = None,
    dropped: DroppedVariables = NOTHING_DROPPED,
) -> list[Server]:
    """Return a server for each address, with the key of its protocol. Raises RunError."""
    addresses = list(request.servers)
    if simulator_url is not None:
        addresses = [
            ServerAddress(simulator_url, name)
            for name in request.protocols
        ]
    servers = []
    for address in addresses:
        protocol = PROTOCOLS[address.protocol]
        # nobody has said that a server that was found may have it
        variable = None if request.is_searched else protocol.key_variable
        key = read_key(variable)
        servers.append(Server(address.url, protocol, key, dropped))
    return servers


def read_key(variable: str | None) -> str | None:
    """Return the API key in an environment variable. Raises RunError."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    # requests would repeat it in its error
    if not (key.isascii() and key.isprintable()):
        raise RunError(
            f"{variable} contains characters not allowed in an API key"
        )
    return key


def is_blocked_by_macos(url: str, error: str | None) -> bool:
    """Tell whether macOS keeps this program off the local network; it says: no route to host."""
    if sys.platform != "darwin" or os.strerror(errno.EHOSTUNREACH) not in (
        error or ""
    ):
        return False
    return is_private(url)


def is_private(url: str) -> bool:
    """Tell whether a server is in a private network, but not on this machine."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(
            parts.hostname, parts.port, type=socket.SOCK_STREAM
        )
        addresses = [
            ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            for entry in found
        ]
    except (OSError, ValueError):
        return False
    return any(
        address.is_private and not address.is_loopback
        for address in addresses
    )


def list_names(names: list[str]) -> str:
    """Return some names of models as one line, and how many more there are."""
    shown = [
        one_line(name)[:MAX_NAME_CHARS] for name in names[:MAX_NAMES_SHOWN]
    ]
    more = (
        f" and {len(names) - len(shown)} more"
        if len(names) > len(shown)
        else ""
    )
    return ", ".join(shown) + more or "none"
