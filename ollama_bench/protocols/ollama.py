"""Ollama's native protocol, as every version since 0.1.33 speaks it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ollama_bench.protocols.json_values import (
    JsonObject,
    parse_object,
    read_count,
    read_label,
    read_objects,
)
from ollama_bench.protocols.names import OLLAMA
from ollama_bench.protocols.offers import Offer, read_ollama_offers
from ollama_bench.protocols.ollama_stream import OllamaStream
from ollama_bench.protocols.protocol import GetJson, ProtocolError
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.slot_memory import estimate_slot_bytes
from ollama_bench.protocols.target import Target, is_same_model

UNCACHED_ONLY = re.compile(r"0\.([123]\.|30\.0(\D|$))")


class Ollama:
    """The protocol of /api/generate, for one prompt, and of /api/chat, for the turns of a chat."""

    name = OLLAMA
    key_variable: str | None = None
    start_advice = "start Ollama (ollama serve)"
    download_command = "ollama pull"
    ready_path = "/api/version"
    path = "/api/generate"
    chat_path = "/api/chat"
    last_line_marks = (b"true",)

    def create_stream(self, secret: Secret = NO_SECRET) -> OllamaStream:
        """Return a parser for one streamed answer."""
        return OllamaStream(secret)

    def build_body(
        self,
        model: str,
        prompt: str,
        tokens: int | None = None,
        think: bool | None = None,
        options: JsonObject | None = None,
        system: str | None = None,
    ) -> JsonObject:
        """Return the JSON body of one request.

        ``tokens`` is an upper bound, since Ollama cannot be told to ignore the end of the text.
        """
        body: JsonObject = {
            "model": model,
            "prompt": prompt,
            "stream": True,
            # a prompt that is too long is an error; older versions cut it all the same
            "truncate": False,
        }
        options = dict(options or {})
        if tokens is not None:
            options["num_predict"] = tokens
        if options:
            body["options"] = options
        if think is not None:
            body["think"] = think
        if system:
            body["system"] = system
        return body

    def build_chat(
        self,
        model: str,
        messages: Sequence[JsonObject],
        tokens: int | None = None,
        think: bool | None = None,
        options: JsonObject | None = None,
        tools: Sequence[object] = (),
    ) -> JsonObject:
        """Return the JSON body of one turn of a chat, given all messages up to it."""
        body = self.build_body(model, "", tokens, think, options)
        del body["prompt"]
        body["messages"] = [
            parse_call_arguments(message) for message in messages
        ]
        if tools:
            body["tools"] = list(tools)
        return body

    def is_last_line(self, line: bytes) -> bool:
        """Tell whether the answer ends with this line, given without its line end."""
        message = parse_object(line.strip())
        return message is not None and message.get("done") is True

    def counts_cached(self, version: str | None) -> bool:
        """Return False for 0.1 to 0.3 and 0.30.0, which count only what is evaluated."""
        return not UNCACHED_ONLY.match(version or "")

    def fetch_version(self, get_json: GetJson) -> str:
        """Return the version of Ollama. Raises ProtocolError."""
        status, found = get_json("/api/version")
        if status != 200 or not isinstance(found, dict):
            raise ProtocolError(
                f"responded {status} to /api/version: not an Ollama server; try --api openai"
            )
        return read_label(found.get("version")) or "unknown"

    def fetch_models(self, get_json: GetJson) -> list[str]:
        """List the models that are installed."""
        _, found = get_json("/api/tags")
        names = [
            entry.get("name") for entry in read_objects(found, "models")
        ]
        return [name for name in names if isinstance(name, str)]

    def fetch_offers(self, get_json: GetJson) -> list[Offer]:
        """Return the models that are installed, and which of them are loaded."""
        _, installed = get_json("/api/tags")
        _, loaded = get_json("/api/ps")
        return read_ollama_offers(installed, loaded)

    def generates_text(self, get_json: GetJson, model: str) -> bool:
        """Ask /api/show whether a model can complete text; an old version does not say it."""
        _, shown = get_json("/api/show", {"model": model, "name": model})
        can = (
            shown.get("capabilities") if isinstance(shown, dict) else None
        )
        return "completion" in can if isinstance(can, list) else True

    def fetch_own_name(self, get_json: GetJson) -> None:
        """Return None: Ollama knows its models by name."""

    def fetch_target(self, get_json: GetJson, model: str) -> Target:
        """Return what /api/version, /api/show, /api/tags and /api/ps report about a model."""
        target = Target(
            server="ollama", server_version=self.fetch_version(get_json)
        )
        status, shown = get_json(
            "/api/show", {"model": model, "name": model}
        )
        if status != 200 or not isinstance(shown, dict):
            shown = {}
        read_details(target, shown)
        _, installed = get_json("/api/tags")
        for entry in read_objects(installed, "models"):
            if is_same_model(entry.get("name"), model):
                target.digest = read_label(entry.get("digest"))
        _, loaded = get_json("/api/ps")
        for entry in read_objects(loaded, "models"):
            if is_same_model(entry.get("name"), model):
                target.size_bytes = read_count(entry.get("size"))
                target.vram_bytes = read_count(entry.get("size_vram"))
                target.context_tokens = read_count(
                    entry.get("context_length")
                )
        geometry = shown.get("model_info")
        if isinstance(geometry, dict):
            target.slot_bytes = estimate_slot_bytes(
                geometry, target.context_tokens
            )
        return target


def parse_call_arguments(message: JsonObject) -> JsonObject:
    """Return a message whose tool calls have objects for arguments; OpenAI's have texts."""
    calls = read_objects(message, "tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [read_call(call) for call in calls]}


def read_call(call: JsonObject) -> JsonObject:
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    read = parse_object(arguments.strip().encode())
    return {**call, "function": {**function, "arguments": read or {}}}


def read_details(target: Target, shown: JsonObject) -> None:
    """Read the properties of a model from an answer of /api/show."""
    details = shown.get("details")
    if isinstance(details, dict):
        target.family = read_label(details.get("family"))
        target.parameter_size = read_label(details.get("parameter_size"))
        target.quantization = read_label(details.get("quantization_level"))
    capabilities = shown.get("capabilities")
    if isinstance(capabilities, list):
        target.thinks = "thinking" in capabilities
