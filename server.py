"""server.py - asks a server what it is and which models it has; starts the demo's simulated one. Not the load.

    server = server.Server("http://127.0.0.1:11434", api.SERVERS["ollama"], key=None)
    server.check_model("deepseek-r1:7b", pull=False, say=print)
    server.describe("deepseek-r1:7b")        # columns of the table target
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

import api
import attempt
import wire

CONNECT_S, ANSWER_S = 5.0, 60.0
ANSWER_BYTES = 16 << 20  # more is no answer to a question
SIMULATOR = "ollama-bench-sim"  # what a simulator says in the header Server
LOCAL = ("127.0.0.1", "::1", "localhost")
DEMO = ("--profile", "m2pro-7b", "--slots", "19", "--tokens", "45-75")  # short replies: under a minute in all
DEMO_INTERVAL_MS = 200  # of the demo's powermetrics: a demo level lasts seconds
PULL_LINE_BYTES = 1 << 20


class ServerError(Exception):
    """A server is absent, speaks something else or lacks a model; str() is one line for the user."""


class Server:
    """Questions to one server."""

    def __init__(self, url: str, protocol, key: str | None) -> None:
        self.url, self.protocol = url, protocol
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}  # never stored, never shown
        self.simulated = False
        self._session = wire.session()
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

    def get(self, path: str, body: dict | None = None) -> tuple[int, object]:
        """(HTTP status, decoded JSON or None). Raises ServerError when nobody answers."""
        try:
            with self._session.request("GET" if body is None else "POST", self.url + path, json=body, stream=True,
                                       timeout=(CONNECT_S, ANSWER_S), allow_redirects=False) as answer:
                self.simulated = self.simulated or answer.headers.get("Server") == SIMULATOR
                content = answer.raw.read(ANSWER_BYTES, decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            start = "start Ollama (ollama serve)" if self.protocol.name == "ollama" else "start the server"
            raise ServerError(f"no server answers at {self.url} ({attempt.words(error)}): "
                              f"{start}, name another with --host, or try --demo") from None
        try:
            return answer.status_code, json.loads(content)
        except (ValueError, RecursionError):
            return answer.status_code, None

    def answers(self) -> bool:
        """Does anybody answer at all?"""
        try:
            return self.get("/")[0] > 0
        except ServerError:
            return False

    def check_model(self, model: str, pull: bool, say) -> None:
        """The server speaks its protocol and has the model. Raises ServerError."""
        try:
            self.protocol.version(self.get)
        except api.ProtocolError as error:
            raise ServerError(f"{self.url} {error}") from None
        there = self.protocol.models(self.get)
        if any(api.same_model(name, model) for name in there) or self.protocol.name == "openai" and len(there) < 2:
            return  # a llama-server serves its one model by any name
        if pull and self.protocol.name == "ollama":
            return self._pull(model, say)
        hint = f"; ollama pull {model}, or --pull" if self.protocol.name == "ollama" else ""
        raise ServerError(f"model {model!r} is not at {self.url}; there: {', '.join(there) or 'none'}{hint}")

    def _pull(self, model: str, say) -> None:
        """Download a model; one line for each step of it. Raises ServerError."""
        last = None
        try:
            with self._session.post(f"{self.url}/api/pull", json={"model": model, "name": model}, stream=True,
                                    timeout=(CONNECT_S, None)) as answer:
                for line in answer.iter_lines(PULL_LINE_BYTES):
                    said = json.loads(line) if line.strip() else {}
                    if said.get("error"):
                        raise ServerError(f"model {model!r} could not be pulled: {api.error_text(said)}")
                    if (status := said.get("status")) and status != last:
                        say(f"{model}: {status}")
                        last = status
        except (requests.RequestException, ValueError) as error:
            raise ServerError(f"model {model!r} could not be pulled: {attempt.words(error)}") from None
        if last != "success":
            raise ServerError(f"model {model!r} could not be pulled: the download ended early")

    def describe(self, model: str) -> dict:
        """Columns of the table target."""
        try:
            target = asdict(self.protocol.describe(self.get, model))
        except api.ProtocolError as error:
            raise ServerError(f"{self.url} {error}") from None
        target["thinks"] = None if target["thinks"] is None else int(target["thinks"])
        return {"host": self.url, "api": self.protocol.name, "model": model, **target}


class Simulator:
    """The demo's server: sim.py as a process of our own, ended with us."""

    def __enter__(self) -> "Simulator":
        script = str(Path(__file__).with_name("sim.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, "--port", "0", "--parent-pid", str(os.getpid()), *DEMO],
            stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise ServerError(f"the simulator did not start: {line.strip() or 'see above'}")
        self.url = line.split()[-1]
        self.pid = self._process.pid
        self.powermetrics = [sys.executable, script, "powermetrics", "--port", str(urlsplit(self.url).port),
                             "-f", "plist", "-b", "0", "-i", str(DEMO_INTERVAL_MS)]
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()
