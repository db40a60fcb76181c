"""Which models a run measures, by the names that the servers have for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from ollama_bench.inputs.settings import Settings
from ollama_bench.load.attempt import Outcome
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.protocols.target import (
    is_same_model,
    omit_default_tag,
)
from ollama_bench.run.finding import choose_installed
from ollama_bench.run.server import Say, Server, ServerError
from ollama_bench.terminal.screen import Console

# what tells models of one name apart, by column of target
IDENTITY = ("digest", "parameter_size", "quantization")


def settle_models(
    settings: Settings, servers: Sequence[Server], screen: Console
) -> Settings:
    """Return the settings with the models by their own names, each once.

    Without a name it is chosen among those that every Ollama has; other servers must have one
    model, the same everywhere. A server that answers to
    any name has its own, which is then asked for, stored and compared by --resume; where servers
    differ in that, the name asked for stays. Ollama's name:latest is name. Raises ServerError,
    also where a name does not mean the same model on all servers.
    """
    named, words = settings.request.models, settings.words
    for server in servers:
        for model in named:
            server.check_model(
                model, settings.request.pull, screen.say, screen.warn
            )
    if not named:
        named = (choose_model(settings, servers, screen),)
        words = (*words, "--model", *named)
    if all(server.protocol.name == OLLAMA for server in servers):
        named = tuple(map(omit_default_tag, named))
    own_names = [server.find_own_name() for server in servers]
    models = list(
        dict.fromkeys(
            choose_name(model, own_names, screen.warn) for model in named
        )
    )
    if len(servers) > 1:
        for model in models:
            refuse_unlike(model, servers)
    return replace(
        settings,
        request=replace(settings.request, models=tuple(models)),
        identity={**settings.identity, "model": models},
        words=words,
    )


def refuse_unlike(model: str, servers: Sequence[Server]) -> None:
    """Raise ServerError if two servers of one kind are known to have different models by a name."""
    told = [(server, server.describe(model)) for server in servers]
    for (one, first), (other, second) in combinations(told, 2):
        for column in IDENTITY:
            values = first[column], second[column]
            if (
                one.protocol.name == other.protocol.name
                and None not in values
                and values[0] != values[1]
            ):
                words = column.replace("_", " ")
                raise ServerError(
                    f"{model} is another model at {other.url} than at {one.url} "
                    f"({words} {values[1]}, not {values[0]}): "
                    "several servers are one service of the same model"
                )


def choose_model(
    settings: Settings, servers: Sequence[Server], screen: Console
) -> str:
    if {server.protocol.name for server in servers} != {OLLAMA}:
        return choose_only_model(servers, screen.say)
    prefers_study = settings.load.budget_s is None
    return choose_installed(servers, prefers_study, screen)


def choose_only_model(servers: Sequence[Server], say: Say) -> str:
    """Return the model that is the only one of every server, and say it. Raises ServerError."""
    found = {server.url: server.find_only_model() for server in servers}
    if len(set(found.values())) > 1:
        each = ", ".join(
            f"{model!r} at {url}" for url, model in found.items()
        )
        raise ServerError(
            f"the servers have different models: {each}; "
            "measure each by itself, or name one for all with --model"
        )
    model = next(iter(found.values()))
    place = "this server" if len(found) == 1 else "these servers"
    say(f"model: {model} (the only one of {place})")
    return model


def choose_name(
    model: str, own_names: Iterable[str | None], warn: Say
) -> str:
    """Return the name of the model that will answer, and warn if it is another."""
    own_name, *others = {name or model for name in own_names}
    if others or is_same_model(own_name, model):
        return model
    warn(
        f"model: {own_name}, not {model}: the server answers to any name, "
        "and its own is stored"
    )
    return own_name


class ReplyNames:
    """Warns, once for each pair of names, of replies that name another model than was asked."""

    def __init__(self, warn: Say) -> None:
        self._warn = warn
        self._told: set[tuple[str, str]] = set()

    def note(self, outcome: Outcome) -> None:
        """Look at the name in a reply that has ended."""
        name = outcome.summary and outcome.summary.model
        asked = str(outcome.task.body.get("model"))
        if (
            not name
            or is_same_model(name, asked)
            or (asked, name) in self._told
        ):
            return
        self._told.add((asked, name))
        self._warn(
            f"{asked} was asked for, but replies name the model {name}: "
            "the figures are those of what answered"
        )
