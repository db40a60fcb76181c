import pytest

from ollama_bench.protocols.openai import OpenAI
from ollama_bench.protocols.protocol import KeyRequiredError, ProtocolError
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


def test_another_server_is_refused():
    with pytest.raises(
        ProtocolError,
        match="404 to /v1/models: it does not speak the OpenAI",
    ):
        OpenAI().fetch_version(answers_of({}))


def test_server_with_an_empty_answer_is_accepted():
    assert (
        OpenAI().fetch_version(answers_of({"/v1/models": (200, "")}))
        == "unknown"
    )


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
    body = OpenAI().build_chat("m", messages, think=False, tools=[{"f": 1}])
    assert (body["messages"], body["tools"]) == (messages, [{"f": 1}])
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "tools" not in OpenAI().build_chat("m", messages)


def test_a_system_prompt_precedes_a_prompt():
    messages = OpenAI().build_body("m", "p", system="s")["messages"]
    assert messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "p"},
    ]
