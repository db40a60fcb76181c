"""Find the servers that run on this computer, by the ports that they usually listen on."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_bench.protocols.json_values import read_label, read_objects
from ollama_bench.protocols.names import OLLAMA, OPENAI
from ollama_bench.protocols.offers import Offer
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.server import Server, ServerError

USUAL_PORTS = {
    11434: "Ollama",
    8080: "llama-server or MLX",
    8000: "vLLM",
    1234: "LM Studio",
    30000: "SGLang",
    5001: "KoboldCpp",
    1337: "Jan",
}
MLX_PORT = 8080  # its list names no owner, llama-server's does
# it repeats Ollama's answers, too, but is no Ollama
KOBOLD_PORT = 5001
CONNECT_S = 0.3  # on this computer a connection takes less than 1 ms
# a server that generates, or looks through a folder of models, may take its time
ANSWER_S = 3.0
NAMED_CONNECT_S, NAMED_ANSWER_S = 5.0, 30.0
# what lists say of who owns a model: what its server is called
OWNERS = {"llamacpp": "llama-server", "vllm": "vLLM", "sglang": "SGLang"}


@dataclass(frozen=True)
class FoundServer:
    """A server that answered; ``trouble`` says why it cannot be measured now, "" if it can."""

    url: str
    protocol: str
    kind: str  # what it is called, with its version where that is known
    offers: tuple[Offer, ...] = ()
    trouble: str = ""

    @property
    def is_default(self) -> bool:
        """Whether a command that names no server means it."""
        return self.protocol == OLLAMA and self.url.endswith(":11434")


def discover_servers(named_url: str | None = None) -> list[FoundServer]:
    """Return what runs on this computer; a server that the environment names comes first.

    All are asked at once. No API key is sent: nobody has said that these servers may have it.
    """
    urls = [f"http://127.0.0.1:{port}" for port in USUAL_PORTS]
    if named_url is not None:
        urls = [named_url, *(url for url in urls if url != named_url)]
    with ThreadPoolExecutor(max_workers=len(urls)) as threads:
        found = threads.map(
            lambda url: look_at(url, url == named_url), urls
        )
        return [server for server in found if server is not None]


def look_at(url: str, is_named: bool) -> FoundServer | None:
    """Return the server at an address; None if there is none that speaks a protocol of ours.

    One that is named may be far away, and is waited for.
    """
    if not can_connect(url, NAMED_CONNECT_S if is_named else CONNECT_S):
        return None
    answer_s = NAMED_ANSWER_S if is_named else ANSWER_S
    try:
        return look_for_ollama(url, answer_s) or look_for_openai(
            url, answer_s
        )
    except ServerError:  # something listens, and answers no question
        return None


def can_connect(url: str, within_s: float) -> bool:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    try:
        address = (parts.hostname, parts.port)
        with socket.create_connection(address, within_s):
            return True
    except OSError:
        return False


def look_for_ollama(url: str, answer_s: float) -> FoundServer | None:
    """Return the server if it is Ollama. Raises ServerError if it does not answer."""
    with Server(url, PROTOCOLS[OLLAMA], None) as server:
        server.answer_s = answer_s
        if server.port == KOBOLD_PORT:
            return None
        status, found = server.get_json("/api/version")
        version = found.get("version") if isinstance(found, dict) else None
        if status != 200 or not (version := read_label(version)):
            return None
        offers = tuple(server.list_offers())
        return FoundServer(url, OLLAMA, f"Ollama {version}", offers)


def look_for_openai(url: str, answer_s: float) -> FoundServer | None:
    """Return the server if it speaks OpenAI's protocol. Raises ServerError if it is silent."""
    with Server(url, PROTOCOLS[OPENAI], None) as server:
        server.answer_s = answer_s
        kind = name_by_port(server.port)
        status, found = server.get_json("/v1/models")
        if status == 503 and isinstance(found, dict):
            return describe_loading(url, kind, found)
        if status == 401:
            return FoundServer(
                url, OPENAI, kind, trouble="needs an API key"
            )
        entries = read_objects(found, "data")
        if status != 200 or not entries:
            return None
        owner = entries[0].get("owned_by")
        if owner is None and server.port == MLX_PORT:
            kind = "mlx_lm.server"
        kind = OWNERS.get(str(owner), kind)
        return FoundServer(url, OPENAI, kind, tuple(server.list_offers()))


def describe_loading(url: str, kind: str, found: object) -> FoundServer:
    """Return a server that answers 503; what it is called shows in llama-server's words alone."""
    if "Loading model" in json.dumps(found):
        kind = "llama-server"
    trouble = "still loads its model"
    return FoundServer(url, OPENAI, kind, trouble=trouble)


def name_by_port(port: int | None) -> str:
    """Return what usually listens on a port."""
    return USUAL_PORTS.get(port or 0, "OpenAI's protocol")


def describe_places(named_url: str | None) -> str:
    """Return where servers are looked for, as the rest of a sentence."""
    places = [f"{name} on {port}" for port, name in USUAL_PORTS.items()]
    first = [f"{named_url} (OLLAMA_HOST)"] if named_url else []
    return ", ".join(first + places)
