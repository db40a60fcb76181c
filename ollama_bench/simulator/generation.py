"""The requests that make a model speak: /api/generate, /api/chat and /v1/chat/completions."""

from __future__ import annotations

from ollama_bench.simulator.connection import Connection
from ollama_bench.simulator.descriptions import find_model, is_authorized
from ollama_bench.simulator.dialect import Dialect
from ollama_bench.simulator.faults import registry
from ollama_bench.simulator.messages import (
    Request,
    dump,
    get_object,
    to_int,
)
from ollama_bench.simulator.ollama import (
    OllamaChat,
    OllamaDialect,
    format_now,
)
from ollama_bench.simulator.openai import OpenAIDialect, format_error
from ollama_bench.simulator.reply import Question, Reply
from ollama_bench.simulator.settings import complete_name

QUEUE_FULL = (
    "server busy, please try again.  maximum pending requests exceeded"
)


def post_generate(connection: Connection, request: Request) -> None:
    body = request.json()
    model = find_model(connection, request, body)
    if model is None:
        return
    prompt = str(body.get("prompt") or "")
    answer_ollama(connection, request, OllamaDialect(body), model, prompt)


def post_chat(connection: Connection, request: Request) -> None:
    body = request.json()
    model = find_model(connection, request, body)
    if model is None:
        return
    prompt = join_contents(body.get("messages"))
    answer_ollama(connection, request, OllamaChat(body), model, prompt)


def answer_ollama(
    connection: Connection,
    request: Request,
    dialect: OllamaDialect,
    model: str,
    prompt: str,
) -> None:
    """Answer a prompt; an empty one loads the model."""
    body = request.json()
    if context_tokens := to_int(
        get_object(body, "options").get("num_ctx")
    ):
        connection.simulation.context_tokens[model] = context_tokens
    if not prompt:
        answer_load(connection, request, dialect, model)
        return
    can_think = connection.simulation.settings.thinks
    # unset is on for a model that can, since 0.12.4
    thinks = bool(body.get("think", can_think))
    if thinks and not can_think:
        error = f'"{body["model"]}" does not support thinking'
        connection.answer_json(request, 400, {"error": error})
        return
    limit = to_int(get_object(body, "options").get("num_predict"))
    question = Question(model, prompt, thinks, limit)
    start_reply(connection, request, dialect, question)


def answer_load(
    connection: Connection,
    request: Request,
    dialect: OllamaDialect,
    model: str,
) -> None:
    """Load the model, as an empty prompt asks for; unload it when keep_alive is 0."""
    simulation, body = connection.simulation, request.json()
    delay_s = 0.0
    reason = "load"
    if body.get("keep_alive") in (0, "0", "0s"):
        simulation.unload(model)
        reason = "unload"
    else:
        delay_s = (
            max(
                0,
                simulation.load(model, request.read_ns) - request.read_ns,
            )
            / 1e9
        )
    answer = {
        "model": body["model"],
        "created_at": format_now(),
        **dialect.say(""),
        "done": True,
        "done_reason": reason,
    }
    simulation.loop.call_later(
        delay_s, connection.answer_json, request, 200, answer
    )


def post_chat_completions(
    connection: Connection, request: Request
) -> None:
    if not is_authorized(connection, request):
        return
    body = request.json()
    simulation = connection.simulation
    own_name = simulation.settings.answers_as
    if own_name is not None:
        body["model"] = own_name
        model = simulation.models[0]
    else:
        model = complete_name(str(body.get("model") or ""))
    if model not in simulation.models:
        error = format_error(
            f"model '{body.get('model')}' not found", "not_found_error"
        )
        connection.answer_json(request, 404, error)
        return
    prompt = join_contents(body.get("messages"))
    limit = to_int(
        body.get("max_completion_tokens") or body.get("max_tokens")
    )
    # llama-server's switch
    wanted = get_object(body, "chat_template_kwargs").get(
        "enable_thinking", True
    )
    thinks = connection.simulation.settings.thinks and bool(wanted)
    dialect = OpenAIDialect(request.number, body)
    start_reply(
        connection,
        request,
        dialect,
        Question(model, prompt, thinks, limit),
    )


def join_contents(messages: object) -> str:
    """Join the texts of a chat. Raises TypeError when it is not a list of objects."""
    if not messages:
        return ""
    if not isinstance(messages, list):
        raise TypeError("invalid messages: expected a list")
    contents = []
    for message in messages:
        if not isinstance(message, dict):
            raise TypeError("invalid message: expected a JSON object")
        contents.append(str(message.get("content", "")))
    return " ".join(contents)


def start_reply(
    connection: Connection,
    request: Request,
    dialect: Dialect,
    question: Question,
) -> None:
    """Apply the faults, then hand the reply to the machine; answer 503 when its queue is full."""
    simulation = connection.simulation
    reply = Reply(connection, request, dialect, question)
    asked = request.headers.get("x-sim-fault", "").split(",")
    for fault in (*simulation.settings.faults, *filter(None, asked)):
        registry.parse_fault(fault)(reply)
    if reply.over:
        return
    connection.begin_reply(reply)
    if not reply.held and not simulation.machine.submit(reply):
        reply.refuse(
            503, "application/json", dump(dialect.error(QUEUE_FULL))
        )
