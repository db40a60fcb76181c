"""The file that names the servers, and a server that the battery may start and kill."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import requests

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ASK_AGAIN_S = 0.2


class SettingsError(Exception):
    """A file of servers that cannot be used; the message is one line."""


@dataclass(frozen=True)
class RealServer:
    """A server under test, as the file describes it."""

    name: str
    url: str
    model: str
    api: str = "openai"
    slots: int = 4  # requests that it answers at once
    context: int | None = None  # tokens of one slot; None: no check of it
    start: list[str] = field(default_factory=list)  # argv; empty: it runs
    env: dict[str, str] = field(default_factory=dict)
    ready_s: float = 180.0  # how long it may take to answer

    @property
    def ready_path(self) -> str:
        return "/api/version" if self.api == "ollama" else "/v1/models"


def read_settings(path: pathlib.Path) -> list[RealServer]:
    """Return the servers of a TOML file. Raises SettingsError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
    entries = content.get("server")
    if not isinstance(entries, list) or not entries:
        raise SettingsError(f"{path} names no server: expected [[server]]")
    return [make_server(path, entry) for entry in entries]


def make_server(path: pathlib.Path, entry: dict[str, Any]) -> RealServer:
    known = {item.name for item in fields(RealServer)}
    if unknown := sorted(entry.keys() - known):
        expected = ", ".join(sorted(known))
        raise SettingsError(
            f"{path}: invalid key {unknown[0]!r}: expected one of {expected}"
        )
    try:
        return RealServer(**entry)
    except TypeError as error:
        raise SettingsError(f"{path}: {error}") from None


class RunningServer:
    """A server that answers: one that was found, or one of ours that may be killed."""

    def __init__(self, server: RealServer, log: pathlib.Path) -> None:
        self.server, self._log = server, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_ours(self) -> bool:
        return bool(self.server.start)

    def start(self) -> None:
        """Start it where the file says how, and wait until it answers. Raises SettingsError."""
        if self.is_ours:
            if self.answers():
                raise SettingsError(
                    f"{self.server.url} is in use: leave out `start`"
                )
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.server.start,
                    env={**os.environ, **self.server.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        until_s = time.monotonic() + self.server.ready_s
        while not self.answers():
            if time.monotonic() > until_s or self._has_ended():
                raise SettingsError(f"{self.server.url} does not answer")
            time.sleep(ASK_AGAIN_S)

    def _has_ended(self) -> bool:
        return (
            self._process is not None and self._process.poll() is not None
        )

    def answers(self) -> bool:
        """Tell whether it is ready for a request."""
        try:
            url = self.server.url + self.server.ready_path
            return requests.get(url, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and what it started, if it is ours."""
        process = self._process
        if process is None:
            return
        self._process = None
        for sent in (number, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
                process.wait(20)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()


@contextmanager
def running(
    server: RealServer, folder: pathlib.Path
) -> Iterator[RunningServer]:
    """Have a server that answers, and end it if it is ours."""
    log = folder / f"{server.name.replace(' ', '-')}.log"
    started = RunningServer(server, log)
    try:
        started.start()
        yield started
    finally:
        started.end()
