"""Models on servers: loaded before the first level, described, and waited for when they vanish."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import replace

from ollama_bench.inputs.calibration import (
    Calibration,
    make_probes,
    solve,
)
from ollama_bench.inputs.settings import RequestSettings
from ollama_bench.load import load
from ollama_bench.load.attempt import Limits, Outcome, Task
from ollama_bench.monitor import parallel_advice
from ollama_bench.monitor.monitor import Monitor
from ollama_bench.protocols.json_values import read_count
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.run.error import RunError
from ollama_bench.run.model_names import ReplyNames
from ollama_bench.run.record import RunRecord
from ollama_bench.run.server import Server
from ollama_bench.run.task_targets import AskedServer, TargetFacts
from ollama_bench.terminal.figures import format_clock
from ollama_bench.terminal.interrupt import Interrupt
from ollama_bench.terminal.screen import Console
from ollama_bench.transport.lines import Lines

# length of a warm-up's reply: loading the model is what takes long
WARMUP_TOKENS = 8
# they go on past the end of a reply where they are asked to (ignore_eos)
GO_ON_SERVERS = ("llama.cpp", "vllm")
# a server that vanished may take so long to come back: vLLM loads for a minute
COME_BACK_S = 120.0
ASK_AGAIN_S = 0.5
# what a level's clients left behind may take a server so long
BUSY_S = 60.0
# of each that calibrates: all words are asked for, none of the reply
PROBE_TOKENS = 1
PROBE_PREFIXES = 4
# a prompt as long has every word so often that it needs no probe of its own
SURE_TOKENS = 1000
CALIBRATION_COLUMNS = {  # column of target: field of Calibration
    "prompt_overhead_tokens": "overhead",
    "tokens_per_prefix": "per_prefix",
    "tokens_per_word": "per_word",
    "tokens_per_character": "per_character",
}
STORED = f"""
SELECT id, model, host, {", ".join(CALIBRATION_COLUMNS)},
  EXISTS (SELECT 1 FROM request WHERE target_id = target.id) AS is_measured
FROM target WHERE run_id = ?"""


def unique_prefix() -> str:
    """Put before a prompt, it misses every prompt cache and makes prefill real work."""
    return f"[{os.urandom(6).hex()}]"


class Waiting(load.Observer):
    """Shows how long a request takes that is not counted: a model may load for a minute."""

    def __init__(self, screen: Console, model: str) -> None:
        self._screen, self._model = screen, model
        self._began_s = time.monotonic()

    def tick(self, level: load.LevelResult) -> None:
        passed = format_clock(time.monotonic() - self._began_s)
        self._screen.show_progress(
            f"waiting for {self._model}: {passed} so far"
        )


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
        self.reply_names = ReplyNames(screen.warn)
        self._ids: dict[tuple[str, str], int] = {}
        self._facts: dict[tuple[str, str], TargetFacts] = {}
        # of each model's warm-up, one request alone
        self.tokens_per_s: dict[str, float] = {}
        self._lost: set[str] = set()  # servers that did not come back
        # targets measured before --resume: their rows stay as they are
        self._measured: set[int] = set()
        # of the last reply that loaded a model
        self.warmup_tokens: dict[str, int] = {}
        self._remember()

    def _remember(self) -> None:
        rows = self._record.rows(STORED, [self._record.id])
        self._measured = {row["id"] for row in rows if row["is_measured"]}
        self._ids = {
            (row["model"], row["host"]): row["id"] for row in rows
        }
        for row in rows:
            fields = {
                field: row[column]
                for column, field in CALIBRATION_COLUMNS.items()
            }
            if None not in fields.values():
                self._facts[row["model"], row["host"]] = TargetFacts(
                    calibration=Calibration(**fields)
                )
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

    def id(self, model: str, server: AskedServer) -> int:
        return self._ids[model, server.url]

    def list_hosts(self, model: str) -> dict[int, str]:
        """Return the server of each of a model's targets by its id; {} where there is only one."""
        if len(self.servers) < 2:
            return {}
        return {
            self.id(model, server): server.url for server in self.servers
        }

    def facts(self, model: str, server: AskedServer) -> TargetFacts:
        return self._facts.setdefault((model, server.url), TargetFacts())

    def find_context(self, model: str) -> int | None:
        """Return the context of a slot, the smallest of all servers; None where none is known."""
        known = [
            self.facts(model, server).context_tokens
            for server in self.servers
        ]
        return min(filter(None, known), default=None)

    def warm_all(
        self, models: Sequence[str], warmup: int, monitor: Monitor | None
    ) -> None:
        """Load each model on each server and store what the server then says of it."""
        for model in models:
            for server in self.servers:
                self.warm(server, model, warmup)
                self._describe(server, model, monitor)
                if self._request.prompt_lengths:
                    self._check_context(server, model)
                if (
                    self._request.prompt_lengths
                    or self._request.trace_file
                ):
                    self._calibrate(server, model, warmup)

    def find_alone_s(self, model: str) -> float | None:
        """Return about how long a request takes alone; None: unknown."""
        rate = self.tokens_per_s.get(model)
        tokens = self._request.tokens or self.warmup_tokens.get(model)
        return tokens / rate if rate and tokens else None

    def warm(self, server: Server, model: str, warmup: int) -> None:
        """Load the model with the run's own options. Raises RunError."""
        for number in range(warmup):
            if self._interrupt.is_set():
                return
            if number == 0:
                where = (
                    f" at {server.url}" if len(self.servers) > 1 else ""
                )
                self._screen.say(f"warming up {model}{where} ...")
            self._warm_once(server, model)
        self._screen.end_progress()

    def _warm_once(self, server: Server, model: str) -> None:
        prompt = f"{unique_prefix()} {self._request.prompt}"
        tokens = min(self._request.tokens or WARMUP_TOKENS, WARMUP_TOKENS)
        outcome = self._ask(server, model, prompt, tokens)
        if outcome is not None:
            self.warmup_tokens[model] = outcome.output_tokens
        if outcome and (rate := outcome.tokens_per_s):
            # the fastest: what disturbs makes one slower
            known = self.tokens_per_s.get(model, 0.0)
            self.tokens_per_s[model] = max(rate, known)

    def _ask(
        self,
        server: Server,
        model: str,
        prompt: str,
        tokens: int,
        deadline_s: float | None = None,
    ) -> Outcome | None:
        """Make one request that is not counted; None if interrupted. Raises RunError."""
        request, limits = self._request, self._limits
        if deadline_s is not None:
            limits = replace(limits, deadline_s=deadline_s)
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
        burst = load.Burst([task], limits, self._interrupt, self._lines)
        burst.run(Waiting(self._screen, model))
        if not burst.outcomes:  # interrupted before it was sent
            return None
        outcome = burst.outcomes[0]
        self.reply_names.note(outcome)
        if (
            outcome.status in ("completed", "empty")
            or self._interrupt.is_set()
        ):
            return outcome
        code = (
            f" {outcome.http_status}"
            if outcome.http_status not in (None, 200)
            else ""
        )
        advice = server.advice(outcome.http_status, outcome.error)
        raise RunError(
            f"cannot warm up {model!r}: {outcome.status}{code}: {outcome.error}{advice}"
        )

    def _check_context(self, server: Server, model: str) -> None:
        """Raise RunError if made-up prompts cannot fit; warn if a whole reply cannot."""
        asked = self._request.prompt_lengths[-1]
        context = self.facts(model, server).context_tokens
        if context is None:
            return
        if asked >= context:
            raise RunError(
                f"{self._name_option(asked)} {asked} exceeds the context of {context:,} tokens "
                f"that {model} has at {server.url}: use fewer, or a larger context"
                f"{hint_at_context(server)}"
            )
        if asked + (self._request.tokens or 0) > context:
            self._screen.warn(
                f"{model}: prompts of {asked:,} tokens leave {context - asked:,} of the context "
                f"of {context:,} for the reply"
            )

    def _name_option(self, length: int) -> str:
        """Return the option that asks for prompts of this length."""
        is_level = length in self._request.prompt_tokens
        return "--prompt-tokens" if is_level else "--mix: a length of"

    def _calibrate(self, server: Server, model: str, warmup: int) -> None:
        """Learn how many tokens the server makes of words; say it if it cannot be."""
        self._calibrate_words(server, model, warmup)
        facts = self.facts(model, server)
        if facts.calibration is None or not warmup:
            return
        for tokens in self._request.prompt_lengths:
            if tokens < SURE_TOKENS:
                facts.calibration = self._correct(
                    server, model, tokens, facts.calibration
                )

    def _calibrate_words(
        self, server: Server, model: str, warmup: int
    ) -> None:
        facts, target_id = (
            self.facts(model, server),
            self.id(model, server),
        )
        if facts.calibration or target_id in self._measured:
            return
        if not warmup:
            why = "--warmup 0 measures none"
        elif not facts.counts_cached:
            why = "this version counts no tokens from the prompt cache"
        else:
            why = "the server's count of prompt tokens tells nothing"
            facts.calibration = self._measure_words(server, model)
        if facts.calibration is None:
            if not self._interrupt.is_set():
                self._screen.warn(
                    f"{model}: prompt lengths are estimates: {why}"
                )
            return
        columns = {
            column: getattr(facts.calibration, field)
            for column, field in CALIBRATION_COLUMNS.items()
        }
        self._record.writer.update("target", target_id, columns)

    def _measure_words(
        self, server: Server, model: str
    ) -> Calibration | None:
        prefixes = [unique_prefix() for _ in range(PROBE_PREFIXES)]
        counts = []
        for probe in make_probes(random.Random(), prefixes):
            counted = self._count_tokens(server, model, probe)
            if counted is None:
                return None
            counts.append(counted)
        return solve(counts, PROBE_PREFIXES)

    def _correct(
        self, server: Server, model: str, tokens: int, found: Calibration
    ) -> Calibration:
        """Return the calibration by which prompts of so many tokens come out right."""
        has_prefix = self._request.cache != "warm"
        text = found.make_text(tokens, random.Random(), has_prefix)
        counted = self._count_tokens(server, model, text)
        return (
            found
            if counted is None
            else found.correct(tokens, text, counted)
        )

    def _count_tokens(
        self, server: Server, model: str, prompt: str
    ) -> int | None:
        """Return how many tokens the server counts in a prompt; None if it does not say."""
        outcome = self._ask(server, model, prompt, PROBE_TOKENS)
        summary = outcome.summary if outcome else None
        return summary.prompt_tokens if summary else None

    def _describe(
        self, server: Server, model: str, monitor: Monitor | None
    ) -> None:
        """Store what the server says of a loaded model; warn where the machine slows it down."""
        target = server.describe(model)
        facts = self.facts(model, server)
        if server.protocol.name == OLLAMA and not target["context_tokens"]:
            # an old version does not say it, but does as it is told
            asked = read_count(self._request.model_options.get("num_ctx"))
            target["context_tokens"] = asked
        facts.context_tokens = target["context_tokens"]
        facts.can_ignore_end = target["server"] in GO_ON_SERVERS
        facts.counts_cached = server.protocol.counts_cached(
            target["server_version"]
        )
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
        """Wait for each server that does not answer, and load the model again once it does.

        One that did not come back is not waited for again until it answers by itself.
        """
        for server in self.servers:
            if server.answers():
                self._lost.discard(server.url)
            elif server.url not in self._lost:
                self._wait_for(server, model, warmup)

    def _wait_for(self, server: Server, model: str, warmup: int) -> None:
        self._screen.warn(
            f"{server.url} does not answer; waiting up to {COME_BACK_S:.0f} s"
        )
        until_s = time.monotonic() + COME_BACK_S
        while time.monotonic() < until_s:
            if self._interrupt.wait(ASK_AGAIN_S):
                return
            if server.answers():
                self._screen.say("the server is back")
                with contextlib.suppress(RunError):
                    self.warm(server, model, warmup)
                return
        self._lost.add(server.url)
        self._screen.warn(f"{server.url} did not come back")

    def wait_idle(self, model: str) -> None:
        """Wait until the servers are done with what clients that left had asked.

        One is, once a request alone is no longer twice as fast as the one before it.
        """
        for server in self.servers:
            if server.url not in self._lost:
                self._wait_idle(server, model)
        self._screen.end_progress()

    def _wait_idle(self, server: Server, model: str) -> None:
        until_s, before_s = time.monotonic() + BUSY_S, math.inf
        while (left_s := until_s - time.monotonic()) > 0:
            prompt = f"{unique_prefix()} {self._request.prompt}"
            began_s = time.monotonic()
            try:
                self._ask(server, model, prompt, PROBE_TOKENS, left_s)
            except RunError:
                if time.monotonic() < until_s:
                    return
                break
            took_s = time.monotonic() - began_s
            if self._interrupt.is_set() or took_s > before_s / 2:
                return
            before_s = took_s
        self._screen.warn(
            f"{server.url} is still busy {BUSY_S:.0f} s after the last level was cut: "
            "the next one waits behind that work"
        )


def hint_at_context(server: Server) -> str:
    return (
        " (--option num_ctx=N)" if server.protocol.name == OLLAMA else ""
    )
