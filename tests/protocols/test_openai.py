import pytest

from ollama_bench.protocols.ollama import Ollama
from ollama_bench.protocols.openai import OpenAI
from ollama_bench.protocols.protocol import (
    KeyRequiredError,
    ModelListError,
)
from ollama_bench.protocols.target import Target
from tests.protocols.helpers import answers_of

MODEL = {
    "id": "x.gguf",
    "owned_by": "llamacpp",
    "meta": {"n_params": 7_600_000_000},
}
PROPS = {
    "total_slots": 4,
    "build_info": "b1",
    "default_generation_settings": {"n_ctx": 2048},
}


def test_target_of_a_llama_server():
    get_json = answers_of(
        {"/v1/models": (200, {"data": [MODEL]}), "/props": (200, PROPS)},
    )
    assert OpenAI().fetch_target(get_json, "any name") == Target(
        server="llama.cpp",
        server_version="b1",
        parameter_size="7.6B",
        context_tokens=2048,
        slots=4,
        slots_source="/props",
    )


def test_server_that_wants_a_key_is_named():
    with pytest.raises(KeyRequiredError, match="set OPENAI_API_KEY"):
        OpenAI().fetch_version(answers_of({"/v1/models": (401, None)}))


@pytest.mark.parametrize(
    "answer, said",
    [
        ((404, None), "responded 404 to /v1/models"),
        ((500, {"data": [MODEL]}), "responded 500 to /v1/models"),
        # mlx_lm.server 0.32.2 without a folder of models
        ((200, ""), "responded with nothing to /v1/models"),
        ((200, None), "responded with no list of models to /v1/models"),
        ((200, {"data": []}), "responded with no list of models to"),
        ((200, {"data": [{"id": 7}]}), "responded with no list of models"),
        ((200, ["x"]), "responded with no list of models to /v1/models"),
    ],
)
def test_a_list_that_cannot_be_read_is_told_apart(answer, said):
    get_json = answers_of({"/v1/models": answer})
    assert OpenAI().fetch_version(get_json) == "unknown"
    with pytest.raises(ModelListError, match=said):
        OpenAI().fetch_models(get_json)


# of real servers, shortened
LISTS = {
    "llama-server": (
        {
            "models": [{"name": "smollm2", "model": "smollm2"}],
            "object": "list",
            "data": [
                {
                    "id": "smollm2",
                    "aliases": ["smollm2"],
                    "object": "model",
                    "owned_by": "llamacpp",
                    "meta": {"n_params": 134515008, "ftype": "Q4_1"},
                }
            ],
        },
        ["smollm2"],
    ),
    "mlx_lm.server": (
        {
            "object": "list",
            "data": [{"id": "/models/tiny-hf", "object": "model"}],
        },
        ["/models/tiny-hf"],
    ),
    "vLLM": (
        {
            "object": "list",
            "data": [
                {
                    "id": "tiny",
                    "object": "model",
                    "owned_by": "vllm",
                    "root": "/models/tiny-hf",
                    "max_model_len": 2048,
                }
            ],
        },
        ["tiny"],
    ),
    "Ollama": (
        {
            "object": "list",
            "data": [{"id": "smollm2:135m", "owned_by": "library"}],
        },
        ["smollm2:135m"],
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_models_of_real_servers(name):
    body, models = LISTS[name]
    get_json = answers_of({"/v1/models": (200, body)})
    assert OpenAI().fetch_models(get_json) == models


@pytest.mark.parametrize(
    "props, name",
    [
        # llama-server 0.5.0
        (
            {
                "total_slots": 4,
                "model_alias": "smollm2",
                "model_path": "/models/smollm2.gguf",
            },
            "smollm2",
        ),
        # without --alias, before it had one
        ({"total_slots": 1, "model_path": "/home/me/x.gguf"}, "x.gguf"),
        ({"total_slots": 1, "model_path": "C:\\models\\x.gguf"}, "x.gguf"),
        ({"total_slots": 1, "model_alias": 7, "model_path": ""}, None),
        # a router has many models
        ({"role": "router", "model_alias": "llama-server"}, None),
        ("Not Found", None),
        (None, None),
    ],
)
def test_only_a_llama_server_has_a_name_of_its_own(props, name):
    get_json = answers_of({"/props": (200, props)})
    assert OpenAI().fetch_own_name(get_json) == name
    assert OpenAI().fetch_own_name(answers_of({})) is None
    assert Ollama().fetch_own_name(get_json) is None


def test_body():
    body = OpenAI().build_body("m", "p", 9, None, {"seed": 1})
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "p"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "seed": 1,
    }


def test_body_of_a_chat():
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "p"},
    ]
    body = OpenAI().build_chat(
        "m", messages, think=False, tools=[{"f": 1}]
    )
    assert (body["messages"], body["tools"]) == (messages, [{"f": 1}])
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "tools" not in OpenAI().build_chat("m", messages)


def test_a_system_prompt_precedes_a_prompt():
    messages = OpenAI().build_body("m", "p", system="s")["messages"]
    assert messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "p"},
    ]
