import pytest

from ollama_bench.protocols.chunks import ANSWER, StreamSummary
from ollama_bench.protocols.openai_stream import OpenAIStream
from tests.protocols.helpers import (
    DONE_EVENT,
    delta,
    event,
    read,
    read_recorded,
    read_summary,
)

USAGE = {
    "completion_tokens": 3,
    "prompt_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def test_timings_of_llama_server_are_read():
    summary = read_summary(
        OpenAIStream(), read_recorded("llama-server-reasoning.http")
    )
    assert summary.server_prefill_ns > 0 and summary.server_decode_ns > 0
    assert summary.prompt_tokens > 0 and summary.done_reason == "length"


@pytest.mark.parametrize(
    "name, model, tokens, chunks",
    [
        # asked for deepseek-r1:7b
        ("llama-server-other_name.http", "smollm2", 4, 4),
        ("llama-server-draft.http", "smollm2.gguf", 12, 12),
        ("mlx-answer.http", "default_model", 4, 4),
        # incomplete UTF-8 is held back
        ("vllm-answer.http", "tiny", 24, 13),
    ],
)
def test_real_replies_name_their_model(name, model, tokens, chunks):
    kinds, stream = read(OpenAIStream(), read_recorded(name))
    summary = stream.summary
    assert summary.done and summary.model == model
    assert (summary.output_tokens, len(kinds)) == (tokens, chunks)


def test_accepted_tokens_of_a_draft_are_read():
    def drafted(name):
        summary = read_summary(OpenAIStream(), read_recorded(name))
        return summary.draft_tokens, summary.draft_accepted_tokens

    assert drafted("llama-server-draft.http") == (12, 6)
    # started without a draft
    assert drafted("llama-server-other_name.http") == (None, None)


@pytest.mark.parametrize("model", [None, "", " ", 7, ["m"]])
def test_a_reply_without_a_name_has_none(model):
    events = event(choices=[], usage=USAGE, model=model)
    assert read_summary(OpenAIStream(), events).model is None


def test_the_name_in_a_reply_is_one_bounded_line():
    events = event(choices=[], model="a\nb" + "c" * 10_000)
    name = read_summary(OpenAIStream(), events).model
    assert name.startswith("a bcc") and len(name) <= 500


def test_whole_stream_with_pings_roles_and_usage():
    events = [
        b": ping\n\n",
        delta(role="assistant", content=None),
        delta(content=""),
        delta(reasoning_content="hm"),
        delta(reasoning="so"),
        b"event: x\r\n" + delta(content="time"),
        event(choices=[{"delta": {}, "finish_reason": "stop"}]),
        event(choices=[], usage=USAGE),
        DONE_EVENT,
    ]
    kinds, stream = read(OpenAIStream(), b"".join(events))
    assert (kinds, stream.reasoning, stream.answer) == (
        b"\1\1\0",
        "hmso",
        "time",
    )
    assert stream.summary == StreamSummary(
        done=True,
        done_reason="stop",
        output_tokens=3,
        prompt_tokens=9,
        cached_tokens=4,
    )


def test_token_count_is_unknown_without_usage():
    last = event(choices=[{"delta": {}, "finish_reason": "length"}])
    summary = read_summary(OpenAIStream(), delta(content="x") + last)
    assert summary.done and summary.output_tokens is None


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {
            "completion_tokens": None,
            "prompt_tokens": None,
            "prompt_tokens_details": None,
        },
        {"prompt_tokens_details": {"cached_tokens": None}},
        {"prompt_tokens_details": {}},
        None,
        {"completion_tokens": "x"},
    ],
)
def test_empty_usage_keeps_the_known_counts(usage):
    events = (
        event(choices=[], usage=USAGE)
        + event(choices=[], usage=usage)
        + DONE_EVENT
    )
    assert read_summary(OpenAIStream(), events) == StreamSummary(
        done=True, output_tokens=3, prompt_tokens=9, cached_tokens=4
    )


def test_last_usage_counts_where_each_event_has_one():
    events = [
        event(
            choices=[{"delta": {"content": "x"}}],
            usage={"completion_tokens": number, "prompt_tokens": 9},
        )
        for number in (1, 2, 3)
    ]
    last = event(choices=[], usage={"completion_tokens": 4})
    kinds, stream = read(
        OpenAIStream(), b"".join(events) + last + DONE_EVENT
    )
    assert len(kinds) == 3
    assert (
        stream.summary.output_tokens,
        stream.summary.prompt_tokens,
    ) == (
        4,
        9,
    )


def test_content_in_parts():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "h"}]},
        {"type": "reasoning", "text": "m"},
        {"type": "reasoning", "reasoning": "!"},
        {"type": "text", "text": "ti"},
        "me",
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": None},
        7,
        None,
    ]
    reasoning_parts = [{"type": "text", "text": "?"}]
    kinds, stream = read(
        OpenAIStream(),
        delta(content=parts),
        delta(content=[]),
        delta(reasoning_content=reasoning_parts),
    )
    assert (kinds, stream.reasoning, stream.answer) == (
        b"\1\1\1\0\0\1",
        "hm!?",
        "time",
    )


def test_tool_calls_come_in_fragments():
    def call(index, arguments, **more):
        function = {"arguments": arguments, **more.pop("function", {})}
        return {"index": index, "function": function, **more}

    events = [
        delta(tool_calls=[call(0, "", id="a", function={"name": "f"})]),
        delta(tool_calls=[call(0, '{"x"')]),
        delta(
            tool_calls=[
                call(0, ":1}"),
                call(1, "{}", id="b", function={"name": "g"}),
            ]
        ),
        delta(content="", tool_calls=[]),
    ]
    kinds, stream = read(OpenAIStream(), *events, DONE_EVENT)
    assert (kinds, stream.answer) == (ANSWER * 3, "")
    assert stream.tool_calls == [
        {
            "id": name,
            "type": "function",
            "function": {"name": function, "arguments": arguments},
        }
        for name, function, arguments in [
            ("a", "f", '{"x":1}'),
            ("b", "g", "{}"),
        ]
    ]


def test_tool_call_of_a_real_ollama():
    kinds, stream = read(
        OpenAIStream(), read_recorded("ollama-openai-tool-call.http")
    )
    assert kinds == ANSWER and stream.summary.done_reason == "tool_calls"
    (call,) = stream.tool_calls
    assert call["function"] == {
        "name": "get_weather",
        "arguments": '{"city":"Oslo"}',
    }
