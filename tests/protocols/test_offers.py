"""What the servers' lists tell of their models."""

import pytest

from ollama_bench.protocols import offers
from ollama_bench.protocols.offers import Offer


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nomic-embed-text:latest", True),
        ("mxbai-embed-large", True),
        ("all-minilm:33m", True),
        ("BAAI/bge-m3", True),
        ("qwen3-reranker:0.6b", True),
        ("text-embedding-nomic-embed-text-v1.5", True),
        ("deepseek-r1:7b", False),
        ("smollm2:135m", False),
        ("gemma3:4b", False),
    ],
)
def test_a_model_that_embeds_is_known_by_its_name(name, expected):
    assert offers.embeds(name) is expected


def test_a_model_that_embeds_is_known_by_its_family():
    assert offers.embeds("mine", ["nomic-bert"])
    assert not offers.embeds("mine", ["llama", None])


def test_ollamas_lists_tell_what_is_loaded_and_what_runs_elsewhere():
    installed = {
        "models": [
            {"name": "a:1b", "size": 5},
            {"name": "b:latest", "details": {"families": ["bert"]}},
            {"name": "c", "remote_host": "https://ollama.com:443"},
            {"name": "gpt-oss:120b-cloud"},
            {"name": "kimi-k2:cloud"},
            {"size": 3},
        ]
    }
    found = offers.read_ollama_offers(
        installed, {"models": [{"name": "b"}, {"name": "a:1b"}]}
    )
    assert found[0] == Offer("a:1b", True, 5)
    assert found[1] == Offer("b:latest", True, embeds=True)
    usable = [one.name for one in found if one.can_be_measured]
    assert usable == ["a:1b"] and len(found) == 5


def test_a_servers_only_model_is_the_loaded_one():
    (only,) = offers.read_openai_offers({"data": [{"id": "tiny"}]})
    assert only == Offer("tiny", is_loaded=True)


def test_of_several_the_loaded_one_is_told_by_its_status_or_its_folder():
    router = [
        {"id": "a", "status": {"value": "unloaded"}},
        {"id": "b", "status": {"value": "loaded"}},
    ]
    mlx = [{"id": "mlx-community/a"}, {"id": "/home/me/models/b"}]
    for entries in (router, mlx):
        found = offers.read_openai_offers({"data": entries})
        assert [one.is_loaded for one in found] == [False, True]


def test_an_adapter_of_vllm_is_no_model_of_its_own():
    entries = [{"id": "base"}, {"id": "lora", "parent": "base"}]
    found = offers.read_openai_offers({"data": entries})
    assert found == [Offer("base", is_loaded=True)]


def test_lm_studio_tells_states_and_kinds():
    entries = [
        {"id": "a", "type": "llm", "state": "not-loaded"},
        {"id": "b", "type": "vlm", "state": "loaded"},
        {"id": "c", "type": "embeddings", "state": "loaded"},
    ]
    found = offers.read_lm_studio_offers({"data": entries})
    assert found == [
        Offer("a"),
        Offer("b", is_loaded=True),
        Offer("c", is_loaded=True, embeds=True),
    ]
    # another server's list
    assert offers.read_lm_studio_offers({"data": [{"id": "a"}]}) == []
