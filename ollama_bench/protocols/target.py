"""A model on a server, as the server describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Target:
    """A model on a server; None is unknown."""

    server: str | None = None
    server_version: str | None = None
    family: str | None = None
    parameter_size: str | None = None
    quantization: str | None = None
    digest: str | None = None
    thinks: bool | None = None
    context_tokens: int | None = None
    size_bytes: int | None = None
    vram_bytes: int | None = None
    slots: int | None = None
    slots_source: str | None = None
    # of one slot's context, in F16 until the type of the cache is known
    slot_bytes: int | None = None


def is_same_model(name: object, model: str) -> bool:
    """Tell whether two names mean one model: Ollama adds :latest where no tag is given."""
    if not isinstance(name, str):
        return False
    return normalize_model_name(name) == normalize_model_name(model)


def normalize_model_name(name: str) -> str:
    """Return the name without the default tag, in lower case."""
    return omit_default_tag(name).lower()


def omit_default_tag(name: str) -> str:
    """Return a name as Ollama takes it, without the tag that it adds by itself."""
    return name.removesuffix(":latest")
