"""Servers that run on this computer are found, by what they say of themselves."""

import contextlib
import socket
import time
from dataclasses import replace

import pytest

from ollama_bench.inputs import command_line
from ollama_bench.inputs.settings import ServerAddress
from ollama_bench.protocols.offers import Offer
from ollama_bench.run import discovery
from ollama_bench.run.server import make_servers
from tests.run.described_server import describing, ollama, openai


@pytest.fixture
def run_here(monkeypatch):
    """run_here(answers, ...) starts servers; theirs are then the usual ports."""
    with contextlib.ExitStack() as stack:

        def start(*described):
            started = [
                stack.enter_context(describing(**answers))
                for answers in described
            ]
            ports = {one.server_address[1]: "usual" for one in started}
            monkeypatch.setattr(discovery, "USUAL_PORTS", ports)
            return started

        yield start


def find(*arguments):
    return discovery.discover_servers(*arguments)


def test_each_server_is_known_by_what_it_answers(run_here):
    started = run_here(
        ollama("a:1b", loaded=["a:1b"]),
        openai("tiny", owner="vllm"),
        openai("x", "y"),
        {},  # a web server
    )
    urls = [f"http://127.0.0.1:{one.server_address[1]}" for one in started]
    assert [(one.url, one.protocol, one.kind) for one in find()] == [
        (urls[0], "ollama", "Ollama 0.32.15"),
        (urls[1], "openai", "vLLM"),
        (urls[2], "openai", "usual"),
    ]
    assert [one.offers for one in find()][:2] == [
        (Offer("a:1b", True, 10**9),),
        (Offer("tiny", True),),
    ]


def test_a_web_page_and_an_answer_that_is_none_are_no_servers(run_here):
    run_here(
        {"v1_models": "<html>", "api_version": {"error": "no such path"}},
        {"api_version": ["0.1"], "v1_models": {"data": "none"}},
    )
    assert find() == []


def test_what_cannot_be_measured_yet_says_why(run_here):
    loading = (503, {"error": {"message": "Loading model", "code": 503}})
    run_here({"v1_models": loading}, {"v1_models": (401, {})})
    assert [one.trouble for one in find()] == [
        "still loads its model",
        "needs an API key",
    ]


def test_a_server_that_loads_in_other_words_is_called_by_its_port(
    run_here,
):
    run_here({"v1_models": (503, {"detail": "the model is loading"})})
    (found,) = find()
    assert (
        found.kind == "usual" and found.trouble == "still loads its model"
    )


def test_a_llama_server_has_its_own_name(run_here):
    props = {"total_slots": 4, "model_alias": "mine"}
    run_here({"props": props, **openai("path/x.gguf", owner="llamacpp")})
    (found,) = find()
    assert found.kind == "llama-server"
    assert found.offers == (Offer("mine", is_loaded=True),)


def test_mlx_names_no_owner_of_its_model(run_here, monkeypatch):
    (server,) = run_here(
        {"v1_models": {"data": [{"id": "/home/me/tiny"}]}}
    )
    monkeypatch.setattr(discovery, "MLX_PORT", server.server_address[1])
    (found,) = find()
    assert found.kind == "mlx_lm.server"
    assert found.offers == (Offer("/home/me/tiny", is_loaded=True),)


def test_koboldcpp_is_asked_by_openais_protocol(run_here, monkeypatch):
    (server,) = run_here({**ollama("a"), **openai("koboldcpp/a")})
    monkeypatch.setattr(discovery, "KOBOLD_PORT", server.server_address[1])
    (found,) = find()
    assert found.protocol == "openai"


def test_no_key_is_sent_to_a_server_that_nobody_named(
    run_here, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-secret")
    (server,) = run_here(openai("a"))
    find()
    settings = command_line.parse([])
    request = replace(
        settings.request,
        servers=(ServerAddress("http://127.0.0.1:1", "openai"),),
    )
    (taken,) = make_servers(request)
    with taken:
        assert taken.headers == {}
    assert server.asked
    assert not any(
        "Authorization" in headers for _, headers in server.asked
    )


def test_the_server_of_the_environment_comes_first_and_once(run_here):
    first, second = run_here(ollama("a"), ollama("b"))
    urls = [
        f"http://127.0.0.1:{one.server_address[1]}"
        for one in (first, second)
    ]
    assert [one.url for one in find(urls[1])] == [urls[1], urls[0]]


def test_all_are_asked_at_once_and_a_silent_one_is_given_up(monkeypatch):
    monkeypatch.setattr(discovery, "ANSWER_S", 0.3)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(6)
        ]
        ports = {one.getsockname()[1]: "silent" for one in silent}
        monkeypatch.setattr(discovery, "USUAL_PORTS", ports)
        began = time.monotonic()
        assert find() == []
        # one after another would take 1.8 s
        assert time.monotonic() - began < 1.5
