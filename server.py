"""server.py - asks a server what it is and which models it has; starts the demo's simulated one. Not the load.

    server = server.Server("http://127.0.0.1:11434", api.SERVERS["ollama"], key=None)
    server.check_model("deepseek-r1:7b", pull=False, say=print)
    server.describe("deepseek-r1:7b")        # columns of the table target
"""
from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Iterator
from urllib.parse import urlsplit

import requests
import urllib3

import api
import attempt
import privilege
import wire

CONNECT_S = 5.0
ANSWER_S = 60.0  # from the question to the last byte of its answer, however it drips
ALIVE_S = 10.0  # the same, where any answer at all will do
ANSWER_BYTES = 16 << 20  # more is no answer to a question
SIMULATOR = "ollama-bench-sim"  # what a simulator says in the header Server
LOCAL = ("127.0.0.1", "::1", "localhost")
DEMO = ("--profile", "m2pro-7b", "--slots", "19", "--tokens", "45-75")  # short replies: under a minute in all
DEMO_INTERVAL_MS = 200  # of the demo's powermetrics: a demo level lasts seconds
PULL_LINE_BYTES = 1 << 20  # a step of a download in words: more is none
PULL_READ_BYTES = 4096  # taken at once, so that a step is told when it comes
LOCAL_NETWORK = "allow your terminal in System Settings > Privacy & Security > Local Network"
MOST_NAMES, LONGEST_NAME = 20, 120  # of a server's models in one error


class ServerError(Exception):
    """A server is absent, speaks something else or lacks a model; str() is one line for the user."""


class Server:
    """Questions to one server."""

    def __init__(self, url: str, protocol, key: str | None) -> None:
        self.url, self.protocol = url, protocol
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}  # never stored, never shown
        self.secret = api.Secret(key)
        self.simulated = False
        self._session = wire.Session()
        self._session.headers.update(self.headers)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self._session.close()

    @property
    def port(self) -> int | None:
        """The port, when the server runs on this machine."""
        parts = urlsplit(self.url)
        return parts.port if parts.hostname in LOCAL else None

    def get(self, path: str, body: dict | None = None, within_s: float | None = None) -> tuple[int, object]:
        """(HTTP status, decoded JSON without the key, "" for no body, None for no JSON). Raises ServerError when no whole answer comes in time."""
        within_s = within_s or ANSWER_S
        exchange = wire.Exchange(kernel_stamps=False)
        clock = threading.Timer(within_s, exchange.cancel, [f"no whole answer to {path} within {within_s:g} s"])
        clock.daemon = True
        clock.start()
        try:
            with exchange, self._session.request("GET" if body is None else "POST", self.url + path, json=body, stream=True,
                                                 timeout=(CONNECT_S, within_s), allow_redirects=False) as answer:
                self.simulated = self.simulated or answer.headers.get("Server") == SIMULATOR
                content = answer.raw.read(ANSWER_BYTES, decode_content=True)
            broken = exchange.cancelled
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError, OverflowError) as error:
            broken = exchange.cancelled or attempt.words(error, self.secret)
        finally:
            clock.cancel()
        if broken:
            raise self._absent(broken)
        try:
            return answer.status_code, self.secret.mask_all(json.loads(content)) if content.strip() else ""
        except (ValueError, RecursionError):
            return answer.status_code, None

    def _absent(self, why: str) -> ServerError:
        start = "start Ollama (ollama serve)" if self.protocol.name == "ollama" else "start the server"
        if is_kept_away(self.url, why):
            start = f"{LOCAL_NETWORK}, {start}"
        return ServerError(f"no server answers at {self.url} ({why}): {start}, name another with --host, or try --demo")

    def advice(self, http_status: int | None, error: str | None) -> str:
        """What may help a request that failed so, to stand after its words; '' where unknown."""
        if http_status == 401 and not self.headers and self.protocol.name == "openai":
            hint = privilege.dropped_hint("OPENAI_API_KEY")
        else:
            hint = LOCAL_NETWORK if is_kept_away(self.url, error) else ""
        return hint and f"; {hint}"

    def answers(self) -> bool:
        """Does anybody answer at all?"""
        try:
            return self.get("/", within_s=ALIVE_S)[0] > 0
        except ServerError:
            return False

    def check_model(self, model: str, pull: bool, say) -> None:
        """The server speaks its protocol and has the model. Raises ServerError."""
        try:
            self.protocol.version(self.get)
        except api.ProtocolError as error:
            advice = self.advice(401, None) if "OPENAI_API_KEY" in str(error) else ""
            raise ServerError(f"{self.url} {error}{advice}") from None
        there = self.protocol.models(self.get)
        if any(api.same_model(name, model) for name in there) or self.protocol.name == "openai" and len(there) < 2:
            return  # a llama-server serves its one model by any name
        if pull and self.protocol.name == "ollama":
            return self._pull(model, say)
        hint = f"; ollama pull {model}, or --pull" if self.protocol.name == "ollama" else ""
        raise ServerError(f"model {model!r} is not at {self.url}; there: {listing(there)}{hint}")

    def _pull(self, model: str, say) -> None:
        """Download a model; one line for each step of it. Raises ServerError."""
        last = None
        try:
            with wire.Session(records=False) as session, session.post(f"{self.url}/api/pull", json={"model": model, "name": model}, stream=True,
                                    headers={**self.headers, "Accept-Encoding": "identity"}, timeout=(CONNECT_S, None), allow_redirects=False) as answer:
                if answer.is_redirect:
                    raise ValueError(attempt.error_body(answer, self.secret))
                for line in lines(answer.raw):
                    status = step(line, self.secret)
                    if status and status != last:
                        say(f"{model}: {status}")
                        last = status
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ServerError(f"model {model!r} could not be pulled: {attempt.words(error, self.secret)}") from None
        if last != "success":
            raise ServerError(f"model {model!r} could not be pulled: the download ended early; --pull again goes on with it")

    def describe(self, model: str) -> dict:
        """Columns of the table target."""
        try:
            target = asdict(self.protocol.describe(self.get, model))
        except api.ProtocolError as error:
            raise ServerError(f"{self.url} {error}") from None
        target["thinks"] = None if target["thinks"] is None else int(target["thinks"])
        return {"host": self.url, "api": self.protocol.name, "model": model, **target}


def is_kept_away(url: str, error: str | None) -> bool:
    """Does macOS (15 and newer) keep this program from the local network? It says: no route."""
    no_route = os.strerror(errno.EHOSTUNREACH) in (error or "")
    return sys.platform == "darwin" and no_route and is_private(url)


def is_private(url: str) -> bool:
    """Is the server in a network of one's own, and not on this machine?"""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
        names = [str(address[0]).partition("%")[0] for *_, address in found]
        addresses = [ipaddress.ip_address(name) for name in names]
    except (OSError, ValueError):
        return False
    return any(address.is_private and not address.is_loopback for address in addresses)


def listing(names: list[str]) -> str:
    """Some names of a server's models in one line, and how many more there are."""
    shown = [api.flat(name)[:LONGEST_NAME] for name in names[:MOST_NAMES]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more or "none"


def lines(raw) -> Iterator[bytes]:
    """The lines of an answer's body as they come. Raises ValueError at one that does not end."""
    tail = b""
    for data in raw.stream(PULL_READ_BYTES):
        *whole, tail = (tail + data).split(b"\n")
        yield from whole
        if len(tail) > PULL_LINE_BYTES:
            raise ValueError(f"the server sent a line of more than {PULL_LINE_BYTES >> 20} MiB")
    yield tail


def step(line: bytes, secret: api.Secret = api.NO_SECRET) -> str:
    """What a line of a download says, '' for nothing. Raises ValueError for an error, or when it is no such line."""
    if not line.strip():
        return ""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ValueError(f"the server answers {api.beginning(line, secret)!r}, which is no step of a download")
    if said.get("error"):
        raise ValueError(api.error_text(said, secret))
    return api.flat(secret.mask(status)) if isinstance(status := said.get("status"), str) else ""


class Simulator:
    """The demo's server: sim.py as a process of our own, ended with us."""

    def __enter__(self) -> "Simulator":
        script = str(Path(__file__).with_name("sim.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, "--port", "0", "--parent-pid", str(os.getpid()), *DEMO],
            stdout=subprocess.PIPE, text=True, start_new_session=True,  # Ctrl-C is ours to handle
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # on Windows
        try:
            line = self._process.stdout.readline()
            if not line.startswith("listening on "):
                raise ServerError(f"the simulator did not start: {line.strip() or 'see above'}")
        except BaseException:  # Ctrl-C too: nobody else would end it
            self.__exit__()
            raise
        self.url = line.split()[-1]
        self.pid = self._process.pid
        self.powermetrics = [sys.executable, script, "powermetrics", "--port", str(urlsplit(self.url).port),
                             "-f", "plist", "-b", "0", "-i", str(DEMO_INTERVAL_MS)]
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()
