"""Checks of the servers: do they answer, which models have they, do these fit, how many at once.

A server is only asked what it is (GET, and Ollama's /api/show): nothing is loaded or measured.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from ollama_bench.doctor.finding import Finding
from ollama_bench.inputs.resolve import default_hosts
from ollama_bench.monitor import parallel_advice
from ollama_bench.monitor.process_tree import Slots
from ollama_bench.monitor.processes import read_environment
from ollama_bench.monitor.server_search import find_servers
from ollama_bench.protocols.json_values import (
    JsonObject,
    read_count,
    read_objects,
)
from ollama_bench.protocols.names import OLLAMA, OPENAI
from ollama_bench.protocols.protocol import (
    GetJson,
    KeyRequiredError,
    ProtocolError,
)
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.protocols.text import one_line
from ollama_bench.run.error import RunError
from ollama_bench.run.server import (
    Server,
    ServerError,
    list_names,
    read_key,
)

ANSWER_S = 2.0  # for a whole answer
# where llama-server or MLX, vLLM and LM Studio usually are
OTHER_PORTS = (8080, 8000, 1234)
SMALL_MODEL = "smollm2:135m"
SHOWN_MODELS = 3
PARALLEL = "OLLAMA_NUM_PARALLEL"


@dataclass(frozen=True)
class Place:
    """Where a server may be, and what names it."""

    url: str
    protocol: str
    named_by: str = "default"


def list_places(environment: Mapping[str, str]) -> list[Place]:
    """Return the usual places on this machine, that of OLLAMA_HOST first. Raises ValueError."""
    urls, named_by = default_hosts([OLLAMA], environment)
    others = [f"http://127.0.0.1:{port}" for port in OTHER_PORTS]
    return [
        Place(urls[0], OLLAMA, named_by),
        *(Place(url, OPENAI) for url in others if url != urls[0]),
    ]


@dataclass
class Found:
    """A server that answers."""

    place: Place
    server: Server

    @property
    def get_json(self) -> GetJson:
        return functools.partial(self.server.get_json, within_s=ANSWER_S)


class ServerChecks:
    """Looks for the servers once, when it is made; the checks ask those that answered."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._failures: list[Finding] = []
        self.places: list[Place] = []
        self.found: list[Found] = []
        try:
            self.places = list_places(environment)
        except ValueError as error:
            self._fail(str(error), f"unset {str(error).partition(':')[0]}")
        for place in self.places:
            self._look(place)

    @property
    def ports(self) -> list[int]:
        """Ports of this machine on which servers answer, else where Ollama would be."""
        ports = [one.server.port for one in self.found]
        return [port for port in ports if port] or [11434]

    def close(self) -> None:
        for one in self.found:
            with one.server:
                pass

    def _fail(self, text: str, mend: str = "") -> None:
        self._failures.append(Finding("wrong", "server", text, mend))

    def _look(self, place: Place) -> None:
        protocol = PROTOCOLS[place.protocol]
        try:
            key = read_key(protocol.key_variable)
        except RunError as error:
            self._fail(str(error), f"unset {protocol.key_variable}")
            return
        found = Found(place, Server(place.url, protocol, key))
        try:
            status, answer = found.get_json(protocol.ready_path)
        except ServerError:
            if place.named_by != "default":
                self._fail(
                    f"nothing answers at {place.url} ({place.named_by})",
                    "ollama serve",
                )
            return
        is_any = place.named_by == "default" and place.protocol == OPENAI
        # some other program may be there
        if is_any and status != 401 and not isinstance(answer, dict):
            return
        self.found.append(found)

    def check(self, slots: Mapping[int, Slots]) -> Iterator[Finding]:
        """Check each server. slots: what its process shows, by port."""
        yield from self._failures
        if not self.found and not self._failures:
            ports = ", ".join(
                place.url.rpartition(":")[2] for place in self.places
            )
            yield Finding(
                "wrong",
                "server",
                f"none answers on this machine (ports {ports})",
                "ollama serve",
            )
        for one in self.found:
            yield from check_server(one, slots)


def check_server(
    found: Found, slots: Mapping[int, Slots]
) -> Iterator[Finding]:
    """Check a server that answers: what it is, its models, how many at once."""
    url, protocol = found.place.url, found.server.protocol
    try:
        version = protocol.fetch_version(found.get_json)
        models = protocol.fetch_models(found.get_json)
    except KeyRequiredError as error:
        variable = protocol.key_variable
        yield Finding(
            "wrong", "server", f"{url} {error}", f"export {variable}=..."
        )
        return
    except (ProtocolError, ServerError) as error:
        yield Finding("wrong", "server", f"{url} {one_line(str(error))}")
        return
    if not models:
        yield Finding("ok", "server", f"{protocol.name} {version} at {url}")
        yield Finding(
            "wrong",
            "model",
            f"none is installed at {url}",
            f"{protocol.download_command} {SMALL_MODEL}",
        )
        return
    loaded = list_loaded(found) or models[:1]
    target = asdict(protocol.fetch_target(found.get_json, loaded[0]))
    name = target["server"] or protocol.name
    release = target["server_version"] or version
    yield Finding(
        "ok", "server", f"{one_line(f'{name} {release}')} at {url}"
    )
    yield check_models(found, models)
    if target["vram_bytes"] is not None:
        yield check_loaded(loaded[0], target)
    yield from check_slots(found, target, slots)


def list_loaded(found: Found) -> list[str]:
    """Return the models that are in memory, as Ollama names them."""
    if found.place.protocol != OLLAMA:
        return []
    _, answer = found.get_json("/api/ps")
    names = [entry.get("name") for entry in read_objects(answer, "models")]
    return [name for name in names if isinstance(name, str)]


def check_models(found: Found, models: Sequence[str]) -> Finding:
    """Name the models, and those that are larger than this machine's memory."""
    shown = list_names([*models[:SHOWN_MODELS]])
    more = len(models) - SHOWN_MODELS
    text = f"{shown} and {more} more" if more > 0 else shown
    if found.server.port is None or found.place.protocol != OLLAMA:
        return Finding("ok", "model", text)
    memory = psutil.virtual_memory().total
    _, answer = found.get_json("/api/tags")
    large = list(describe_large(read_objects(answer, "models"), memory))
    if not large:
        return Finding(
            "ok",
            "model",
            f"{text}: each fits {memory / 1e9:.1f} GB of memory",
        )
    return Finding(
        "note",
        "model",
        f"{list_names(large)} is more than the {memory / 1e9:.1f} GB of memory",
        f"ollama pull {SMALL_MODEL}",
    )


def describe_large(
    entries: Sequence[JsonObject], memory: int
) -> Iterator[str]:
    for entry in entries:
        size = read_count(entry.get("size")) or 0
        if size > memory:
            yield f"{entry.get('name')} of {size / 1e9:.1f} GB"


def check_loaded(model: str, target: Mapping[str, Any]) -> Finding:
    """Say where the loaded model is: memory of the GPU, or partly outside of it."""
    if advice := parallel_advice.warn_of({**target, "api": ""}):
        return Finding("note", "memory", f"{one_line(model)}: {advice}")
    size, on_gpu = target["size_bytes"] or 0, target["vram_bytes"]
    place = "all on the GPU" if on_gpu else "none on a GPU"
    text = f"{one_line(model)} is loaded, {size / 1e9:.1f} GB, {place}"
    return Finding("ok", "memory", text)


def check_slots(
    found: Found, target: dict[str, Any], seen: Mapping[int, Slots]
) -> Iterator[Finding]:
    """Say how many requests run at a time, and who set that."""
    port = found.server.port
    number, source = target["slots"], target["slots_source"]
    if number is None and port is not None and port in seen:
        number, source = seen[port]
    if found.place.protocol == OLLAMA:
        target |= {"api": OLLAMA, "slots": number, "slots_source": source}
        if reason := parallel_advice.explain_one_at_a_time(target):
            yield Finding("note", "slots", reason)
            return
        source = name_setter(port, source)
    if number is None:
        yield Finding(
            "note", "slots", f"not known ({source or 'not told'})"
        )
    elif number == 1:
        mend = f"{PARALLEL}=4 ollama serve"
        yield Finding(
            "note",
            "slots",
            f"one request at a time ({source})",
            mend if found.place.protocol == OLLAMA else "",
        )
    else:
        yield Finding("ok", "slots", f"{number} at a time ({source})")


def name_setter(port: int | None, source: str | None) -> str | None:
    """Return who set Ollama's slots, by the environment of its process where it may be read."""
    for process in find_servers(port, None)[:1] if port else []:
        environment = read_environment(process)
        if value := environment.get(PARALLEL):
            return f"{PARALLEL}={one_line(value)} of the server"
        if environment:
            return f"the server's default, {PARALLEL} is not set"
    return source
