"""The OpenAI protocol as llama-server, vLLM, LM Studio, MLX and Ollama speak it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeGuard

from ollama_bench.protocols.event_stream import END_MARK
from ollama_bench.protocols.json_values import (
    JsonObject,
    read_count,
    read_label,
    read_model_name,
    read_objects,
)
from ollama_bench.protocols.names import OPENAI
from ollama_bench.protocols.offers import (
    Offer,
    read_lm_studio_offers,
    read_openai_offers,
)
from ollama_bench.protocols.openai_stream import OpenAIStream
from ollama_bench.protocols.protocol import (
    GetJson,
    KeyRequiredError,
    ModelListError,
)
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.target import Target


class OpenAI:
    """The protocol of /v1/chat/completions."""

    name = OPENAI
    key_variable = "OPENAI_API_KEY"
    start_advice = "start the server"
    download_command: str | None = None
    ready_path = "/v1/models"
    path = chat_path = "/v1/chat/completions"
    last_line_marks = (END_MARK,)

    def create_stream(self, secret: Secret = NO_SECRET) -> OpenAIStream:
        """Return a parser for one streamed answer."""
        return OpenAIStream(secret)

    def build_body(
        self,
        model: str,
        prompt: str,
        tokens: int | None = None,
        think: bool | None = None,
        options: JsonObject | None = None,
        system: str | None = None,
    ) -> JsonObject:
        """Return the JSON body of one request; options go to the top level."""
        messages: list[JsonObject] = (
            [{"role": "system", "content": system}] if system else []
        )
        messages.append({"role": "user", "content": prompt})
        return self.build_chat(model, messages, tokens, think, options)

    def build_chat(
        self,
        model: str,
        messages: Sequence[JsonObject],
        tokens: int | None = None,
        think: bool | None = None,
        options: JsonObject | None = None,
        tools: Sequence[object] = (),
    ) -> JsonObject:
        """Return the JSON body of one turn of a chat; options go to the top level."""
        body: JsonObject = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            body["tools"] = list(tools)
        if tokens is not None:
            body["max_tokens"] = tokens
        if think is not None:
            body["chat_template_kwargs"] = {"enable_thinking": think}
        return body | (options or {})

    def is_last_line(self, line: bytes) -> bool:
        """Tell whether the answer ends with this line, given without its line end."""
        return line.startswith(b"data:") and line[5:].strip() == END_MARK

    def counts_cached(self, version: str | None) -> bool:
        """Return True: ``usage`` counts the whole prompt."""
        return True

    def fetch_version(self, get_json: GetJson) -> str:
        """Return "unknown": the protocol has no version. Raises ProtocolError."""
        status, _ = get_json("/v1/models")
        if status == 401:
            raise KeyRequiredError(
                "requires an API key: set OPENAI_API_KEY"
            )
        return "unknown"

    def fetch_models(self, get_json: GetJson) -> list[str]:
        """List the models that the server offers. Raises ModelListError."""
        status, found = get_json("/v1/models")
        names = [entry.get("id") for entry in read_objects(found, "data")]
        models = [name for name in names if isinstance(name, str)]
        if status != 200:
            raise ModelListError(f"responded {status} to /v1/models")
        if not models:
            # of mlx_lm.server that has no folder of models
            nothing = "nothing" if found == "" else "no list of models"
            raise ModelListError(f"responded with {nothing} to /v1/models")
        return models

    def fetch_offers(self, get_json: GetJson) -> list[Offer]:
        """Return the models, and which of them are loaded where that is told."""
        if name := self.fetch_own_name(get_json):
            return [Offer(name, is_loaded=True)]
        _, found = get_json("/api/v0/models")
        if offers := read_lm_studio_offers(found):
            return offers
        _, found = get_json("/v1/models")
        return read_openai_offers(found)

    def generates_text(self, get_json: GetJson, model: str) -> bool:
        """Return True: what is known stands in the list of models."""
        return True

    def fetch_own_name(self, get_json: GetJson) -> str | None:
        """Return llama-server's name for its one model, whatever a request asks for."""
        status, props = get_json("/props")
        if status != 200 or not is_llama_server(props):
            return None
        if name := read_model_name(props.get("model_alias")):
            return name
        path = read_model_name(props.get("model_path")) or ""
        return re.split(r"[/\\]", path)[-1] or None

    def fetch_target(self, get_json: GetJson, model: str) -> Target:
        """Return what /v1/models reports, and llama-server's /props or vLLM's /version."""
        target = Target()
        _, found = get_json("/v1/models")
        entries = read_objects(found, "data")
        for entry in entries:
            # llama-server: one, by any name
            if entry.get("id") == model or len(entries) == 1:
                target.server = read_label(entry.get("owned_by"))
                read_meta(target, entry.get("meta"))
                # vLLM
                target.context_tokens = read_count(
                    entry.get("max_model_len")
                )
        status, props = get_json("/props")
        if status == 200 and is_llama_server(props):
            read_props(target, props)
        elif target.server == "vllm":
            _, version = get_json("/version")
            if isinstance(version, dict):
                target.server_version = read_label(version.get("version"))
        return target


def is_llama_server(props: object) -> TypeGuard[JsonObject]:
    """Tell whether an answer of /props is of a llama-server that runs one model."""
    return isinstance(props, dict) and "total_slots" in props


def read_meta(target: Target, meta: object) -> None:
    """Read llama-server's properties of a model from an entry of /v1/models."""
    if not isinstance(meta, dict):
        return
    target.size_bytes = read_count(meta.get("size"))
    if parameters := read_count(meta.get("n_params")):
        target.parameter_size = format_parameters(parameters)
    target.quantization = read_label(meta.get("ftype"))


def format_parameters(parameters: int) -> str:
    """Write a number of parameters as 7.6B or 135M."""
    if parameters > 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M"


def read_props(target: Target, props: JsonObject) -> None:
    """Read llama-server's properties of itself from /props."""
    target.server = "llama.cpp"
    target.server_version = read_label(props.get("build_info"))
    target.slots = read_count(props.get("total_slots"))
    target.slots_source = "/props"
    settings = props.get("default_generation_settings")
    if isinstance(settings, dict):
        target.context_tokens = read_count(settings.get("n_ctx"))
