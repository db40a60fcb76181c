import pytest

from ollama_bench.protocols.ollama import Ollama
from ollama_bench.protocols.protocol import ProtocolError
from ollama_bench.protocols.target import Target
from tests.protocols.helpers import answers_of

DETAILS = {
    "family": "qwen2",
    "parameter_size": "7.6B",
    "quantization_level": "Q4_K_M",
}
LOADED = {
    "name": "deepseek-r1:latest",
    "size": 10,
    "size_vram": 4,
    "context_length": 4096,
}
INSTALLED = [
    {"name": "deepseek-r1:latest", "digest": "abc"},
    7,
    {"name": "other"},
]


def test_target_from_all_four_questions():
    get_json = answers_of(
        {
            "/api/version": (200, {"version": "0.9.6"}),
            "/api/show": (
                200,
                {
                    "details": DETAILS,
                    "capabilities": ["completion", "thinking"],
                },
            ),
            "/api/tags": (200, {"models": INSTALLED}),
            "/api/ps": (200, {"models": [LOADED]}),
        }
    )
    assert Ollama().fetch_models(get_json) == [
        "deepseek-r1:latest",
        "other",
    ]
    assert Ollama().fetch_target(get_json, "deepseek-r1") == Target(
        server="ollama",
        server_version="0.9.6",
        family="qwen2",
        parameter_size="7.6B",
        quantization="Q4_K_M",
        digest="abc",
        thinks=True,
        context_tokens=4096,
        size_bytes=10,
        vram_bytes=4,
    )


def test_target_of_an_old_version_is_mostly_unknown():
    get_json = answers_of(
        {
            "/api/version": (200, {"version": "0.1.33"}),
            "/api/tags": (200, None),
        },
    )
    target = Ollama().fetch_target(get_json, "m")
    assert target == Target(server="ollama", server_version="0.1.33")


def test_another_server_is_refused():
    with pytest.raises(
        ProtocolError, match="404 to /api/version: not an Ollama server"
    ):
        Ollama().fetch_version(answers_of({}))


def test_body():
    assert Ollama().build_body("m", "p", 9, True, {"seed": 1}) == {
        "model": "m",
        "prompt": "p",
        "stream": True,
        "truncate": False,
        "options": {"seed": 1, "num_predict": 9},
        "think": True,
    }
    assert Ollama().build_body("m", "p") == {
        "model": "m",
        "prompt": "p",
        "stream": True,
        "truncate": False,
    }


@pytest.mark.parametrize(
    ("version", "counts"),
    [
        ("0.1.33", False),
        ("0.3.14", False),
        ("0.4.0", True),
        ("0.30.0", False),
        ("0.30.1", True),
        ("0.32.15", True),
        (None, True),
    ],
)
def test_versions_that_count_no_cached_tokens(version, counts):
    assert Ollama().counts_cached(version) is counts


def test_body_of_a_chat():
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q", "images": ["aGk="]},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = Ollama().build_chat(
        "m", messages, 9, False, {"seed": 1}, tools=tools
    )
    assert body == {
        "model": "m",
        "messages": messages,
        "tools": tools,
        "stream": True,
        "truncate": False,
        "options": {"seed": 1, "num_predict": 9},
        "think": False,
    }
    assert "tools" not in Ollama().build_chat("m", messages)


@pytest.mark.parametrize(
    "arguments, sent",
    [
        ('{"city": "Oslo"}', {"city": "Oslo"}),
        ({"city": "Oslo"}, {"city": "Oslo"}),
        ("", {}),
        ("[1]", {}),
    ],
)
def test_a_tool_call_in_openais_form_has_an_object_for_ollama(
    arguments, sent
):
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    (found,) = Ollama().build_chat("m", [message])["messages"]
    assert found["tool_calls"] == [
        {"id": "c", "function": {"name": "f", "arguments": sent}}
    ]
    assert call["function"]["arguments"] == arguments
