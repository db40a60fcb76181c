"""bench.py as a user starts it, each time with a results file of its own."""

from __future__ import annotations

import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.real_servers.settings import RealServer

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LONGEST_S = 300.0  # of one run
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True)
class Finished:
    """How a run ended, and what it left."""

    code: int
    text: str  # what it printed, both streams
    db: pathlib.Path

    def rows(self, sql: str, parameters: Any = ()) -> list[sqlite3.Row]:
        """Return rows of the results file; none where there is no file."""
        if not self.db.exists():
            return []
        connection = sqlite3.connect(self.db)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def value(self, sql: str, parameters: Any = ()) -> Any:
        """Return the first column of the first row; None without one."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    @property
    def last_line(self) -> str:
        lines = self.text.strip().splitlines()
        return lines[-1].strip() if lines else ""


class Program:
    """One run under way."""

    def __init__(
        self,
        server: RealServer,
        folder: pathlib.Path,
        name: str,
        arguments: Sequence[str],
        model: str | None = None,
    ) -> None:
        self.db = folder / f"{server.name.replace(' ', '-')}-{name}.db"
        self.db.unlink(missing_ok=True)
        argv = [sys.executable, str(ROOT / "bench.py"), *arguments]
        argv += ["--host", server.url, "--api", server.api]
        argv += ["--model", model or server.model, "--db", str(self.db)]
        argv += [
            "--cooldown",
            "0",
            "--idle",
            "0",
            "--no-monitor",
            "--plain",
        ]
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, "OPENAI_API_KEY": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until(self, sql: str, within_s: float = 60.0) -> None:
        """Wait until the query's number is not 0, or the run has ended."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s and self._process.poll() is None:
            if self._look(sql):
                return
            time.sleep(LOOK_AGAIN_S)

    def _look(self, sql: str) -> Any:
        try:
            return Finished(0, "", self.db).value(sql)
        except sqlite3.OperationalError:
            return None  # the tables are being made

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> Finished:
        """Wait for its end; a run that takes too long is killed and has the code -9."""
        try:
            text, _ = self._process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            text, _ = self._process.communicate()
        return Finished(self._process.returncode, text, self.db)
