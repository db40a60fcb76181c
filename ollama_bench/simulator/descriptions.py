"""What the server says about itself and its models, as Ollama and llama-server do."""

from __future__ import annotations

import random

from ollama_bench.simulator.connection import Connection
from ollama_bench.simulator.messages import JsonObject, Request, dump
from ollama_bench.simulator.openai import format_error
from ollama_bench.simulator.settings import complete_name
from ollama_bench.simulator.simulation import Simulation

OLLAMA_VERSION = (
    "0.24.0"  # the behaviour simulated is that of this version
)
CONTEXT_TOKENS = 4096  # of one slot
FILE_BYTES = 4_683_075_271  # size of the model's file
# of /v1/models: status, content type and body
BROKEN_LISTS: dict[str, tuple[int, str, bytes]] = {
    # mlx_lm.server without a folder of models
    "empty": (200, "application/json", b""),
    "broken": (200, "text/html", b"<html><h1>It works</h1></html>"),
    "missing": (404, "text/plain", b"404 page not found"),
}
MODEL_BYTES = 5_537_017_600  # what /api/ps reports for a loaded 7B


def get_root(connection: Connection, request: Request) -> None:
    connection.answer(
        request, 200, "text/plain; charset=utf-8", b"Ollama is running"
    )


def get_version(connection: Connection, request: Request) -> None:
    connection.answer_json(request, 200, {"version": OLLAMA_VERSION})


def get_state(connection: Connection, request: Request) -> None:
    connection.answer_json(request, 200, connection.simulation.state())


def get_tags(connection: Connection, request: Request) -> None:
    simulation = connection.simulation
    models = [
        describe_model(simulation, name) for name in simulation.models
    ]
    connection.answer_json(request, 200, {"models": models})


def get_ps(connection: Connection, request: Request) -> None:
    simulation = connection.simulation
    more = {
        "size": MODEL_BYTES,
        "size_vram": MODEL_BYTES,
        "expires_at": "2286-11-20T17:46:39Z",
    }
    names = sorted(simulation.loaded_ns)
    loaded = [
        {
            **describe_model(simulation, name),
            **more,
            "context_length": simulation.context_tokens.get(
                name, CONTEXT_TOKENS
            ),
        }
        for name in names
    ]
    connection.answer_json(request, 200, {"models": loaded})


def describe_model(simulation: Simulation, name: str) -> JsonObject:
    return {
        "name": name,
        "model": name,
        "modified_at": "2025-10-26T17:15:24.097767Z",
        "size": FILE_BYTES,
        "digest": make_digest(name),
        "details": describe_details(simulation),
    }


def describe_details(simulation: Simulation) -> JsonObject:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen2",
        "families": ["qwen2"],
        "parameter_size": simulation.settings.profile.parameters,
        "quantization_level": "Q4_K_M",
    }


def make_digest(name: str) -> str:
    return f"{random.Random(name).getrandbits(256):064x}"


def post_show(connection: Connection, request: Request) -> None:
    if find_model(connection, request, request.json()) is None:
        return
    capabilities = ["completion"]
    if connection.simulation.settings.thinks:
        capabilities.append("thinking")
    model_info = {
        "general.architecture": "qwen2",
        "general.parameter_count": 7_615_616_512,
        "general.file_type": 15,
        "qwen2.context_length": 131072,
        "qwen2.block_count": 28,
    }
    shown = {
        "parameters": "temperature 0.6",
        "details": describe_details(connection.simulation),
        "model_info": model_info,
        "capabilities": capabilities,
    }
    connection.answer_json(request, 200, shown)


def post_pull(connection: Connection, request: Request) -> None:
    """Download a model: there is every one, at once."""
    name = complete_name(str(request.json().get("model") or ""))
    digest = make_digest(name)
    layer = {
        "status": f"pulling {digest[:12]}",
        "digest": "sha256:" + digest,
        "total": FILE_BYTES,
    }
    steps: list[JsonObject] = [{"status": "pulling manifest"}]
    steps += [
        {**layer, "completed": FILE_BYTES * part // 4} for part in range(5)
    ]
    for status in (
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ):
        steps.append({"status": status})
    models = connection.simulation.models
    if name not in models:
        models.append(name)
    lines = b"".join(dump(step) + b"\n" for step in steps)
    connection.answer(request, 200, "application/x-ndjson", lines)


def find_model(
    connection: Connection, request: Request, body: JsonObject
) -> str | None:
    """Return the complete name of the model asked for; None after a 404 if there is none."""
    asked = str(body.get("model") or "")
    name = complete_name(asked)
    if name in connection.simulation.models:
        return name
    connection.answer_json(
        request, 404, {"error": f"model '{asked}' not found"}
    )
    return None


def get_models(connection: Connection, request: Request) -> None:
    """List the models as OpenAI's servers do, or as a broken one does."""
    if not is_authorized(connection, request):
        return
    kind = connection.simulation.settings.model_list
    if kind in BROKEN_LISTS:
        status, content_type, body = BROKEN_LISTS[kind]
        connection.answer(request, status, content_type, body)
        return
    common = {"object": "model", "created": 1761498924, "owned_by": "sim"}
    names = list_openai_models(connection.simulation)
    models = [{"id": name, **common} for name in names if kind == "whole"]
    connection.answer_json(
        request, 200, {"object": "list", "data": models}
    )


def list_openai_models(simulation: Simulation) -> list[str]:
    name = simulation.settings.answers_as
    return simulation.models if name is None else [name]


def get_props(connection: Connection, request: Request) -> None:
    """Describe the slots as llama-server does."""
    simulation = connection.simulation
    properties: JsonObject = {
        "total_slots": min(simulation.machine.slots, 2**31),
        "default_generation_settings": {"n_ctx": CONTEXT_TOKENS},
    }
    if name := simulation.settings.answers_as:
        properties["model_alias"] = name
        properties["model_path"] = f"/models/{name}.gguf"
    connection.answer_json(request, 200, properties)


def is_authorized(connection: Connection, request: Request) -> bool:
    """Whether the request carries the key; answer 401 if not."""
    key = connection.simulation.settings.api_key
    if (
        key is None
        or request.headers.get("authorization") == f"Bearer {key}"
    ):
        return True
    error = format_error("Invalid API Key", "authentication_error", 401)
    connection.answer_json(request, 401, error)
    return False
