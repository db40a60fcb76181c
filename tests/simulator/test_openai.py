"""OpenAI's protocol."""

import json

import pytest

from tests.simulator.reader import MODEL, chat, events_of, fetch


def test_openai_stream(quick):
    answer = chat(quick, stream_options={"include_usage": True})
    *events, done = events_of(answer.body)
    events = [json.loads(event) for event in events]
    assert (
        answer.headers["content-type"] == "text/event-stream"
        and done == b"[DONE]"
    )
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert (
        deltas[0] == {"role": "assistant", "content": None}
        and deltas[-1] == {}
    )
    assert [*map(list, deltas[1:-1])] == [["reasoning_content"]] * 2 + [
        ["content"]
    ] * 4
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["choices"] == [] and events[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 6,
        "total_tokens": 9,
    }
    assert events[-1]["timings"]["predicted_n"] == 6


def test_openai_thinks_unless_told_not_to(quick):
    assert b"reasoning_content" in chat(quick).body
    assert (
        b"reasoning_content"
        not in chat(
            quick, chat_template_kwargs={"enable_thinking": False}
        ).body
    )


def test_openai_without_usage_and_without_stream(quick):
    assert b'"usage"' not in chat(quick).body
    whole = json.loads(chat(quick, stream=False).body)
    assert (
        whole["usage"]["completion_tokens"] == 6
        and whole["choices"][0]["message"]["content"]
    )


def test_openai_counts_the_tokens_of_a_draft(quick):
    answer = chat(
        quick,
        headers=["X-Sim-Fault: draft:7"],
        stream_options={"include_usage": True},
    )
    timings = json.loads(events_of(answer.body)[-2])["timings"]
    assert (timings["draft_n"], timings["draft_n_accepted"]) == (7, 3)


def test_openai_answers_to_any_name_by_its_own(sim):
    server = sim("--profile", "exact", "--answers-as", "smollm2")
    events = events_of(chat(server, model="gpt-4").body)
    assert {json.loads(event)["model"] for event in events[:-1]} == {
        "smollm2"
    }
    listed = json.loads(fetch(server, "/v1/models").body)["data"]
    assert [model["id"] for model in listed] == ["smollm2"]
    props = json.loads(fetch(server, "/props").body)
    assert props["model_alias"] == "smollm2"


@pytest.mark.parametrize(
    "kind, status, body",
    [
        ("none", 200, b'{"object":"list","data":[]}'),
        ("empty", 200, b""),
        ("broken", 200, b"<html><h1>It works</h1></html>"),
        ("missing", 404, b"404 page not found"),
    ],
)
def test_openai_lists_no_models(sim, kind, status, body):
    server = sim("--profile", "exact", "--model-list", kind)
    answer = fetch(server, "/v1/models")
    assert (answer.status, answer.body) == (status, body)
    assert chat(server).status == 200


def test_openai_wants_its_key(sim):
    server = sim("--profile", "exact", "--api-key", "sesame")
    assert chat(server).status == fetch(server, "/v1/models").status == 401
    models = fetch(
        server, "/v1/models", headers=["Authorization: Bearer sesame"]
    )
    assert json.loads(models.body)["data"][0]["id"] == MODEL
