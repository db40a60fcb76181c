"""The tasks of a level: prompts in the seed's order, prefixes where asked."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import product

from ollama_bench.inputs import prompts
from ollama_bench.inputs.calibration import Calibration
from ollama_bench.inputs.settings import LoadSettings, RequestSettings
from ollama_bench.load.attempt import Outcome, Task
from ollama_bench.load.lengths import Lengths
from ollama_bench.protocols.json_values import JsonObject
from ollama_bench.run.plan import Level
from ollama_bench.run.replay import Replay
from ollama_bench.run.targets import unique_prefix
from ollama_bench.run.task_targets import (
    AskedServer,
    TargetsCopy,
    TaskTargets,
)

Messages = tuple[JsonObject, ...]


class PromptOrder:
    """The prompts of a run in the order in which they are asked; random text is made anew."""

    def __init__(self, request: RequestSettings, seed: int) -> None:
        self.seed = seed
        self.mix = request.mix
        self.is_file = request.prompts_file is not None
        self._prompts = (
            prompts.read(request.prompts_file)
            if request.prompts_file is not None
            else [prompts.make_prompt(request.prompt)]
        )
        self._order = prompts.shuffled(len(self._prompts), seed)

    def __len__(self) -> int:
        return len(self._order)

    def prompt(
        self, number: int, level: Level, calibration: Calibration | None
    ) -> tuple[prompts.Prompt, int | None]:
        """Return a request's prompt and its line in the file, None without a file."""
        tokens = level.asked_prompt_tokens
        if level.prompt_mix and self.mix:
            tokens = self.mix.choose_tokens(self.seed, number)
        if not tokens:
            place = self._order[(number - 1) % len(self._order)]
            return self._prompts[
                place
            ], place + 1 if self.is_file else None
        draw = random.Random(
            f"{self.seed} {level.concurrency} {level.repeat} {number}"
        )
        if calibration is None:
            prompt = prompts.made_up(tokens, draw)
        else:
            is_cold = level.cache == "cold"
            text = calibration.make_text(tokens, draw, is_cold)
            prompt = prompts.make_prompt(text)
        return replace(prompt, made_tokens=tokens), None


class TaskSource:
    """Makes the tasks of one level: the same for the same number, but for a unique prefix."""

    def __init__(
        self,
        level: Level,
        request: RequestSettings,
        order: PromptOrder | Replay,
        targets: TaskTargets,
    ) -> None:
        self._level, self._request = level, request
        self._order, self._targets = order, targets
        self.replay = order if isinstance(order, Replay) else None
        # prompts that begin alike get the same prefix
        has_shared = self.replay is not None and self.replay.shares_blocks
        self._shared_prefix = unique_prefix() if has_shared else None

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what only this process has: connections, screen and results file."""
        targets = TargetsCopy(self._targets, self._level.model)
        return {**vars(self), "_targets": targets}

    @property
    def server_count(self) -> int:
        """Return how many servers are asked."""
        return len(self._targets.servers)

    def task(self, number: int, host: int = 0) -> Task:
        """Return the task of a request's number within the level, from 1.

        host: the server's place among those of the run, from 0.
        """
        server = self._targets.servers[host]
        facts = self._targets.facts(self._level.model, server)
        prompt, line = self._order.prompt(
            number, self._level, facts.calibration
        )
        conversation = Conversation(
            self._level.model,
            self._request,
            server,
            self._targets,
            prompt,
            line,
            self._choose_prefix(),
            host,
        )
        return conversation.first_turn(number)

    def _choose_prefix(self) -> str | None:
        if self._level.cache != "cold":
            return None
        return self._shared_prefix or unique_prefix()

    def first_tasks(self, load: LoadSettings) -> list[Task]:
        """Return the tasks that fill a prompt cache: each body once, but one for each slot.

        Any server may get any of them.
        """
        count = load.requests or self._level.concurrency
        # a load that ends by time may get through all prompts
        if load.duration_s and not load.requests:
            count = max(count, len(self._order))
        found: list[Task] = []
        seen: set[tuple[str, str]] = set()
        hosts = range(len(self._targets.servers))
        for number, host in product(range(1, count + 1), hosts):
            task = self.task(number, host)
            key = task.url, json.dumps(task.body)
            if number <= self._level.concurrency or key not in seen:
                found.append(task)
            seen.add(key)
        return found


class Conversation:
    """One prompt's turns, all on one server, whose cache then has what was said before."""

    def __init__(
        self,
        model: str,
        request: RequestSettings,
        server: AskedServer,
        targets: TaskTargets,
        prompt: prompts.Prompt,
        line: int | None,
        prefix: str | None,
        host: int = 0,
    ) -> None:
        self._model, self._request, self._server = model, request, server
        self._target_id = targets.id(model, server)
        self._facts = targets.facts(model, server)
        self._prompt, self._line, self._prefix = prompt, line, prefix
        self._host = host

    def first_turn(self, number: int) -> Task:
        system = self._prompt.system
        said: Messages = (
            ({"role": "system", "content": system},)
            if system and self._prompt.is_chat
            else ()
        )
        first = tuple(map(self._add_prefix, self._prompt.turns[0]))
        return self._turn(number, 1, said + first)

    def _add_prefix(self, message: JsonObject) -> JsonObject:
        """Return a message of the first turn; the prefix precedes what the user says."""
        if self._prefix is None or message["role"] != "user":
            return message
        content = f"{self._prefix} {message['content']}"
        return {**message, "content": content}

    def _turn(self, number: int, turn: int, messages: Messages) -> Task:
        """Return the task of a turn, from 1; messages are all up to it."""
        server, protocol = self._server, self._server.protocol

        def follow(next_number: int, outcome: Outcome) -> Task:
            said = self._prompt.turns[turn]
            # the call of tools that the file's results belong to
            has_reply = said[0]["role"] == "assistant"
            reply = () if has_reply else (make_reply(outcome),)
            return self._turn(
                next_number, turn + 1, messages + reply + said
            )

        is_chat = self._prompt.is_chat
        path = protocol.chat_path if is_chat else protocol.path
        return Task(
            number,
            protocol,
            server.url + path,
            self._body(messages),
            server.headers,
            self._prefix,
            self._target_id,
            self._line,
            turn,
            follow if turn < len(self._prompt.turns) else None,
            server.secret,
            self._lengths(messages),
            host=self._host,
        )

    def _lengths(self, messages: Messages) -> Lengths:
        """Return how long prompt and reply are at least and at most, as far as it is known.

        A system prompt is not counted: a template may leave it out.
        """
        facts = self._facts
        tokens = sum(map(count_words, messages))
        made = self._prompt.made_tokens
        if made and facts.calibration:
            tokens = made
        return Lengths(
            tokens if facts.counts_cached else None,
            self._prompt.tokens or self._request.tokens,
            facts.context_tokens,
            made,
        )

    def _body(self, messages: Messages) -> JsonObject:
        request, prompt = self._request, self._prompt
        protocol, tokens = (
            self._server.protocol,
            prompt.tokens or request.tokens,
        )
        options = {**request.model_options, **prompt.options}
        if prompt.fills_reply and self._facts.can_ignore_end:
            options = {"ignore_eos": True, **options}
        if prompt.is_chat:
            return protocol.build_chat(
                self._model,
                messages,
                tokens,
                request.think,
                options,
                prompt.tools,
            )
        return protocol.build_body(
            self._model,
            str(messages[-1]["content"]),
            tokens,
            request.think,
            options,
            prompt.system,
        )


def count_words(message: JsonObject) -> int:
    """Return the words of a message, each a token at least; 0 of what is not text."""
    text = message.get("content")
    if message["role"] == "system" or not isinstance(text, str):
        return 0
    return len(text.split())


def make_reply(outcome: Outcome) -> JsonObject:
    """Return the server's reply as a message of the next turn; reasoning is not sent back."""
    reply: JsonObject = {"role": "assistant", "content": outcome.answer}
    if outcome.tool_calls:
        reply["tool_calls"] = outcome.tool_calls
    return reply
