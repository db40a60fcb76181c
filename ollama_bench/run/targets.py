"""Models on servers: loaded before the first level, described, and waited for when they vanish."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from ollama_bench.inputs.settings import RequestSettings
from ollama_bench.load import load
from ollama_bench.load.attempt import Limits, Task
from ollama_bench.monitor import parallel_advice
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.run.error import RunError
from ollama_bench.run.record import RunRecord
from ollama_bench.run.server import Server
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console
from ollama_bench.transport.lines import Lines

# of a warm-up's reply: loading the model is what takes long
WARMUP_TOKENS = 8
COME_BACK_S = 30.0  # a server that vanished may take so long to come back
ASK_AGAIN_S = 0.5
STORED = """
SELECT id, model, host,
  EXISTS (SELECT 1 FROM request WHERE target_id = target.id) AS is_measured
FROM target WHERE run_id = ?"""


def unique_prefix() -> str:
    """Put before a prompt, it misses every prompt cache and makes prefill real work."""
    return f"[{os.urandom(6).hex()}]"


class Targets:
    """The servers of a run, with a row of the table target for each model on each of them."""

    def __init__(
        self,
        record: RunRecord,
        servers: Sequence[Server],
        request: RequestSettings,
        limits: Limits,
        lines: Lines,
        screen: Console,
        interrupt: Interrupt,
    ) -> None:
        self.servers = list(servers)
        self._record, self._request, self._limits = record, request, limits
        self._lines, self._screen, self._interrupt = (
            lines,
            screen,
            interrupt,
        )
        self._ids: dict[tuple[str, str], int] = {}
        # before --resume: their rows stay as they are
        self._measured: set[int] = set()
        self._remember()

    def _remember(self) -> None:
        rows = self._record.rows(STORED, [self._record.id])
        self._measured = {row["id"] for row in rows if row["is_measured"]}
        self._ids = {(row["model"], row["host"]): row["id"] for row in rows}
        for model in self._request.models:
            for server in self.servers:
                if (model, server.url) not in self._ids:
                    self._ids[model, server.url] = self._insert(
                        model, server
                    )

    def _insert(self, model: str, server: Server) -> int:
        columns = {
            "host": server.url,
            "api": server.protocol.name,
            "model": model,
        }
        return self._record.writer.insert(
            "target", {"run_id": self._record.id, **columns}
        )

    def id(self, model: str, server: Server) -> int:
        return self._ids[model, server.url]

    def warm_all(
        self, models: Sequence[str], warmup: int, monitor: Monitor | None
    ) -> None:
        """Load each model on each server and store what the server then says of it."""
        for model in models:
            for server in self.servers:
                self.warm(server, model, warmup)
                self._describe(server, model, monitor)

    def warm(self, server: Server, model: str, warmup: int) -> None:
        """Load the model with the run's own options. Raises RunError."""
        for number in range(warmup):
            if self._interrupt.is_set():
                return
            if number == 0:
                where = f" at {server.url}" if len(self.servers) > 1 else ""
                self._screen.say(f"warming up {model}{where} ...")
            self._warm_once(server, model)

    def _warm_once(self, server: Server, model: str) -> None:
        request = self._request
        prompt = f"{unique_prefix()} {request.prompt}"
        tokens = min(request.tokens or WARMUP_TOKENS, WARMUP_TOKENS)
        options = dict(request.model_options)
        body = server.protocol.build_body(
            model, prompt, tokens, request.think, options
        )
        url = server.url + server.protocol.path
        task = Task(
            1,
            server.protocol,
            url,
            body,
            server.headers,
            secret=server.secret,
        )
        burst = load.Burst(
            [task], self._limits, self._interrupt, self._lines
        )
        burst.run()
        if not burst.outcomes:  # interrupted before it was sent
            return
        outcome = burst.outcomes[0]
        if (
            outcome.status in ("completed", "empty")
            or self._interrupt.is_set()
        ):
            return
        code = (
            f" {outcome.http_status}"
            if outcome.http_status not in (None, 200)
            else ""
        )
        advice = server.advice(outcome.http_status, outcome.error)
        raise RunError(
            f"cannot warm up {model!r}: {outcome.status}{code}: {outcome.error}{advice}"
        )

    def _describe(
        self, server: Server, model: str, monitor: Monitor | None
    ) -> None:
        """Store what the server says of a loaded model; warn where the machine slows it down."""
        target = server.describe(model)
        if monitor is not None and server.port is not None:
            if target["slots"] is None:
                target["slots"], target["slots_source"] = monitor.slots(
                    server.port
                )
            target["kv_cache_type"] = monitor.cache_type(server.port)
        parallel_advice.complete(target)
        target_id = self.id(model, server)
        if target_id not in self._measured:
            self._record.writer.update("target", target_id, target)
        if advice := parallel_advice.warn_of(target):
            self._screen.warn(advice)

    def wait_for(self, model: str, warmup: int) -> None:
        """Wait for each server that does not answer, and load the model again once it does."""
        for server in self.servers:
            if not server.answers():
                self._wait_for(server, model, warmup)

    def _wait_for(self, server: Server, model: str, warmup: int) -> None:
        self._screen.warn(
            f"{server.url} does not answer; waiting up to {COME_BACK_S:.0f} s"
        )
        until_s = time.monotonic() + COME_BACK_S
        while time.monotonic() < until_s and not self._interrupt.wait(
            ASK_AGAIN_S
        ):
            if server.answers():
                self._screen.say("the server is back")
                with contextlib.suppress(RunError):
                    self.warm(server, model, warmup)
                return
