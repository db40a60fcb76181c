"""Ollama's native protocol, as every version since 0.1.33 speaks it."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_bench.protocols.json_values import (
    JsonObject,
    parse_object,
    read_count,
    read_label,
    read_objects,
)
from ollama_bench.protocols.ollama_stream import OllamaStream
from ollama_bench.protocols.protocol import GetJson, ProtocolError, Turn
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.slot_memory import estimate_slot_bytes
from ollama_bench.protocols.target import Target, is_same_model


class Ollama:
    """The protocol of /api/generate."""

    name = "ollama"
    path = "/api/generate"
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
        history: Sequence[Turn] = (),
    ) -> JsonObject:
        """Return the JSON body of one request.

        ``tokens`` is an upper bound, since Ollama cannot be told to ignore the end of the text.
        ``history`` precedes the prompt as a transcript, since /api/generate takes no messages.
        """
        if history:
            prompt = f"{format_transcript(history)}User: {prompt}"
        body: JsonObject = {
            "model": model,
            "prompt": prompt,
            "stream": True,
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

    def is_last_line(self, line: bytes) -> bool:
        """Tell whether the answer ends with this line, given without its line end."""
        message = parse_object(line.strip())
        return message is not None and message.get("done") is True

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


def format_transcript(history: Sequence[Turn]) -> str:
    """Write the earlier turns of a conversation as text."""
    turns = [
        f"User: {question}\n\nAssistant: {answer}\n\n"
        for question, answer in history
    ]
    return "".join(turns)


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
