"""Tasks of a conversation: what is sent to which path, turn by turn."""

from types import SimpleNamespace

import pytest

from ollama_bench.inputs import prompts
from ollama_bench.inputs.prompt_entry import read_entry
from ollama_bench.load.attempt import Outcome
from ollama_bench.protocols.registry import PROTOCOLS
from ollama_bench.run.targets import TargetFacts
from ollama_bench.run.tasks import Conversation

URL = "http://127.0.0.1:1"
TALK = {"turns": ["a", "b"], "system": "s", "tokens": 5}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "7"}


def converse(entry, api="ollama", prefix=None):
    """The conversation of an entry of a file of prompts."""
    request = SimpleNamespace(
        tokens=9,
        think=None,
        model_options={"seed": 1},
        prompt_tokens=None,
    )
    server = SimpleNamespace(
        protocol=PROTOCOLS[api], url=URL, headers={}, secret=None
    )
    targets = SimpleNamespace(
        id=lambda model, server: 1,
        facts=lambda model, server: TargetFacts(),
    )
    prompt = (
        prompts.make_prompt(entry)
        if isinstance(entry, str)
        else read_entry(entry, "here")
    )
    return Conversation("m", request, server, targets, prompt, 1, prefix)


def replied(task, answer, tool_calls=()):
    return Outcome(task, answer=answer, tool_calls=list(tool_calls))


def said(task):
    return [
        (message["role"], message["content"])
        for message in task.body["messages"]
    ]


def test_a_single_prompt_stays_with_generate():
    task = converse("why?", prefix="[p]").first_turn(1)
    assert task.url == f"{URL}/api/generate" and task.follow is None
    assert task.body["prompt"] == "[p] why?"


@pytest.mark.parametrize(
    "api, path",
    [("ollama", "/api/chat"), ("openai", "/v1/chat/completions")],
)
def test_the_reply_is_the_assistants_message_of_the_next_turn(api, path):
    first = converse(TALK, api, "[p]").first_turn(1)
    second = first.follow(8, replied(first, "the reply"))
    begin = [("system", "s"), ("user", "[p] a")]
    assert said(first) == begin
    assert said(second) == [
        *begin,
        ("assistant", "the reply"),
        ("user", "b"),
    ]
    assert {first.url, second.url} == {URL + path}
    assert (second.number, second.turn, second.follow) == (8, 2, None)


def test_calls_that_the_server_made_stand_in_the_next_turn():
    tools = [{"type": "function", "function": {"name": "f"}}]
    calls = [{"function": {"name": "f", "arguments": {}}}]
    first = converse({"turns": ["a", "b"], "tools": tools}).first_turn(1)
    second = first.follow(2, replied(first, "", calls))
    assert first.body["tools"] == second.body["tools"] == tools
    assert second.body["messages"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": calls,
    }


def test_results_of_tools_follow_the_call_of_the_file():
    question = {"role": "user", "content": "a"}
    talk = converse({"messages": [question, CALL, RESULT, question]})
    first = talk.first_turn(1)
    second = first.follow(2, replied(first, "words instead of a call"))
    assert second.body["messages"] == [question, CALL, RESULT, question]
