"""Checks of the servers: do they answer, which models have they, do these fit, how many at once.

A server is only asked what it is (GET, and Ollama's /api/show): nothing is loaded or measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ollama_bench.doctor.finding import Finding
from ollama_bench.inputs.resolve import default_hosts
from ollama_bench.monitor import parallel_advice
from ollama_bench.monitor.memory import read_memory_bytes
from ollama_bench.monitor.process_tree import Slots
from ollama_bench.monitor.processes import read_environment
from ollama_bench.monitor.server_search import (
    find_servers as find_processes,
)
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.text import one_line
from ollama_bench.run.discovery import (
    ANSWER_S,
    USUAL_PORTS,
    FoundServer,
    discover_servers,
)
from ollama_bench.run.finding import (
    SMALL_MODEL,
    name_server,
    name_start,
    take_server,
)
from ollama_bench.run.server import LOCAL_HOSTS, Server, list_names

SHOWN_MODELS = 3
PARALLEL = "OLLAMA_NUM_PARALLEL"


class ServerChecks:
    """Looks for the servers once, when it is made; the checks ask those that answered."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # of OLLAMA_HOST
        self.named_url: str | None = None
        self._fault = ""
        try:
            urls, named_by = default_hosts([OLLAMA], environment)
            if named_by != "default":
                self.named_url = urls[0]
        except ValueError as error:
            self._fault = str(error)
        self.found = discover_servers(self.named_url)

    @property
    def ports(self) -> list[int]:
        """Ports of this machine on which servers answer, else where Ollama would be."""
        ports = [find_local_port(one.url) for one in self.found]
        return [port for port in ports if port] or [*USUAL_PORTS][:1]

    def check(self, slots: Mapping[int, Slots]) -> Iterator[Finding]:
        """Check each server. slots: what its process shows, by port."""
        if self._fault:
            yield Finding(
                "wrong", "server", self._fault, "unset OLLAMA_HOST"
            )
        if self.named_url not in [None, *(one.url for one in self.found)]:
            text = f"nothing answers at {self.named_url} (OLLAMA_HOST)"
            yield Finding("wrong", "server", text, name_start())
        elif not self.found:
            ports = ", ".join(map(str, USUAL_PORTS))
            text = f"none answers on this computer (ports {ports})"
            yield Finding("wrong", "server", text, name_start())
        for server in self.found:
            yield from check_server(server, slots)
        if taken := take_server(self.found, self.named_url, True):
            server, choice = taken
            text = f"{choice.offer.name} at {server.url} ({choice.reason})"
            yield Finding(
                "ok", "default", f"{text} is measured where none is named"
            )


def find_local_port(url: str) -> int | None:
    """Return the port of a server on this machine; None for another."""
    parts = urlsplit(url)
    return parts.port if parts.hostname in LOCAL_HOSTS else None


def check_server(
    found: FoundServer, slots: Mapping[int, Slots]
) -> Iterator[Finding]:
    """Check a server that answers: what it is, its models, how many at once."""
    if found.trouble:
        text = f"{found.kind} at {found.url} {found.trouble}"
        yield Finding("note", "server", f"{text}: {name_server(found)}")
        return
    offers = [one for one in found.offers if one.can_be_measured]
    if not offers:
        yield Finding("ok", "server", f"{found.kind} at {found.url}")
        yield Finding(
            "wrong",
            "model",
            f"none that generates text is at {found.url}",
            f"ollama pull {SMALL_MODEL}"
            if found.protocol == OLLAMA
            else "",
        )
        return
    loaded = [one for one in offers if one.is_loaded]
    model = (loaded or offers)[0].name
    with Server(found.url, PROTOCOLS[found.protocol], None) as server:
        server.answer_s = ANSWER_S
        target = server.describe(model)
    yield Finding(
        "ok", "server", f"{name_release(found, target)} at {found.url}"
    )
    yield check_models(found)
    if target["vram_bytes"] is not None:
        yield check_loaded(target)
    yield from check_slots(found, target, slots)


def name_release(found: FoundServer, target: Mapping[str, Any]) -> str:
    """Return a server's name with its version, where that is known."""
    version = target["server_version"]
    if found.protocol == OLLAMA or not version:
        return found.kind
    return one_line(f"{target['server'] or found.kind} {version}")


def check_models(found: FoundServer) -> Finding:
    """Name the models, and those that are larger than this machine's memory."""
    offers = [one for one in found.offers if one.can_be_measured]
    text = list_names([one.name for one in offers[:SHOWN_MODELS]])
    if len(offers) > SHOWN_MODELS:
        text += f" and {len(offers) - SHOWN_MODELS} more"
    sizes = {one.name: one.size_bytes for one in offers if one.size_bytes}
    memory = read_memory_bytes()
    if find_local_port(found.url) is None or not memory or not sizes:
        return Finding("ok", "model", text)
    large = [
        f"{name} of {size / 1e9:.1f} GB"
        for name, size in sizes.items()
        if size > memory
    ]
    if not large:
        text += f": fits into {memory / 1e9:.1f} GB of memory"
        return Finding("ok", "model", text)
    return Finding(
        "note",
        "model",
        f"{list_names(large)} is more than the {memory / 1e9:.1f} GB of memory",
        f"ollama pull {SMALL_MODEL}",
    )


def check_loaded(target: Mapping[str, Any]) -> Finding:
    """Say where the loaded model is: memory of the GPU, or partly outside of it."""
    model = one_line(target["model"])
    if advice := parallel_advice.warn_of({**target, "api": ""}):
        return Finding("note", "memory", f"{model}: {advice}")
    size, on_gpu = target["size_bytes"] or 0, target["vram_bytes"]
    place = "all on the GPU" if on_gpu else "none on a GPU"
    text = f"{model} is loaded, {size / 1e9:.1f} GB, {place}"
    return Finding("ok", "memory", text)


def check_slots(
    found: FoundServer, target: dict[str, Any], seen: Mapping[int, Slots]
) -> Iterator[Finding]:
    """Say how many requests run at a time, and who set that."""
    port = find_local_port(found.url)
    number, source = target["slots"], target["slots_source"]
    if number is None and port is not None and port in seen:
        number, source = seen[port]
    is_ollama = found.protocol == OLLAMA
    if is_ollama:
        target |= {"slots": number, "slots_source": source}
        if reason := parallel_advice.explain_one_at_a_time(target):
            yield Finding("note", "slots", reason)
            return
        source = name_setter(port, source)
    if number is None:
        yield Finding(
            "note", "slots", f"not known ({source or 'not told'})"
        )
    elif number == 1:
        text = f"one request at a time ({source})"
        mend = f"{PARALLEL}=4 ollama serve" if is_ollama else ""
        yield Finding("note", "slots", text, mend)
    else:
        yield Finding("ok", "slots", f"{number} at a time ({source})")


def name_setter(port: int | None, source: str | None) -> str | None:
    """Return who set Ollama's slots, by the environment of its process where it may be read."""
    for process in find_processes(port, None)[:1] if port else []:
        environment = read_environment(process)
        if value := environment.get(PARALLEL):
            return f"{PARALLEL}={one_line(value)} of the server"
        if environment:
            return f"the server's default, {PARALLEL} is not set"
    return source
