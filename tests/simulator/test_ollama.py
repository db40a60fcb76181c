"""Ollama's protocol."""

import json

import pytest

from tests.simulator.reader import (
    MODEL,
    chat,
    chunks,
    fetch,
    generate,
    lines_of,
)


def test_ollama_describes_itself(quick):
    assert fetch(quick, "/").body == b"Ollama is running"
    assert "version" in lines_of(fetch(quick, "/api/version").body)[0]
    assert (
        lines_of(fetch(quick, "/api/tags").body)[0]["models"][0]["name"]
        == MODEL
    )
    assert (
        "thinking"
        in lines_of(fetch(quick, "/api/show", {"model": MODEL}).body)[0][
            "capabilities"
        ]
    )
    generate(quick)
    models = lines_of(fetch(quick, "/api/ps").body)[0]["models"]
    loaded = next(model for model in models if model["name"] == MODEL)
    assert loaded["size_vram"] == loaded["size"] > 0
    assert fetch(quick, "/nothing").status == 404
    assert fetch(quick, "/api/generate").status == 405


def test_ollama_stream(quick):
    answer = generate(quick, think=True)
    *tokens, last = lines_of(answer.body)
    assert (
        answer.status == 200
        and answer.headers["content-type"] == "application/x-ndjson"
    )
    assert [bool(line.get("thinking")) for line in tokens] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert all(
        line["thinking" if i < 2 else "response"] and not line["done"]
        for i, line in enumerate(tokens)
    )
    assert (last["done"], last["done_reason"], last["response"]) == (
        True,
        "stop",
        "",
    )
    assert (last["eval_count"], last["prompt_eval_count"]) == (6, 3)
    parts = (
        last["prompt_eval_duration"]
        + last["eval_duration"]
        + last.get("load_duration", 0)
    )
    assert 0 < last["eval_duration"] < parts <= last["total_duration"]
    assert len(list(chunks(answer.raw.partition(b"\r\n\r\n")[2]))) == 7


def test_num_predict_cuts_and_thinking_can_be_off(quick):
    *tokens, last = lines_of(
        generate(quick, think=False, options={"num_predict": 4}).body
    )
    assert (
        len(tokens) == last["eval_count"] == 4
        and last["done_reason"] == "length"
    )
    assert not any("thinking" in line for line in tokens)


def test_ollama_without_stream(quick):
    answer = generate(quick, stream=False)
    whole = json.loads(answer.body)
    assert (
        whole["done"]
        and len(whole["response"].split()) + len(whole["thinking"].split())
        == 6
    )
    assert int(answer.headers["content-length"]) == len(answer.body)


def loaded_contexts(server):
    """Tokens of context of each loaded model, by the model's name."""
    models = lines_of(fetch(server, "/api/ps").body)[0]["models"]
    return {model["name"]: model["context_length"] for model in models}


def test_empty_prompt_loads_and_unloads(quick):
    assert (
        lines_of(generate(quick, prompt="").body)[0]["done_reason"]
        == "load"
    )
    # as Ollama loads it: with the context that was asked for
    generate(quick, prompt="", options={"num_ctx": 16384})
    assert loaded_contexts(quick)[MODEL] == 16384
    generate(quick, prompt="", options={"num_ctx": 4096})
    assert (
        lines_of(generate(quick, prompt="", keep_alive=0).body)[0][
            "done_reason"
        ]
        == "unload"
    )
    assert MODEL not in loaded_contexts(quick)


@pytest.mark.parametrize(
    "body, status",
    [
        ({"model": "absent", "prompt": "x"}, 404),
        ([], 400),
        ({}, 404),
        (
            {
                "model": MODEL,
                "prompt": "x",
                "options": {"num_predict": []},
            },
            200,
        ),
        (
            {
                "model": MODEL,
                "prompt": "x",
                "options": {"num_predict": {"a": 1}},
            },
            400,
        ),
    ],
)
def test_ollama_errors(quick, body, status):
    answer = fetch(quick, "/api/generate", body)
    assert answer.status == status and (
        status == 200 or json.loads(answer.body)["error"]
    )


def test_pull(quick):
    assert lines_of(fetch(quick, "/api/pull", {"model": "new"}).body)[
        -1
    ] == {"status": "success"}
    assert (
        fetch(
            quick, "/api/generate", {"model": "new", "prompt": "x"}
        ).status
        == 200
    )


def test_ollama_chat_stream(quick):
    answer = chat(quick, path="/api/chat", think=True)
    *tokens, last = lines_of(answer.body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    messages = [line["message"] for line in tokens]
    assert [bool(message.get("thinking")) for message in messages] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert all(
        message["role"] == "assistant"
        and bool(message["content"]) == (number > 1)
        for number, message in enumerate(messages)
    )
    assert last["message"] == {"role": "assistant", "content": ""}
    assert (last["eval_count"], last["prompt_eval_count"]) == (6, 3)
    assert "context" not in last and "response" not in last


def test_ollama_chat_without_messages_loads_the_model(quick):
    (line,) = lines_of(chat(quick, path="/api/chat", messages=[]).body)
    assert (line["done_reason"], line["message"]["content"]) == (
        "load",
        "",
    )


def test_ollama_chat_that_is_not_streamed(quick):
    (line,) = lines_of(chat(quick, path="/api/chat", stream=False).body)
    assert line["done"] and len(line["message"]["content"].split()) == 4
    assert len(line["message"]["thinking"].split()) == 2
