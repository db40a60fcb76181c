"""Take a server and a model where nobody has named them, and say which and why."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from ollama_bench.inputs.options import STUDY_MODEL
from ollama_bench.inputs.settings import (
    RequestSettings,
    ServerAddress,
    Settings,
)
from ollama_bench.monitor.memory import read_memory_bytes
from ollama_bench.privilege.variables import DroppedVariables
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.protocols.offers import Offer
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.target import is_same_model
from ollama_bench.run.discovery import (
    FoundServer,
    describe_places,
    discover_servers,
)
from ollama_bench.run.model_choice import ChosenModel, choose_model
from ollama_bench.run.notices import name_servers, warn_of_dropped
from ollama_bench.run.server import Server, ServerError, list_names
from ollama_bench.terminal.command_line import name_command_here
from ollama_bench.terminal.screen import Console

SHOWN_MODELS = 3  # of a server that is not taken
SMALL_MODEL = "llama3.2:1b"
INSTALLERS = {
    "darwin": "brew install ollama && brew services start ollama",
    "win32": "winget install Ollama.Ollama",
}
INSTALLER = "curl -fsSL https://ollama.com/install.sh | sh"
START = "ollama serve"


def settle_server(
    settings: Settings, dropped: DroppedVariables, screen: Console
) -> Settings:
    """Return the settings with the server that is measured, and say which that is.

    Where nothing names one, it is looked for on this computer, and its model is chosen. Raises
    ServerError if there is none.
    """
    request = settings.request
    if not request.is_searched:
        name_servers(request, dropped, screen)
        return settings
    named_url = None
    if request.named_by == "OLLAMA_HOST":
        named_url = request.servers[0].url
    found = discover_servers(named_url)
    prefers_study = settings.load.budget_s is None
    taken = take_server(found, named_url, prefers_study)
    if taken is None:
        if named_url:
            name_servers(request, dropped, screen)
        else:
            warn_of_dropped(request, dropped, screen)
        raise ServerError(explain_nothing(found, named_url, screen.width))
    server, choice = taken
    settled = take(settings, server, choice.offer.name, named_url)
    settled = replace(
        settled,
        words=(*settings.words, *name_again(server, choice, found)),
    )
    name_servers(settled.request, dropped, screen)
    for other in found:
        if other is not server:
            screen.note(f"also found: {describe(other)}")
    tell_model(choice, server, screen)
    return settled


def take_server(
    found: Sequence[FoundServer],
    named_url: str | None,
    prefers_study: bool,
) -> tuple[FoundServer, ChosenModel] | None:
    """Return the first server with a loaded model, else the first with any, and that model.

    The one that the environment names goes first, then one with the study's model if that is
    preferred.
    """

    def rank(server: FoundServer) -> tuple[bool, bool, bool]:
        offers = [one for one in server.offers if one.can_be_measured]
        has_study = any(
            is_same_model(one.name, STUDY_MODEL) for one in offers
        )
        return (
            server.url != named_url,
            not (prefers_study and has_study),
            not any(one.is_loaded for one in offers),
        )

    for server in sorted(found, key=rank):
        protocol = PROTOCOLS[server.protocol]
        with Server(server.url, protocol, None) as asked:
            choice = choose_model(
                server.offers, prefers_study, asked.generates_text
            )
        if choice is not None:
            return server, choice
    return None


def take(
    settings: Settings,
    server: FoundServer,
    model: str,
    named_url: str | None,
) -> Settings:
    """Return the settings as if this server and this model had been named."""
    named_by = settings.request.named_by
    if server.url != named_url:
        named_by = f"{server.kind}; another: --host URL"
    request: RequestSettings = replace(
        settings.request,
        servers=(ServerAddress(server.url, server.protocol),),
        protocols=(server.protocol,),
        models=(model,),
        named_by=named_by,
    )
    named = {
        "host": [server.url],
        "api": [server.protocol],
        "model": [model],
    }
    return replace(
        settings, request=request, identity={**settings.identity, **named}
    )


def name_again(
    server: FoundServer, choice: ChosenModel, found: Sequence[FoundServer]
) -> list[str]:
    """Return the options that name server and model where another could be taken next time."""
    if len(found) == 1 and count_usable(server) == 1:
        return []
    place = [] if server.is_default else name_server(server).split()
    return [*place, "--model", choice.offer.name]


def describe(server: FoundServer) -> str:
    """Return a found server as one line, with the options that name it."""
    names = [one.name for one in server.offers if one.can_be_measured]
    has = server.trouble or list_names(names[:SHOWN_MODELS])
    if len(names) > SHOWN_MODELS:
        has += f" and {len(names) - SHOWN_MODELS} more"
    return f"{server.kind} ({has}): {name_server(server)}"


def name_server(server: FoundServer) -> str:
    """Return the options that name a server."""
    api = "" if server.protocol == OLLAMA else f" --api {server.protocol}"
    return f"--host {server.url}{api}"


def count_usable(server: FoundServer) -> int:
    return sum(offer.can_be_measured for offer in server.offers)


def tell_model(
    choice: ChosenModel, server: FoundServer, screen: Console
) -> None:
    """Say which model was taken, why, and how to name another."""
    another = ""
    if count_usable(server) > 1:
        place = "" if server.is_default else f"{name_server(server)} "
        another = f"; another: {place}--model NAME"
    screen.note(f"model: {choice.offer.name} ({choice.reason}{another})")
    if "127.0.0.1" in server.url:
        warn_of_size(choice.offer, screen)


def choose_installed(
    servers: Sequence[Server], prefers_study: bool, screen: Console
) -> str:
    """Return the model that nobody has named, which all these Ollamas have, and say it.

    Raises ServerError.
    """
    for server in servers:
        # whatever is wrong with a server is said first
        server.list_models()
    first = servers[0]
    lists = [server.list_offers() for server in servers]
    offers = [
        offer
        for offer in lists[0]
        if all(
            any(is_same_model(offer.name, one.name) for one in others)
            for others in lists[1:]
        )
    ]
    choice = choose_model(offers, prefers_study, first.generates_text)
    if choice is None:
        raise ServerError(
            explain_no_model([one.url for one in servers], offers)
        )
    screen.note(
        f"model: {choice.offer.name} ({choice.reason}; another: --model NAME)"
    )
    if first.port is not None:
        warn_of_size(choice.offer, screen)
    return choice.offer.name


def warn_of_size(offer: Offer, screen: Console) -> None:
    """Warn of a model that is larger than this computer's memory."""
    memory = read_memory_bytes()
    if offer.is_loaded or not offer.size_bytes or not memory:
        return
    if offer.size_bytes > memory:
        screen.warn(
            f"{offer.name} has {offer.size_bytes / 1e9:.1f} GB, this computer "
            f"{memory / 1e9:.1f} GB of memory: it may not load"
        )


def explain_nothing(
    found: Sequence[FoundServer], named_url: str | None, width: int
) -> str:
    """Return why nothing can be measured, and the lines that change it."""
    for server in found:
        if server.trouble:
            return explain_trouble(server)
    for server in found:
        return explain_no_model([server.url], server.offers)
    looked = f"looked for {describe_places(named_url)}"
    command = name_command_here("bench")
    lines = [
        *explain_start(),
        "or name a server (--api openai for all but Ollama):",
        f"  {command} --host URL",
        "or measure a simulated one:",
        f"  {command} --demo",
    ]
    places = textwrap.wrap(looked, width - 1, break_on_hyphens=False)
    return "\n".join(
        ["no server answers on this computer", *places, *lines]
    )


def explain_start() -> list[str]:
    """Return the lines that say how Ollama is started here, or installed."""
    if shutil.which("ollama"):
        return ["Ollama is installed; start it:", f"  {START}"]
    return [
        "install Ollama and a small model:",
        f"  {INSTALLERS.get(sys.platform, INSTALLER)}",
        f"  ollama pull {SMALL_MODEL}",
    ]


def name_start() -> str:
    """Return what starts Ollama here, or installs it."""
    if shutil.which("ollama"):
        return START
    return INSTALLERS.get(sys.platform, INSTALLER)


def explain_trouble(server: FoundServer) -> str:
    place = f"{server.kind} at {server.url} {server.trouble}"
    if "key" in server.trouble:
        return (
            f"{place}: put it into OPENAI_API_KEY and name the server: "
            f"{name_server(server)} --model NAME"
        )
    return f"{place}: try again when it has"


def explain_no_model(urls: Sequence[str], offers: Sequence[Offer]) -> str:
    """Return which models were found that cannot be measured, and what brings one."""
    has = "no model" if len(urls) == 1 else "no model in common"
    if offers:
        names = list_names([one.name for one in offers])
        has = f"no model that generates text here, only {names}"
    verb = "has" if len(urls) == 1 else "have"
    return (
        f"{' and '.join(urls)} {verb} {has}: run ollama pull {SMALL_MODEL}"
    )
