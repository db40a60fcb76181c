"""The tasks of a level: servers in turn, prompts in the seed's order, prefixes where asked."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from ollama_bench.inputs import prompts
from ollama_bench.inputs.calibration import Calibration
from ollama_bench.inputs.settings import LoadSettings, RequestSettings
from ollama_bench.load.attempt import Outcome, Task
from ollama_bench.load.lengths import Lengths
from ollama_bench.run.plan import Level
from ollama_bench.run.server import Server
from ollama_bench.run.targets import Targets, unique_prefix

# question and answer of each earlier turn
History = tuple[tuple[str, str], ...]


class PromptOrder:
    """The prompts of a run in the order in which they are asked; random text is made anew."""

    def __init__(self, request: RequestSettings, seed: int) -> None:
        self.seed = seed
        self.random_tokens = request.prompt_tokens
        self.is_file = request.prompts_file is not None
        self._prompts = (
            prompts.read(request.prompts_file)
            if request.prompts_file is not None
            else [prompts.Prompt((request.prompt,))]
        )
        self._order = prompts.shuffled(len(self._prompts), seed)

    def __len__(self) -> int:
        return len(self._order)

    def prompt(
        self, number: int, level: Level, calibration: Calibration | None
    ) -> tuple[prompts.Prompt, int | None]:
        """Return a request's prompt and its line in the file, None without a file."""
        place = self._order[(number - 1) % len(self._order)]
        if self.random_tokens:
            draw = random.Random(
                f"{self.seed} {level.concurrency} {level.repeat} {number}"
            )
            if calibration is None:
                return prompts.made_up(self.random_tokens, draw), None
            text = calibration.make_text(
                self.random_tokens, draw, level.cache == "cold"
            )
            return prompts.Prompt((text,)), None
        return self._prompts[place], place + 1 if self.is_file else None


class TaskSource:
    """Makes the tasks of one level: the same for the same number, but for a unique prefix."""

    def __init__(
        self,
        level: Level,
        request: RequestSettings,
        order: PromptOrder,
        targets: Targets,
    ) -> None:
        self._level, self._request = level, request
        self._order, self._targets = order, targets

    def task(self, number: int) -> Task:
        """Return the task of a request's number within the level, from 1."""
        servers = self._targets.servers
        server = servers[(number - 1) % len(servers)]
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
            unique_prefix() if self._level.cache == "cold" else None,
        )
        return conversation.turn(number)

    def first_tasks(self, load: LoadSettings) -> list[Task]:
        """Return the tasks that fill a prompt cache: each body once, but one for each slot."""
        count = load.requests or self._level.concurrency
        # a load that ends by time may get through all prompts
        if load.duration_s and not load.requests:
            count = max(
                count, len(self._order) * len(self._targets.servers)
            )
        found: list[Task] = []
        seen: set[tuple[str, str]] = set()
        for number in range(1, count + 1):
            task = self.task(number)
            key = task.url, json.dumps(task.body)
            if number <= self._level.concurrency or key not in seen:
                found.append(task)
            seen.add(key)
        return found


class Conversation:
    """One prompt's turns; each later turn is sent with everything that was said before."""

    def __init__(
        self,
        model: str,
        request: RequestSettings,
        server: Server,
        targets: Targets,
        prompt: prompts.Prompt,
        line: int | None,
        prefix: str | None,
    ) -> None:
        self._model, self._request, self._server = model, request, server
        self._target_id = targets.id(model, server)
        self._facts = targets.facts(model, server)
        self._prompt, self._line, self._prefix = prompt, line, prefix

    def turn(
        self, number: int, turn: int = 1, history: History = ()
    ) -> Task:
        """Return the task of a turn, from 1."""
        text = self._prompt.turns[turn - 1]
        question = (
            f"{self._prefix} {text}" if self._prefix and turn == 1 else text
        )
        server = self._server

        def follow(next_number: int, outcome: Outcome) -> Task:
            return self.turn(
                next_number,
                turn + 1,
                (*history, (question, outcome.answer)),
            )

        return Task(
            number,
            server.protocol,
            server.url + server.protocol.path,
            self._body(question, history),
            server.headers,
            self._prefix,
            self._target_id,
            self._line,
            turn,
            follow if turn < len(self._prompt.turns) else None,
            server.secret,
            self._lengths(
                [question, *(text for pair in history for text in pair)]
            ),
        )

    def _lengths(self, texts: Sequence[str]) -> Lengths:
        """Return how long prompt and reply are at least and at most, as far as it is known.

        texts: what was said up to now, without the system prompt, which a template may leave out.
        """
        facts = self._facts
        tokens = sum(len(text.split()) for text in texts)
        if self._request.prompt_tokens and facts.calibration:
            tokens = self._request.prompt_tokens
        return Lengths(
            tokens if facts.counts_cached else None,
            self._prompt.tokens or self._request.tokens,
            facts.context_tokens,
        )

    def _body(
        self, question: str, history: Sequence[tuple[str, str]]
    ) -> dict[str, object]:
        request, prompt = self._request, self._prompt
        return self._server.protocol.build_body(
            self._model,
            question,
            prompt.tokens or request.tokens,
            request.think,
            {**request.model_options, **prompt.options},
            prompt.system,
            history,
        )
