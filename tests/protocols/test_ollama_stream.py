import pytest

from ollama_bench.protocols.chunks import ANSWER, REASONING, StreamSummary
from ollama_bench.protocols.ollama_stream import OllamaStream
from tests.protocols.helpers import (
    json_lines,
    read,
    read_recorded,
    read_summary,
)


def test_error_inside_a_stream_is_kept():
    summary = read_summary(
        OllamaStream(), read_recorded("sim-ollama-error_last.http")
    )
    assert summary.error and not summary.done


def test_a_real_reply_names_the_model_as_it_was_asked_for():
    summary = read_summary(
        OllamaStream(), read_recorded("ollama-answer.http")
    )
    assert (summary.model, summary.output_tokens) == ("SmolLM2:135m", 3)


def test_last_line_holds_the_counters():
    last = {
        "response": "",
        "done": True,
        "done_reason": "stop",
        "total_duration": 10,
        "load_duration": 1,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 3,
        "eval_count": 259,
        "eval_duration": 5,
    }
    summary = read_summary(
        OllamaStream(), json_lines({"response": "x", "done": False}, last)
    )
    assert summary == StreamSummary(
        done=True,
        done_reason="stop",
        output_tokens=259,
        prompt_tokens=26,
        server_total_ns=10,
        server_load_ns=1,
        server_prefill_ns=3,
        server_decode_ns=5,
    )


def test_last_line_without_counters_may_hold_text():
    _, stream = read(
        OllamaStream(), json_lines({"response": "x", "done": True})
    )
    assert stream.summary == StreamSummary(done=True)
    assert stream.answer == "x"


@pytest.mark.parametrize(
    "value",
    [
        "12",
        -1,
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        {},
        2**63,
        10**14 + 1,
        -0.5,
    ],
)
def test_invalid_counter_is_unknown(value):
    lines = json_lines(
        {"response": "x"}, {"done": True, "eval_count": value}
    )
    summary = read_summary(OllamaStream(), lines)
    assert summary.done and summary.output_tokens is None


def test_number_too_large_for_a_float_is_unknown():
    line = b'{"done":true,"eval_count":1e400,"eval_duration":12.0}'
    summary = read_summary(OllamaStream(), line)
    assert summary.output_tokens is None and summary.server_decode_ns == 12


@pytest.mark.parametrize(
    "line",
    [
        b'{"error":"out of memory"}',
        b'{"error":{"message":"out of memory"}}',
        b'{"object":"error","message":"out of memory"}',
        b'{"detail":"out of memory"}',
    ],
)
def test_error_in_a_line_is_kept_whatever_follows(line):
    before = b'{"response":"x"}\n' * 2
    after = b'\n{"response":"x","done":true}\n'
    _, stream = read(OllamaStream(), before + line + after)
    assert stream.summary.error == "out of memory"
    assert stream.summary.error_is_from_server
    assert stream.answer == "xxx"


def test_chat_of_a_real_ollama():
    kinds, stream = read(
        OllamaStream(), read_recorded("ollama-chat-thinking.http")
    )
    assert kinds == REASONING * 5 + ANSWER * 6
    assert stream.reasoning == "They ask about Oslo."
    assert stream.answer == "Norway is in Norway."
    assert stream.summary == StreamSummary(
        model="hd-think",
        done=True,
        done_reason="stop",
        output_tokens=18,
        prompt_tokens=170,
        server_total_ns=3_413_835_302,
        server_load_ns=35_284_308,
        server_prefill_ns=2_013_003_000,
        server_decode_ns=1_350_116_000,
    )


def test_tool_call_of_a_real_ollama():
    kinds, stream = read(
        OllamaStream(), read_recorded("ollama-chat-tool-call.http")
    )
    assert (kinds, stream.answer) == (ANSWER, "")
    (call,) = stream.tool_calls
    assert call["function"]["arguments"] == {"city": "Oslo"}


def test_chunk_of_a_chat_without_text_is_none():
    lines = json_lines(
        {"message": {"role": "assistant", "content": ""}, "done": False},
        {"message": {"content": "x", "tool_calls": []}},
        {"message": {"content": "y", "tool_calls": [7, {"id": "c"}]}},
    )
    kinds, stream = read(OllamaStream(), lines)
    assert (kinds, stream.answer, stream.tool_calls) == (
        ANSWER * 2,
        "xy",
        [],
    )
