"""Reads errors that a server reports and quotes lines that are not what they should be."""

from __future__ import annotations

import json
import re

from ollama_bench.protocols.json_values import (
    JsonObject,
    parse_object,
    read_count,
)
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.text import one_line

QUOTED_BYTES = (
    4096  # how much of an unreadable line is decoded to quote it
)
QUOTED_CHARS = 100
# A tag of a proxy's HTML page. [^>]* would scan to the end of the text at every "<".
MARKUP_TAG = re.compile(r"<[^<>]*>")
ANSWER_FIELDS = {"choices", "response", "done"}


def is_error(message: JsonObject) -> bool:
    """Tell whether an object in a stream reports an error.

    Besides ``error``, FastAPI reports one as ``detail`` and vLLM as ``object``.
    """
    if message.get("error") or message.get("object") == "error":
        return True
    return bool(message.get("detail")) and message.keys().isdisjoint(
        ANSWER_FIELDS
    )


def error_text(
    body: object, secret: Secret = NO_SECRET, is_cut: bool = False
) -> str:
    """Return the message of an error body as one line.

    ``body`` is decoded JSON or text. ``is_cut`` says that the text was cut off, so that it may
    end in a part of the key.
    """
    if isinstance(body, dict):
        body = object_error_text(body, secret)
    text = MARKUP_TAG.sub(" ", str(body))
    return one_line(secret.mask(text, is_cut)) or "error without a message"


def object_error_text(body: JsonObject, secret: Secret) -> str:
    """Return the message in a JSON error body, or the whole body as JSON if there is none."""
    error = (
        body.get("error")
        or body.get("detail")
        or body.get("message")
        or body
    )
    if isinstance(error, str) and error.startswith("{"):
        # Ollama hands on the body of its runner's error
        inner = parse_object(error.encode("utf-8", "replace")) or {}
        error = inner.get("error", error)
    if isinstance(error, dict):
        error = describe_too_long(error) or error.get("message", error)
    return error if isinstance(error, str) else dump_masked(error, secret)


def describe_too_long(error: JsonObject) -> str | None:
    """Return what llama-server's error says of a prompt that is too long; None for another."""
    prompt, context = (
        read_count(error.get("n_prompt_tokens")),
        read_count(error.get("n_ctx")),
    )
    if prompt is None or context is None:
        return None
    return (
        f"prompt of {prompt:,} tokens exceeds the context of {context:,}"
    )


def dump_masked(value: object, secret: Secret) -> str:
    """Serialize decoded JSON without the key."""
    try:
        return json.dumps(secret.mask_json(value))
    except RecursionError:
        return "error nested too deeply to read"


def quote_line(line: bytes, secret: Secret = NO_SECRET) -> str:
    """Return the beginning of an unreadable line as one line of at most ``QUOTED_CHARS``."""
    text = line[:QUOTED_BYTES].decode("utf-8", "replace")
    return one_line(secret.mask(text, is_cut=len(line) > QUOTED_BYTES))[
        :QUOTED_CHARS
    ]
