"""The models that a server offers, and what its lists tell of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_bench.protocols.json_values import (
    JsonObject,
    read_count,
    read_model_name,
    read_objects,
)
from ollama_bench.protocols.target import is_same_model

# in the names of models that turn text into numbers, or rank it
EMBEDDING_NAME = re.compile(
    r"embed|minilm|rerank|paraphrase-|(^|[/_-])(bge|gte|e5)-",
    re.IGNORECASE,
)
CLOUD_NAME = re.compile(r"[:-]cloud$")
EMBEDDING_FAMILY = "bert"  # bert, nomic-bert, xlm-roberta has its name
LM_STUDIO_TYPES = ("llm", "vlm")


@dataclass(frozen=True)
class Offer:
    """A model that a server offers.

    ``is_local`` is False where another machine answers for it, ``size_bytes`` is of its file,
    None where the server does not say.
    """

    name: str
    is_loaded: bool = False
    size_bytes: int | None = None
    is_local: bool = True
    embeds: bool = False

    @property
    def can_be_measured(self) -> bool:
        """Whether it generates text on the server's own machine, as far as its lists tell."""
        return self.is_local and not self.embeds


def embeds(name: str, families: Sequence[object] = ()) -> bool:
    """Tell by its name and families whether a model makes embeddings instead of text."""
    in_family = any(EMBEDDING_FAMILY in str(one) for one in families)
    return in_family or bool(EMBEDDING_NAME.search(name))


def read_ollama_offers(installed: object, loaded: object) -> list[Offer]:
    """Return what Ollama's /api/tags and /api/ps list."""
    running = [
        str(entry.get("name")) for entry in read_objects(loaded, "models")
    ]
    found = []
    for entry in read_objects(installed, "models"):
        name = read_model_name(entry.get("name"))
        if name is None:
            continue
        is_remote = entry.get("remote_host") or entry.get("remote_model")
        offer = Offer(
            name,
            any(is_same_model(one, name) for one in running),
            read_count(entry.get("size")),
            not (is_remote or CLOUD_NAME.search(name)),
            embeds(name, read_families(entry)),
        )
        found.append(offer)
    return found


def read_families(entry: JsonObject) -> list[object]:
    details = entry.get("details")
    if not isinstance(details, dict):
        return []
    families = details.get("families")
    more = families if isinstance(families, list) else []
    return [details.get("family"), *more]


def read_openai_offers(found: object) -> list[Offer]:
    """Return what /v1/models lists; a server's only model is the one that it has loaded.

    A llama-server that has several says which are loaded, mlx_lm.server lists the folder that it
    was started with beside those that it could load.
    """
    entries = [
        (name, entry)
        for entry in read_objects(found, "data")
        # an adapter of vLLM is a model with a parent
        if (name := read_model_name(entry.get("id")))
        and not entry.get("parent")
    ]
    return [
        Offer(
            name,
            len(entries) == 1
            or name.startswith("/")
            or read_status(entry) == "loaded",
            embeds=embeds(name),
        )
        for name, entry in entries
    ]


def read_status(entry: JsonObject) -> object:
    status = entry.get("status")
    return status.get("value") if isinstance(status, dict) else None


def read_lm_studio_offers(found: object) -> list[Offer]:
    """Return what LM Studio's /api/v0/models lists; nothing if it is another server's answer."""
    return [
        Offer(
            name,
            entry.get("state") == "loaded",
            embeds=entry.get("type") not in LM_STUDIO_TYPES,
        )
        for entry in read_objects(found, "data")
        if "state" in entry and (name := read_model_name(entry.get("id")))
    ]
