"""Which request is answered by what."""

from __future__ import annotations

from collections.abc import Callable

from ollama_bench.simulator import descriptions, generation
from ollama_bench.simulator.connection import Connection
from ollama_bench.simulator.messages import JsonObject, Request
from ollama_bench.simulator.openai import format_error

Handler = Callable[[Connection, Request], None]

ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/"): descriptions.get_root,
    ("GET", "/api/version"): descriptions.get_version,
    ("GET", "/api/tags"): descriptions.get_tags,
    ("GET", "/api/ps"): descriptions.get_ps,
    ("POST", "/api/show"): descriptions.post_show,
    ("POST", "/api/pull"): descriptions.post_pull,
    ("POST", "/api/generate"): generation.post_generate,
    ("POST", "/api/chat"): generation.post_chat,
    ("GET", "/v1/models"): descriptions.get_models,
    ("POST", "/v1/chat/completions"): generation.post_chat_completions,
    ("GET", "/props"): descriptions.get_props,
    ("GET", "/sim/state"): descriptions.get_state,
}


def respond(connection: Connection, request: Request) -> None:
    """Answer one request by its path."""
    method = "GET" if request.method == "HEAD" else request.method
    handle = ROUTES.get((method, request.path))
    if handle is None:
        refuse(connection, request)
        return
    try:
        handle(connection, request)
    except (
        ValueError,
        TypeError,
    ) as error:  # of what the client asked for
        body: JsonObject = {"error": str(error)}
        if request.path.startswith("/v1/"):
            body = format_error(str(error))
        connection.answer_json(request, 400, body)


def refuse(connection: Connection, request: Request) -> None:
    """Answer a request that there is no handler for."""
    if any(path == request.path for _, path in ROUTES):
        connection.answer(
            request, 405, "text/plain", b"405 method not allowed"
        )
    else:
        connection.answer(
            request, 404, "text/plain", b"404 page not found"
        )
